#include "postern/spool/kept.h"

#include <gtest/gtest.h>

#include <array>

namespace postern::spool {
namespace {

journal::Message envelope() {
    journal::Message message;
    message.arrival_ms = 1'767'225'600'000;
    message.expires_ms = 1'767'225'700'000;
    message.mode = mail::Mode::queue;
    message.body_type = mail::BodyType::eight_bit_mime;
    message.ret = mail::Returned::headers;
    message.smtputf8 = message.trusted = message.held = message.notification = true;
    message.has_eight_bit = message.has_utf8_header = message.has_dot_line = true;
    message.reverse_path = "somebody.or.other@example.net.";
    message.envid = "QQ314159";
    message.client = "192.0.2.1";
    return message;
}

TEST(Kept, HoldsAllThatWasSaid) {
    std::array<journal::Recipient, 2> recipients;
    recipients[0] = {
        .address = "anna@example.com",
        .original = "rfc822;anna@example.org",
        .reply = "450 4.2.1 busy",
        .next_try_ms = 7,
        .attempts = 3,
        .notify = 4,
        .state = journal::State::refused,
        .delay_told = true};
    recipients[1].address = "berta@example.com";
    Kept* kept = Kept::make({1, 2}, envelope(), 12345, recipients);
    const journal::Message expected = envelope();
    const journal::Message message = kept->message();
    EXPECT_EQ(kept->id(), (journal::Id{1, 2}));
    EXPECT_EQ(message.arrival_ms, expected.arrival_ms);
    EXPECT_EQ(message.expires_ms, expected.expires_ms);
    EXPECT_EQ(message.mode, expected.mode);
    EXPECT_EQ(message.body_type, expected.body_type);
    EXPECT_EQ(message.ret, expected.ret);
    EXPECT_TRUE(message.smtputf8 && message.trusted && message.held && message.notification);
    EXPECT_TRUE(message.has_eight_bit && message.has_utf8_header && message.has_dot_line);
    EXPECT_EQ(message.reverse_path, expected.reverse_path);
    EXPECT_EQ(message.envid, expected.envid);
    EXPECT_EQ(message.client, expected.client);
    EXPECT_EQ(kept->content_size(), 12345u);
    ASSERT_EQ(kept->recipients().size(), 2u);
    const KeptRecipient& first = kept->recipients()[0];
    EXPECT_EQ(first.address, "anna@example.com");
    EXPECT_EQ(first.original, "rfc822;anna@example.org");
    EXPECT_EQ(first.reply->text, "450 4.2.1 busy");
    EXPECT_FALSE(first.reply->host.has_value()) << "who said so is not written down";
    EXPECT_EQ(first.next_try_ms, 7);
    EXPECT_EQ(first.attempts, 3u);
    EXPECT_EQ(first.notify, 4);
    EXPECT_EQ(first.state, journal::State::refused);
    EXPECT_TRUE(first.delay_told);
    EXPECT_EQ(kept->recipients()[1].reply, nullptr);
    kept->set_held(false);
    EXPECT_FALSE(kept->held());
    EXPECT_TRUE(kept->message().has_dot_line);
    Kept::destroy(kept);
}

TEST(Kept, AWaitingMessageTakesTwoHundredOctetsBesideItsRecipients) {
    journal::Message message;
    message.reverse_path = "somebody.or.other@example.net.";
    message.client = "192.0.2.1";
    EXPECT_EQ(message.reverse_path.size(), 30u);
    journal::Recipient recipient;
    recipient.address = "anna@example.com";
    Kept* kept = Kept::make({1, 2}, message, 4096, {&recipient, 1});
    EXPECT_LE(kept->octets() - sizeof(KeptRecipient) - recipient.address.size(), 200u);
    Kept::destroy(kept);
}

}  // namespace
}  // namespace postern::spool

#include <gtest/gtest.h>

#include "tests/unit/inbound/fake_world.h"

/// Recipients that the world says something of later.
namespace postern::inbound::test {
namespace {

using std::chrono::milliseconds;

constexpr mail::Reply no_such_user{550, {5, 1, 1}, "no such\nuser"};

class Recipients : public testing::Test {
   protected:
    void begin(Sender& sender) {
        gateway.world.answers_recipients = false;
        EXPECT_TRUE(sender.reply().starts_with("220 "));
        EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
        EXPECT_TRUE(sender.ask("MAIL FROM:<a@example.org>").starts_with("250 2.1.0 "));
    }

    bool asks(std::size_t count = 1) {
        return gateway.turn_until([&] { return gateway.world.asking.size() == count; });
    }

    /// Of the one that was asked about first.
    void answer(const mail::Reply& reply = {}) {
        ASSERT_TRUE(asks());
        mail::Submission& submission = *gateway.world.asking.front();
        gateway.world.asking.erase(gateway.world.asking.begin());
        gateway.inbound->answer_recipient(submission, reply);
    }

    Gateway gateway;
};

TEST_F(Recipients, AreAnsweredOneByOne) {
    Sender sender(gateway);
    begin(sender);
    sender.send(
        "RCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nRCPT "
        "TO:<d@example.com>\r\nDATA\r\n");
    answer();
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
    answer(no_such_user);
    EXPECT_EQ(sender.reply(), "550-5.1.1 no such\r\n550 5.1.1 user\r\n");
    answer();
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
    EXPECT_TRUE(sender.reply().starts_with("354 "));
    EXPECT_TRUE(sender.ask("Subject: x\r\n\r\n.").starts_with("250 2.0.0 "));
    ASSERT_EQ(gateway.world.messages.size(), 1U);
    EXPECT_EQ(gateway.world.messages[0].envelope, "a@example.org -> b@example.com d@example.com");
    EXPECT_EQ(gateway.world.refusals, (std::vector<std::string>{"RCPT|TO:<c@example.com>|550"}));
}

TEST_F(Recipients, WhatStandsInFrontIsAnsweredMeanwhile) {
    Sender sender(gateway);
    begin(sender);
    sender.send("NOOP\r\nRCPT TO:<b@example.com>\r\nRSET\r\n");
    EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 "));
    ASSERT_TRUE(asks());
    for (int i = 0; i < 5; ++i) {
        gateway.turn();
    }
    answer();
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 "));
    EXPECT_EQ(gateway.world.abandoned, 1);
}

TEST_F(Recipients, WhoWaitsHasNoDeadlineAndThenHasOneAgain) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(100);
    gateway.inbound->change_listener(0, settings);
    Sender sender(gateway);
    begin(sender);
    sender.send("RCPT TO:<b@example.com>\r\n");
    ASSERT_TRUE(asks());
    const base::Instant later = gateway.ring->now() + milliseconds(300);
    ASSERT_TRUE(gateway.turn_until([&] { return gateway.ring->now() > later; }));
    answer(no_such_user);
    EXPECT_TRUE(sender.reply().starts_with("550-5.1.1 "));
    EXPECT_TRUE(sender.reply().starts_with("421 4.4.2 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST_F(Recipients, ASenderThatHasGoneIsNoticedBehindTheAnswer) {
    Sender sender(gateway);
    begin(sender);
    sender.send("RCPT TO:<b@example.com>\r\n");
    ASSERT_TRUE(asks());
    sender.hang_up();
    gateway.turn();
    answer();
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
    EXPECT_EQ(gateway.world.abandoned, 1);
}

TEST_F(Recipients, ASenderThatGoesWithACommandInFrontUnread) {
    Sender sender(gateway);
    begin(sender);
    sender.send("NOOP\r\nRCPT TO:<b@example.com>\r\n");
    ASSERT_TRUE(asks());
    sender.reset();
    for (int i = 0; i < 5; ++i) {
        gateway.turn();
    }
    if (!gateway.world.asking.empty()) {
        answer(no_such_user);
    }
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
    EXPECT_EQ(gateway.world.abandoned, 1);
}

TEST_F(Recipients, TheEndDoesNotWaitForThem) {
    Sender sender(gateway);
    begin(sender);
    sender.send("RCPT TO:<b@example.com>\r\n");
    ASSERT_TRUE(asks());
    gateway.inbound->shut_down();
    EXPECT_EQ(gateway.inbound->connections(), 1U);
    gateway.inbound->cut();
    EXPECT_TRUE(gateway.world.asking.empty());
    EXPECT_TRUE(sender.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST_F(Recipients, ARefused421EndsTheSession) {
    Sender sender(gateway);
    begin(sender);
    sender.send("RCPT TO:<b@example.com>\r\nNOOP\r\n");
    answer({421, {4, 3, 2}, "no more"});
    EXPECT_TRUE(sender.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST_F(Recipients, RefusedOnesCostNoMemory) {
    Sender sender(gateway);
    begin(sender);
    for (int i = 0; i < 45; ++i) {
        sender.send("RCPT TO:<" + std::string(50, 'x') + std::to_string(i) + "@example.com>\r\n");
        answer(no_such_user);
        ASSERT_TRUE(sender.reply().starts_with("550-5.1.1 "));
        ASSERT_LE(gateway.world.arena_pool.used(), 1U);
    }
}

}  // namespace
}  // namespace postern::inbound::test

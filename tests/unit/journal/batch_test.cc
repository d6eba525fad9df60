#include "postern/journal/batch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "postern/journal/walk.h"
#include "tests/unit/journal/spooled.h"

namespace postern::journal {
namespace {

class BatchTest : public testing::Test {
   protected:
    std::string segment_ = std::string(64 * block_size, '\0');
    Batch batch_;
    const Id id_ = test::id_of(1);

    void begin(std::uint32_t blocks) {
        batch_.begin(
            {segment_.data() + block_size, std::size_t{blocks} * block_size},
            {test::host, 5, block_size, 1});
    }

    std::vector<Walk::Piece> pieces() const {
        std::vector<Walk::Piece> all;
        Walk walk(segment_, test::host, 5);
        for (auto piece = walk.next(); piece.kind != Walk::Piece::Kind::end; piece = walk.next()) {
            all.push_back(piece);
        }
        return all;
    }
};

TEST_F(BatchTest, a_message_is_read_as_it_was_written) {
    Message message;
    message.arrival_ms = -1;
    message.expires_ms = 2;
    message.mode = mail::Mode::queue;
    message.body_type = mail::BodyType::eight_bit_mime;
    message.ret = mail::Returned::headers;
    message.smtputf8 = message.held = message.has_eight_bit = message.has_dot_line = true;
    message.reverse_path = "anna@example.com";
    message.envid = "QQ314159";
    message.client = "192.0.2.1";
    Recipient first;
    first.address = "bob@example.net";
    first.original = "rfc822;robert@example.net";
    first.reply = "450 4.2.1 later";
    first.next_try_ms = 123456789012345;
    first.attempts = 3;
    first.notify = mail::set_of(mail::Notify::success) | mail::set_of(mail::Notify::delay);
    first.delay_told = true;
    Recipient second;
    second.state = State::expired;
    second.notify = mail::set_of(mail::Notify::never);
    const std::vector<Recipient> recipients{first, second};
    const std::vector<Part> parts{{5, 4096, 1000}, {6, 8192, 24}};
    const std::string text = "Subject: x\r\n\r\n.\r\n";
    Content content(text);
    begin(2);
    const auto extent = batch_.message(id_, 7, message, recipients, parts, content);
    ASSERT_TRUE(extent);
    EXPECT_EQ(content.left(), 0U);
    batch_.seal();

    const auto all = pieces();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].offset, extent->offset);
    EXPECT_EQ(all[0].size, extent->size);
    EXPECT_EQ(all[0].header.id, id_);
    EXPECT_EQ(all[0].header.revision, 7U);
    EXPECT_TRUE(all[0].header.ends_write);
    EXPECT_EQ(all[0].header.payload_check, check_of(all[0].payload(segment_)));
    const auto view = MessageView::of(all[0].payload(segment_));
    ASSERT_TRUE(view);
    const Message& read = view->message();
    EXPECT_EQ(read.arrival_ms, -1);
    EXPECT_EQ(read.expires_ms, 2);
    EXPECT_EQ(read.mode, mail::Mode::queue);
    EXPECT_EQ(read.body_type, mail::BodyType::eight_bit_mime);
    EXPECT_EQ(read.ret, mail::Returned::headers);
    EXPECT_TRUE(read.smtputf8 && read.held && read.has_eight_bit && read.has_dot_line);
    EXPECT_FALSE(read.trusted || read.notification || read.has_utf8_header);
    EXPECT_EQ(read.reverse_path, message.reverse_path);
    EXPECT_EQ(read.envid, message.envid);
    EXPECT_EQ(read.client, message.client);
    EXPECT_EQ(view->tail(), text);
    EXPECT_EQ(view->content_size(), 1024 + text.size());
    ASSERT_EQ(view->part_count(), 2U);
    EXPECT_EQ(view->part(1), parts[1]);
    std::vector<Recipient> found;
    view->recipients([&](const Recipient& recipient) { found.push_back(recipient); });
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].address, first.address);
    EXPECT_EQ(found[0].original, first.original);
    EXPECT_EQ(found[0].reply, first.reply);
    EXPECT_EQ(found[0].next_try_ms, first.next_try_ms);
    EXPECT_EQ(found[0].attempts, 3U);
    EXPECT_EQ(found[0].notify, first.notify);
    EXPECT_TRUE(found[0].delay_told);
    EXPECT_EQ(found[1].state, State::expired);
    EXPECT_EQ(found[1].notify, mail::set_of(mail::Notify::never));

    // Cut or longer, it is none.
    const std::string payload(all[0].payload(segment_));
    for (std::size_t size = 0; size < payload.size(); ++size) {
        EXPECT_FALSE(MessageView::of(std::string_view(payload).substr(0, size)));
    }
    EXPECT_FALSE(MessageView::of(payload + 'x'));
}

TEST_F(BatchTest, progress_is_read_as_it_was_written) {
    std::vector<Step> steps(2);
    steps[0].recipient = 4;
    steps[0].attempts = 2;
    steps[0].next_try_ms = 99;
    steps[1].state = State::refused;
    steps[1].reply = "550 5.1.1 who?";
    steps[1].delay_told = true;
    begin(1);
    ASSERT_TRUE(batch_.progress(id_, 1, true, steps));
    ASSERT_TRUE(batch_.done(id_, 2));
    EXPECT_EQ(batch_.seal().size(), block_size);
    const auto all = pieces();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[1].header.type, static_cast<std::uint8_t>(Type::done));
    const std::string payload(all[0].payload(segment_));
    const auto view = ProgressView::of(payload);
    ASSERT_TRUE(view);
    EXPECT_TRUE(view->held());
    std::vector<Step> found;
    view->steps([&](const Step& step) { found.push_back(step); });
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].recipient, 4U);
    EXPECT_EQ(found[0].next_try_ms, 99);
    EXPECT_EQ(found[1].state, State::refused);
    EXPECT_EQ(found[1].reply, steps[1].reply);
    EXPECT_TRUE(found[1].delay_told);
    for (std::size_t size = 0; size < payload.size(); ++size) {
        EXPECT_FALSE(ProgressView::of(std::string_view(payload).substr(0, size)));
    }
}

TEST_F(BatchTest, a_body_is_copied_from_where_its_slices_lie) {
    base::BlockPool receive_pool{65536, 4};
    base::BlockPool tail_pool{1024, 10};
    base::BlockPool chain_pool{256, 10};
    mail::Body body(tail_pool, chain_pool);
    std::string text = "Received: here\r\n";
    ASSERT_TRUE(body.append_copy(text, true, false));
    for (int i = 0; i < 3; ++i) {
        const base::BlockRef block = receive_pool.take();
        for (std::uint32_t at = 0; at < block->capacity; ++at) {
            block->data()[at] = static_cast<char>('a' + (at * 7 + static_cast<unsigned>(i)) % 26);
        }
        ASSERT_TRUE(body.append(block, {block->data(), block->capacity}, true, false));
        text.append(block->data(), block->capacity);
    }
    begin(60);
    Content content(body);
    ASSERT_TRUE(batch_.message(id_, 0, {}, {}, {}, content));
    batch_.seal();
    const auto all = pieces();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(check_of(all[0].payload(segment_)), all[0].header.payload_check);
    EXPECT_EQ(MessageView::of(all[0].payload(segment_))->tail(), text);
}

TEST_F(BatchTest, what_does_not_fit_leaves_no_trace) {
    begin(1);
    const std::string text(block_size, 'x');
    Content content(text);
    EXPECT_FALSE(batch_.message(id_, 0, {}, {}, {}, content));
    EXPECT_TRUE(batch_.empty());
    EXPECT_EQ(content.left(), text.size());
    // As much as there is room for, to the octet.
    Extent at;
    EXPECT_EQ(batch_.part(id_, content, at), block_size - 56);
    EXPECT_EQ(batch_.room(), 0U);
    EXPECT_FALSE(batch_.done(id_, 1));
    EXPECT_EQ(batch_.part(id_, content, at), 0U);
    EXPECT_EQ(content.left(), 56U);
    EXPECT_EQ(batch_.seal().size(), block_size);
    begin(1);
    Content exact(std::string_view(text).substr(0, block_size - 56 - 48));
    EXPECT_EQ(Batch::message_size({}, {}, {}, exact.left()), batch_.room());
    EXPECT_TRUE(batch_.message(id_, 0, {}, {}, {}, exact));
    batch_.seal();
    EXPECT_EQ(pieces().size(), 1U);
}

TEST_F(BatchTest, sealing_zeroes_what_the_buffer_held_before) {
    segment_.assign(segment_.size(), 'x');
    begin(4);
    ASSERT_TRUE(batch_.done(id_, 1));
    const auto sealed = batch_.seal();
    ASSERT_EQ(sealed.size(), block_size);
    for (std::size_t i = 56; i < sealed.size(); ++i) {
        EXPECT_EQ(sealed[i], 0);
    }
}

}  // namespace
}  // namespace postern::journal

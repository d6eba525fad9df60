#include "postern/smtp/server_session.h"

#include <gtest/gtest.h>

#include "session_driver.h"

namespace postern::smtp::test {
namespace {

constexpr std::string_view envelope =
    "EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n";

class Session : public testing::Test {
   protected:
    SettingsHolder holder_;
    SessionDriver driver_{holder_.settings};

    std::string said(std::string_view bytes) {
        driver_.output.clear();
        driver_.feed(bytes);
        return driver_.output;
    }
};

TEST_F(Session, memory_short_at_mail) {
    driver_.feed("EHLO c.example\r\n");
    driver_.begin_allowed = false;
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("452 4.3.1 "));
    driver_.begin_allowed = true;
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("250 2.1.0 "));
}

TEST_F(Session, memory_short_at_data) {
    driver_.feed(envelope);
    driver_.body_allowed = false;
    EXPECT_TRUE(said("DATA\r\n").starts_with("452 4.3.1 "));
    EXPECT_EQ(driver_.abandoned, 1);
    driver_.body_allowed = true;
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("250 2.1.0 "));
}

TEST_F(Session, memory_short_at_bdat) {
    driver_.feed(envelope);
    driver_.body_allowed = false;
    EXPECT_EQ(said("BDAT 6\r\nQU"), "");
    EXPECT_EQ(driver_.abandoned, 1) << "memory is given back before the chunk has ended";
    EXPECT_TRUE(said("IT\r\n").starts_with("452 4.3.1 "));
    driver_.body_allowed = true;
    EXPECT_TRUE(said("BDAT 6 LAST\r\nQUIT\r\n").starts_with("452 4.3.1 "));
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("250 2.1.0 "));
}

TEST_F(Session, memory_short_within_a_body) {
    driver_.feed(envelope);
    driver_.feed("DATA\r\none\r\n");
    std::string block(output_room_min, '\0');
    Exchange exchange;
    exchange.output = block;
    driver_.session.refuse_body(exchange, Answer::memory_short);
    EXPECT_EQ(said("two\r\n..\r\n"), "");
    EXPECT_EQ(driver_.abandoned, 1);
    EXPECT_TRUE(said(".\r\n").starts_with("452 4.3.1 "));
    EXPECT_TRUE(driver_.messages.empty());
    EXPECT_TRUE(said("NOOP\r\n").starts_with("250 2.0.0 "));
}

TEST_F(Session, what_was_refused_is_told) {
    driver_.feed(
        "FOO bar\r\nEHLO c.example\r\nMAIL FROM:<bad>\r\nMAIL FROM:<a@example.org>\r\nRCPT "
        "TO:<b@>\r\nDATA\r\n");
    const std::vector<std::string> expected = {
        "FOO||500", "MAIL|FROM:<bad>|501", "RCPT|TO:<b@>|501", "DATA||554"};
    EXPECT_EQ(driver_.refusals, expected);
}

TEST_F(Session, answers_wait_for_room) {
    holder_.settings.errors_max = 0;
    std::string input;
    for (int i = 0; i < 5000; ++i) {
        input += "NOOP\r\nVRFY\r\n";
    }
    driver_.feed(input);
    std::size_t replies = 0;
    for (const char c : driver_.output) {
        replies += c == '\n' ? 1 : 0;
    }
    EXPECT_EQ(replies, 10001U);
}

TEST_F(Session, the_final_answer_is_the_worlds) {
    driver_.feed(envelope);
    driver_.final_answer = {554, {5, 6, 0}, "one\ntwo"};
    EXPECT_TRUE(said("DATA\r\nx\r\n.\r\n").ends_with("554-5.6.0 one\r\n554 5.6.0 two\r\n"));
    driver_.feed("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n");
    driver_.final_answer = {451, {}, "later"};
    EXPECT_TRUE(said("DATA\r\nx\r\n.\r\n").ends_with("451 4.0.0 later\r\n"));
    driver_.feed("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n");
    driver_.final_answer = {421, {4, 3, 2}, "bye"};
    EXPECT_TRUE(said("DATA\r\nx\r\n.\r\n").ends_with("421 4.3.2 bye\r\n"));
    EXPECT_TRUE(driver_.closed);
}

TEST_F(Session, our_own_ending) {
    std::string block(output_room_min, '\0');
    Exchange exchange;
    exchange.output = block;
    driver_.feed("EHLO c.example\r\n");
    driver_.session.end(exchange, Answer::idle);
    EXPECT_EQ(driver_.session.step(exchange), Wish::close);
    EXPECT_TRUE(block.starts_with("421 4.4.2 "));
}

TEST_F(Session, says_how_a_message_came) {
    driver_.feed("HELO c.example\r\n");
    EXPECT_EQ(driver_.session.protocol(), "SMTP");
    driver_.feed("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    EXPECT_EQ(driver_.session.protocol(), "ESMTP");
    driver_.feed("RSET\r\nMAIL FROM:<a@example.org> SMTPUTF8\r\n");
    EXPECT_EQ(driver_.session.protocol(), "UTF8SMTP");
    EXPECT_EQ(driver_.session.hello_name(), "c.example");
}

TEST_F(Session, marks_eight_bit_headers) {
    driver_.feed(envelope);
    driver_.feed("DATA\r\nSubject: x\r\n\r\n\xc3\xa4\r\n.\r\n");
    EXPECT_TRUE(driver_.session.has_eight_bit());
    EXPECT_FALSE(driver_.session.has_utf8_header());
    driver_.feed(envelope);
    driver_.feed("DATA\r\nSubject: \xc3\xa4\r\n\r\nx\r\n.\r\n");
    EXPECT_TRUE(driver_.session.has_eight_bit());
    EXPECT_TRUE(driver_.session.has_utf8_header());
}

TEST_F(Session, an_endless_line_takes_no_memory) {
    const std::string part(1000, 'a');
    for (int i = 0; i < 400 && !driver_.closed; ++i) {
        driver_.feed(part);
    }
    EXPECT_TRUE(driver_.closed);
}

}  // namespace
}  // namespace postern::smtp::test

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

// --- DSN -----------------------------------------------------------------------------------------

TEST_F(Session, asks_for_notifications_only_where_they_are_offered) {
    holder_.settings.hidden = set_of(Extension::dsn);
    EXPECT_EQ(said("EHLO c.example\r\n").find("DSN"), std::string::npos);
    EXPECT_TRUE(said("MAIL FROM:<a@example.org> RET=FULL\r\n").starts_with("555 5.5.4 "));
    said("MAIL FROM:<a@example.org>\r\n");
    EXPECT_TRUE(said("RCPT TO:<b@example.com> NOTIFY=NEVER\r\n").starts_with("555 5.5.4 "));

    holder_.settings.hidden = 0;
    EXPECT_NE(said("EHLO c.example\r\n").find(" DSN\r\n"), std::string::npos);
    EXPECT_TRUE(said("MAIL FROM:<a@example.org> RET=NONE\r\n").starts_with("501 5.5.4 "));
    EXPECT_TRUE(said("MAIL FROM:<a@example.org> RET=FULL ENVID=Q\r\n").starts_with("250 2.1.0 "));
    EXPECT_TRUE(said("RCPT TO:<b@example.com> NOTIFY=NEVER,DELAY\r\n").starts_with("501 5.5.4 "));
    EXPECT_TRUE(
        said("RCPT TO:<b@example.com> ORCPT=utf-8;\xc3\xa4@x\r\n").starts_with("553 5.6.7 "))
        << "the octets need SMTPUTF8, whatever they stand in";
    EXPECT_TRUE(said("RCPT TO:<b@example.com> NOTIFY=DELAY ORCPT=rfc822;c@x\r\n")
                    .starts_with("250 2.1.5 "));
    EXPECT_EQ(driver_.notify, set_of(mail::Notify::delay));
    EXPECT_EQ(driver_.original_recipient, "rfc822;c@x");
    EXPECT_TRUE(said("RCPT TO:<c@example.com>\r\n").starts_with("250 2.1.5 "));
    EXPECT_EQ(driver_.notify, 0) << "each recipient's are its own";
    EXPECT_EQ(driver_.original_recipient, "");
    said("RSET\r\nMAIL FROM:<a@example.org> SMTPUTF8\r\n");
    EXPECT_TRUE(
        said("RCPT TO:<b@example.com> ORCPT=utf-8;\xc3\xa4@x\r\n").starts_with("250 2.1.5 "));

    said("HELO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    EXPECT_TRUE(said("RCPT TO:<b@example.com> NOTIFY=NEVER\r\n").starts_with("555 5.5.4 "));
}

// --- STARTTLS ------------------------------------------------------------------------------------

class Securing : public Session {
   protected:
    Securing() {
        holder_.settings.starttls = true;
        driver_.output.clear();
    }
};

TEST_F(Securing, announced_until_it_is_there) {
    EXPECT_NE(said("EHLO c.example\r\n").find("STARTTLS\r\n"), std::string::npos);
    EXPECT_FALSE(driver_.session.secure());
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("220 2.0.0 "));
    EXPECT_TRUE(driver_.session.secure());
    EXPECT_EQ(driver_.session.hello_name(), "");
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("503 5.5.1 ")) << "as new";
    EXPECT_EQ(said("EHLO c.example\r\n").find("STARTTLS"), std::string::npos);
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("503 5.5.1 "));
    EXPECT_TRUE(said("STARTTLS now\r\n").starts_with("501 5.5.4 "));
    EXPECT_EQ(driver_.session.protocol(), "ESMTPS");
    said("MAIL FROM:<a@example.org> SMTPUTF8\r\n");
    EXPECT_EQ(driver_.session.protocol(), "UTF8SMTPS");
    said("HELO c.example\r\n");
    EXPECT_EQ(driver_.session.protocol(), "SMTP");
}

TEST_F(Securing, goes_on_in_plain_text_without_memory) {
    driver_.tls_allowed = false;
    driver_.feed("EHLO c.example\r\n");
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("454 4.7.0 "));
    EXPECT_FALSE(driver_.session.secure());
    EXPECT_TRUE(said("MAIL FROM:<a@example.org>\r\n").starts_with("250 2.1.0 "));
}

TEST_F(Securing, stands_between_transactions) {
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("503 5.5.1 "));
    driver_.feed("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("503 5.5.1 "));
    driver_.feed("RCPT TO:<b@example.com>\r\n");
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("503 5.5.1 "));
    driver_.feed("BDAT 0\r\n");
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("503 5.5.1 "));
    EXPECT_TRUE(said("BDAT 0 LAST\r\n").starts_with("250 "));
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("220 "));
    EXPECT_EQ(driver_.abandoned, 0);
}

TEST_F(Session, starttls_without_tls) {
    EXPECT_EQ(said("EHLO c.example\r\n").find("STARTTLS"), std::string::npos);
    EXPECT_TRUE(said("STARTTLS\r\n").starts_with("500 5.5.1 "));
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
        "||500", "MAIL|FROM:<bad>|501", "RCPT|TO:<b@>|501", "DATA||554"};
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

TEST_F(Session, bad_commands_slow_a_session_down_before_they_end_it) {
    driver_.feed("EHLO c.example\r\n");
    std::int64_t before = 0;
    for (int i = 1; i < 20; ++i) {
        EXPECT_TRUE(said("WHAT\r\n").starts_with("500 "));
        const std::int64_t pause = base::to_ms(driver_.session.take_pause());
        EXPECT_EQ(pause > 0, i > 10) << i;
        EXPECT_EQ(pause > before, i > 10) << i;
        before = pause;
        EXPECT_FALSE(driver_.session.has_pause());
    }
    EXPECT_FALSE(driver_.hostile);
    EXPECT_TRUE(said("WHAT\r\n").ends_with("421 4.7.0 too many errors, closing\r\n"));
    EXPECT_TRUE(driver_.closed);
    EXPECT_TRUE(driver_.hostile);
    EXPECT_EQ(driver_.refusals.back(), "||421");
}

TEST_F(Session, a_pipelines_pauses_are_added_up_to_a_bound) {
    holder_.settings.errors_max = 1000;
    std::string input;
    for (int i = 0; i < 502; ++i) {
        input += "WHAT\r\n";
    }
    driver_.feed(input);
    EXPECT_EQ(base::to_ms(driver_.session.take_pause()), 300);
    for (int i = 0; i < 400; ++i) {
        driver_.feed("WHAT\r\n");
    }
    EXPECT_EQ(base::to_ms(driver_.session.take_pause()), pause_max_ms);
}

TEST_F(Session, wrong_recipients_slow_a_session_down_before_they_end_it) {
    driver_.feed("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    for (std::uint32_t i = 1; i < wrong_recipients_max; ++i) {
        EXPECT_TRUE(said(i % 2 == 0 ? "RCPT TO:<x@nowhere.example>\r\n" : "RCPT TO:<x@>\r\n")
                        .starts_with("5"));
        EXPECT_EQ(driver_.session.take_pause() > base::Duration(0), i > wrong_recipients_free);
    }
    EXPECT_TRUE(said("RCPT TO:<x@nowhere.example>\r\n")
                    .ends_with("421 4.7.0 too many wrong recipients, closing\r\n"));
    EXPECT_TRUE(driver_.closed);
    EXPECT_TRUE(driver_.hostile);
    EXPECT_EQ(driver_.refusals.back(), "||421");
}

/// A list with many dead addresses on a connection that is kept for long.
TEST_F(Session, an_accepted_message_makes_up_for_wrong_recipients) {
    driver_.feed("EHLO c.example\r\n");
    for (int message = 0; message < 20; ++message) {
        driver_.feed("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n");
        for (int i = 0; i < 50; ++i) {
            driver_.feed("RCPT TO:<x@nowhere.example>\r\n");
        }
        EXPECT_FALSE(driver_.session.has_pause());
        EXPECT_TRUE(said("DATA\r\n.\r\n").ends_with("250 2.0.0 queued\r\n"));
    }
}

TEST_F(Session, what_stands_behind_a_refused_mail_is_no_wrong_recipient) {
    driver_.feed("EHLO c.example\r\n");
    for (std::uint32_t i = 0; i < wrong_recipients_max; ++i) {
        EXPECT_TRUE(said("RCPT TO:<b@example.com>\r\n").starts_with("503 "));
    }
    driver_.feed("MAIL FROM:<a@example.org>\r\n");
    for (std::uint32_t i = 0; i < wrong_recipients_max; ++i) {
        EXPECT_TRUE(said("RCPT TO:<b@deferred.example>\r\n").starts_with("450 "));
    }
    EXPECT_FALSE(driver_.session.has_pause());
}

/// RFC 5321, section 4.5.3.1.10: it sends them in another transaction, having sent them all.
TEST_F(Session, one_recipient_too_many_is_no_wrong_one) {
    driver_.feed("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    for (std::uint32_t i = 0; i < holder_.settings.limits.recipients_max; ++i) {
        driver_.feed("RCPT TO:<b@example.com>\r\n");
    }
    for (std::uint32_t i = 0; i < wrong_recipients_max; ++i) {
        EXPECT_TRUE(said("RCPT TO:<b@example.com>\r\n").starts_with("452 "));
    }
    EXPECT_FALSE(driver_.session.has_pause());
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
    EXPECT_TRUE(driver_.hostile);
}

}  // namespace
}  // namespace postern::smtp::test

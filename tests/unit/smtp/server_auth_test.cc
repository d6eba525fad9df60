#include <gtest/gtest.h>

#include "postern/smtp/server_session.h"
#include "session_driver.h"

namespace postern::smtp::test {
namespace {

constexpr std::string_view right = "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n";
constexpr std::string_view wrong = "AUTH PLAIN AHRpbQB3cm9uZw==\r\n";

SettingsHolder with_passwords() {
    SettingsHolder holder;
    holder.settings.has_passwords = true;
    holder.settings.errors_max = 3;
    return holder;
}

class Auth : public testing::Test {
   protected:
    Auth() {
        driver_.logins["tim"] = "tanstaaftanstaaf";
        driver_.session.secured();
        driver_.feed("EHLO c.example\r\n");
    }

    SettingsHolder holder_ = with_passwords();
    SessionDriver driver_{holder_.settings};

    std::string said(std::string_view bytes) {
        driver_.output.clear();
        driver_.feed(bytes);
        return driver_.output;
    }
};

TEST_F(Auth, nothing_is_consumed_while_the_check_is_under_way) {
    driver_.checks_passwords = false;
    std::string block(2 * output_room_min, '\0');
    const std::string input = std::string(right) + "NOOP\r\n";
    Exchange exchange;
    exchange.output = block;
    exchange.input = input;
    EXPECT_EQ(driver_.session.step(exchange), Wish::check_password);
    EXPECT_EQ(exchange.credentials.name, "tim");
    EXPECT_EQ(exchange.credentials.password, "tanstaaftanstaaf");
    EXPECT_EQ(exchange.input, "NOOP\r\n");
    EXPECT_TRUE(driver_.session.awaits_password_check());
    EXPECT_TRUE(driver_.session.takes_secrets());
    EXPECT_FALSE(driver_.session.idle());
    driver_.session.authenticated(exchange, {235, {2, 7, 0}, "welcome"});
    EXPECT_FALSE(driver_.session.takes_secrets());
    EXPECT_EQ(driver_.session.step(exchange), Wish::input);
    EXPECT_EQ(exchange.input, "");
    const std::string output(block.data(), block.size() - exchange.output.size());
    EXPECT_EQ(output, "235 2.7.0 welcome\r\n250 2.0.0 ok\r\n");
}

TEST_F(Auth, the_answer_may_be_that_nobody_can_tell_or_the_end) {
    driver_.checks_passwords = false;
    std::string block(2 * output_room_min, '\0');
    Exchange exchange;
    for (const int code : {454, 421}) {
        exchange.output = block;
        exchange.input = right;
        EXPECT_EQ(driver_.session.step(exchange), Wish::check_password);
        driver_.session.authenticated(
            exchange, {static_cast<std::uint16_t>(code), {4, 7, 0}, "not now"});
    }
    EXPECT_EQ(driver_.session.step(exchange), Wish::close);
}

TEST_F(Auth, protocol_says_how_the_message_came) {
    EXPECT_EQ(driver_.session.protocol(), "ESMTPS");
    EXPECT_TRUE(said(wrong).starts_with("535 "));
    EXPECT_EQ(driver_.session.protocol(), "ESMTPS");
    EXPECT_TRUE(said(right).starts_with("235 "));
    EXPECT_EQ(driver_.session.protocol(), "ESMTPSA");
    driver_.feed("MAIL FROM:<a@example.org> SMTPUTF8\r\n");
    EXPECT_EQ(driver_.session.protocol(), "UTF8SMTPSA");
    driver_.feed("HELO c.example\r\n");
    EXPECT_EQ(driver_.session.protocol(), "SMTP");
}

TEST_F(Auth, wrong_passwords_are_errors_of_the_session) {
    EXPECT_TRUE(said(wrong).starts_with("535 "));
    EXPECT_TRUE(said(wrong).starts_with("535 "));
    EXPECT_EQ(
        said(wrong), "535 5.7.8 wrong name or password\r\n421 4.7.0 too many errors, closing\r\n");
    EXPECT_TRUE(driver_.closed);
}

/// What a client says whose AUTH was refused may be a password.
TEST_F(Auth, what_is_no_command_is_told_to_nobody) {
    EXPECT_TRUE(said("AUTH CRAM-MD5\r\n").starts_with("504 "));
    EXPECT_TRUE(said("c3dvcmRmaXNo\r\n").starts_with("500 "));
    EXPECT_EQ(driver_.refusals, (std::vector<std::string>{"AUTH||504", "||500"}));
}

TEST(AuthExchange, decodes_every_tail_of_base64) {
    const struct {
        std::string_view text;
        std::string_view name;
    } cases[] = {
        {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"YWJjZA==", "abcd"}, {"/+8=", "\xff\xef"}};

    for (const auto& [text, name] : cases) {
        for (std::size_t split = 0; split <= text.size(); ++split) {
            AuthExchange exchange(Mechanism::login);
            EXPECT_EQ(exchange.challenge(), Answer::auth_name);
            exchange.begin_line(0);
            exchange.take(text.substr(0, split));
            exchange.take(text.substr(split));
            EXPECT_EQ(exchange.end_line(false), Answer::auth_password);
            exchange.begin_line(0);
            exchange.take("eA==");
            EXPECT_EQ(exchange.end_line(false), Answer::none);
            Credentials credentials;
            ASSERT_TRUE(exchange.credentials(credentials));
            EXPECT_EQ(credentials.name, name);
            EXPECT_EQ(credentials.password, "x");
        }
    }
}

/// RFC 4616, section 2: 255 octets each are to be taken.
TEST(AuthExchange, takes_the_longest_parts) {
    std::string message =
        std::string(255, 'n') + '\0' + std::string(255, 'n') + '\0' + std::string(511, 'p');
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    ASSERT_EQ(message.size() % 3, 0U);
    std::string encoded;
    for (std::size_t i = 0; i < message.size(); i += 3) {
        const auto octet = [&](std::size_t at) { return static_cast<unsigned char>(message[at]); };
        const unsigned group =
            static_cast<unsigned>(octet(i) << 16 | octet(i + 1) << 8) | octet(i + 2);
        for (const unsigned shift : {18U, 12U, 6U, 0U}) {
            encoded += alphabet[group >> shift & 63];
        }
    }
    AuthExchange exchange(Mechanism::plain);
    exchange.begin_line(0);
    exchange.take(encoded);
    ASSERT_EQ(exchange.end_line(true), Answer::none);
    Credentials credentials;
    ASSERT_TRUE(exchange.credentials(credentials));
    EXPECT_EQ(credentials.name, std::string(255, 'n'));
    EXPECT_EQ(credentials.password, std::string(511, 'p'));
}

}  // namespace
}  // namespace postern::smtp::test

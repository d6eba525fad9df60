#include <gtest/gtest.h>

#include "tests/unit/inbound/fake_world.h"

namespace postern::inbound::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Notice = World::Notice;

constexpr std::string_view version_1 = "PROXY TCP4 192.0.2.9 192.0.2.1 40000 25\r\n";
constexpr std::string_view message =
    "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT 6 LAST\r\ntext\r\n";

/// The answers to `message`.
void expect_taken(Sender& sender) {
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.0 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 queued"));
}

// --- behind a proxy ------------------------------------------------------------------------------

TEST(arrival, a_proxy_says_who_its_client_is) {
    Gateway gateway;
    gateway.world.proxy = true;
    Sender sender(gateway);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.clients == 1; }));
    for (const char c : version_1) {  // nothing is said before all of it has come
        gateway.turn();
        sender.send({&c, 1});
    }
    EXPECT_EQ(sender.reply(), "220 gw.example.net ESMTP Postern\r\n");
    EXPECT_EQ(gateway.world.moves, std::vector<std::string>{"192.0.2.9"});
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-gw.example.net\r\n"));
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(gateway.world.received_lines[0].starts_with(
        "Received: from c.example (unknown [192.0.2.9]) by "))
        << gateway.world.received_lines[0];
    EXPECT_TRUE(gateway.world.notices.empty());
}

TEST(arrival, what_stands_behind_the_header_is_the_clients) {
    Gateway gateway;
    gateway.world.proxy = true;
    Sender sender(gateway);
    sender.send(std::string(version_1) + "EHLO c.example\r\n" + std::string(message) + "QUIT\r\n");
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(sender.reply().starts_with("250-gw.example.net\r\n"));
    expect_taken(sender);
    EXPECT_TRUE(sender.reply().starts_with("221 "));
    EXPECT_TRUE(sender.closed_by_peer());
    ASSERT_EQ(gateway.world.messages.size(), 1U);
    EXPECT_EQ(gateway.world.messages[0].content, "text\r\n");
}

TEST(arrival, a_client_that_may_not_come_hears_why_behind_its_proxy) {
    Gateway gateway;
    gateway.world.proxy = true;
    gateway.world.move_refusal = {421, {4, 7, 0}, "too many connections"};
    Sender sender(gateway);
    sender.send(std::string(version_1) + "EHLO c.example\r\n");
    EXPECT_EQ(sender.reply(), "421 4.7.0 too many connections\r\n");
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||421"});
}

TEST(arrival, a_health_check_sends_no_mail) {
    Gateway gateway;
    gateway.world.proxy = true;
    Sender sender(gateway);
    sender.send("PROXY UNKNOWN\r\n");
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_EQ(gateway.world.notices, std::vector<Notice>{Notice::health_check});
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    EXPECT_TRUE(sender.ask("MAIL FROM:<a@example.org>").starts_with("550 5.7.1 "));
    EXPECT_TRUE(sender.ask("NOOP").starts_with("250 2.0.0 "));
    EXPECT_TRUE(sender.ask("QUIT").starts_with("221 "));
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_TRUE(gateway.world.moves.empty());
}

TEST(arrival, a_proxy_without_a_good_header_is_dropped) {
    Gateway gateway;
    gateway.world.proxy = true;
    for (const std::string_view first :
         {"EHLO c.example\r\n", "PROXY TCP4 192.0.2.9 192.0.2.1 1\r\n"}) {
        Sender sender(gateway);
        sender.send(first);
        EXPECT_TRUE(sender.closed_by_peer());
    }
    Sender leaves(gateway);
    leaves.send("PROXY T");
    leaves.end_sending();
    EXPECT_TRUE(leaves.closed_by_peer());
    EXPECT_EQ(gateway.world.notices, std::vector<Notice>(3, Notice::bad_proxy_header));
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>(3, "||554"));
    // It connects, and that is all: nothing to tell of.
    Sender plain(gateway);
    plain.end_sending();
    EXPECT_TRUE(plain.closed_by_peer());
    EXPECT_EQ(gateway.world.notices.size(), 3U);
}

TEST(arrival, a_header_that_does_not_come_is_not_waited_for) {
    Gateway gateway;
    gateway.world.proxy = true;
    Sender sender(gateway);
    sender.send(version_1.substr(0, 20));
    const base::Instant begin = gateway.ring->now();
    while (gateway.world.notices.empty() && gateway.ring->now() - begin < seconds(10)) {
        gateway.turn();
    }
    EXPECT_EQ(gateway.world.notices, std::vector<Notice>{Notice::bad_proxy_header});
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||421"});
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST(arrival, ends_with_the_gateway_at_every_stage) {
    ListenerSettings settings = Gateway::usual();
    settings.greeting_pause = seconds(60);
    Gateway gateway(settings);
    gateway.world.exempt = false;
    gateway.world.proxy = true;
    Sender before_header(gateway);
    Sender paused(gateway);
    paused.send(version_1);
    EXPECT_TRUE(gateway.turn_until(
        [&] { return gateway.world.clients == 2 && gateway.world.moves.size() == 1; }));
    gateway.world.client_address = "127.0.0.1";  // of the first one, which goes first
    gateway.world.move_refusal.code = 1;
    gateway.inbound->shut_down();
    EXPECT_TRUE(before_header.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(paused.reply().starts_with("421 4.3.2 "));
}

// --- the pause -----------------------------------------------------------------------------------

ListenerSettings pausing(base::Duration pause) {
    ListenerSettings settings = Gateway::usual();
    settings.greeting_pause = pause;
    return settings;
}

TEST(arrival, the_greeting_is_held_back) {
    Gateway gateway(pausing(milliseconds(300)));
    gateway.world.exempt = false;
    const base::Instant begin = gateway.ring->now();
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_GE(gateway.ring->now() - begin, milliseconds(300));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(gateway.world.notices.empty());
    // Who leaves meanwhile is no early talker.
    Sender leaves(gateway);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.clients == 2; }));
    leaves.end_sending();
    EXPECT_TRUE(leaves.closed_by_peer());
    EXPECT_TRUE(gateway.world.refusals.empty());
}

TEST(arrival, who_speaks_before_the_greeting_is_turned_away) {
    Gateway gateway(pausing(seconds(60)));
    gateway.world.exempt = false;
    Sender sender(gateway);
    sender.send("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
    EXPECT_TRUE(sender.reply().starts_with("554 5.5.1 "));
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.notices, std::vector<Notice>{Notice::early_talker});
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||554"});
}

TEST(arrival, a_proxys_header_is_no_early_talk_and_what_is_behind_it_is) {
    Gateway gateway(pausing(milliseconds(200)));
    gateway.world.exempt = false;
    gateway.world.proxy = true;
    {
        Sender sender(gateway);
        sender.send(version_1);
        EXPECT_TRUE(sender.reply().starts_with("220 "));
        EXPECT_TRUE(sender.ask("QUIT").starts_with("221 "));
        EXPECT_TRUE(sender.closed_by_peer());
    }
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.clients == 0; }));
    gateway.world.moves.clear();
    Sender early(gateway);
    early.send(std::string(version_1) + "EHLO c.example\r\n");
    EXPECT_TRUE(early.reply().starts_with("554 5.5.1 "));
    EXPECT_TRUE(early.closed_by_peer());
}

TEST(arrival, relay_networks_and_health_checks_are_greeted_at_once) {
    Gateway gateway(pausing(seconds(60)));
    {
        Sender trusted(gateway);
        EXPECT_TRUE(trusted.reply().starts_with("220 "));
    }
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.clients == 0; }));
    gateway.world.exempt = false;
    gateway.world.proxy = true;
    Sender check(gateway);
    check.send("PROXY UNKNOWN\r\nQUIT\r\n");
    EXPECT_TRUE(check.reply().starts_with("220 "));
    EXPECT_TRUE(check.reply().starts_with("221 "));
}

// --- XCLIENT and XFORWARD ------------------------------------------------------------------------

ListenerSettings introducing() {
    ListenerSettings settings = Gateway::usual();
    settings.xclient = settings.xforward = true;
    return settings;
}

TEST(introduced, xclient_moves_the_client) {
    Gateway gateway(introducing());
    gateway.world.may_introduce = true;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(
        sender.ask("XCLIENT NAME=mail.example.org ADDR=IPV6:2001:db8::9 PORT=40000 LOGIN=joe")
            .starts_with("220 gw.example.net ESMTP"));
    EXPECT_EQ(gateway.world.moves, std::vector<std::string>{"2001:db8::9"});
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(gateway.world.received_lines[0].starts_with(
        "Received: from c.example (mail.example.org [IPv6:2001:db8::9]) by "))
        << gateway.world.received_lines[0];
    // What is not said again stays; [UNAVAILABLE] is as if it had never been said.
    EXPECT_TRUE(sender.ask("XCLIENT ADDR=192.0.2.10").starts_with("220 "));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(sender.ask("XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]").starts_with("220 "));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    sender.send(message);
    expect_taken(sender);
    EXPECT_EQ(
        gateway.world.introductions,
        (std::vector<std::string>{"mail.example.org", "mail.example.org", ""}));
    EXPECT_TRUE(gateway.world.received_lines[2].starts_with(
        "Received: from c.example (unknown [unknown]) by "))
        << gateway.world.received_lines[2];
}

TEST(introduced, a_login_is_the_clients_that_it_was_said_of) {
    Gateway gateway(introducing());
    gateway.world.may_introduce = true;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    for (const auto& [attributes, protocol] :
         {std::pair("LOGIN=joe ADDR=192.0.2.9", " with ESMTPA "),
          std::pair("PORT=1", " with ESMTP "),
          std::pair("LOGIN=joe", " with ESMTPA "),
          std::pair("ADDR=192.0.2.10", " with ESMTP "),
          std::pair("LOGIN=[UNAVAILABLE]", " with ESMTP ")}) {
        EXPECT_TRUE(sender.ask("XCLIENT " + std::string(attributes)).starts_with("220 "));
        EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
        sender.send(message);
        expect_taken(sender);
        EXPECT_NE(gateway.world.received_lines.back().find(protocol), std::string::npos)
            << attributes << ": " << gateway.world.received_lines.back();
    }
    EXPECT_EQ(gateway.world.begun_as, (std::vector<std::string>{"joe", "", "joe", "", ""}));
}

TEST(introduced, a_client_that_may_not_come_ends_the_session) {
    Gateway gateway(introducing());
    gateway.world.may_introduce = true;
    gateway.world.move_refusal = {421, {4, 7, 0}, "too many connections"};
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_EQ(sender.ask("XCLIENT ADDR=192.0.2.9"), "421 4.7.0 too many connections\r\n");
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"XCLIENT||421"});
}

TEST(introduced, xforward_holds_for_one_message) {
    Gateway gateway(introducing());
    gateway.world.may_introduce = true;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    EXPECT_TRUE(sender.ask("XFORWARD NAME=m.example ADDR=192.0.2.9").starts_with("250 2.0.0 "));
    EXPECT_TRUE(sender.ask("XFORWARD IDENT=4B+20x ADDR=[UNAVAILABLE]").starts_with("250 2.0.0 "));
    sender.send(message);
    expect_taken(sender);
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(sender.ask("XFORWARD ADDR=192.0.2.10").starts_with("250 2.0.0 "));
    EXPECT_TRUE(sender.ask("RSET").starts_with("250 2.0.0 "));
    sender.send(message);
    expect_taken(sender);
    EXPECT_TRUE(sender.ask("XFORWARD IDENT=x").starts_with("250 2.0.0 "));
    sender.send(message);
    expect_taken(sender);
    EXPECT_EQ(
        gateway.world.introductions,
        (std::vector<std::string>{"|m.example||4B?x", "", "", "|||x"}));
    EXPECT_TRUE(gateway.world.received_lines[0].starts_with(
        "Received: from c.example (unknown [127.0.0.1]) by "));
}

TEST(introduced, nobody_else_may) {
    Gateway gateway(introducing());
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    const std::string hello = sender.ask("EHLO c.example");
    EXPECT_EQ(hello.find("XCLIENT"), std::string::npos) << hello;
    EXPECT_EQ(hello.find("XFORWARD"), std::string::npos) << hello;
    EXPECT_TRUE(sender.ask("XCLIENT ADDR=192.0.2.9").starts_with("550 5.7.0 "));
    EXPECT_TRUE(sender.ask("XFORWARD ADDR=192.0.2.9").starts_with("550 5.7.0 "));
    EXPECT_TRUE(gateway.world.moves.empty());
}

}  // namespace
}  // namespace postern::inbound::test

#include "postern/inbound/inbound.h"

#include <gtest/gtest.h>

#include "tests/unit/inbound/fake_world.h"

namespace postern::inbound::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Sends a piece every few milliseconds, until it hears something or two seconds have passed.
std::string trickle(Gateway& gateway, Sender& sender, std::string_view piece) {
    const base::Instant end = gateway.ring->now() + seconds(2);
    while (gateway.ring->now() < end && gateway.world.refusals.empty()) {
        sender.send(piece);
        const base::Instant next = gateway.ring->now() + milliseconds(20);
        EXPECT_TRUE(gateway.turn_until([&] { return gateway.ring->now() >= next; }));
    }
    return sender.reply();
}

TEST(connection, a_body_that_trickles_is_given_up) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(150);
    settings.data_timeout = milliseconds(150);
    for (const std::string_view begin : {"DATA\r\n", "BDAT 100000 LAST\r\n"}) {
        Gateway gateway(settings);
        Sender sender(gateway);
        begin_transaction(sender);
        sender.send(begin);
        if (begin.starts_with("DATA")) {
            EXPECT_TRUE(sender.reply().starts_with("354 "));
        }
        const base::Instant began = gateway.ring->now();
        EXPECT_TRUE(trickle(gateway, sender, "x").starts_with("421 4.4.2 ")) << begin;
        EXPECT_LT(gateway.ring->now() - began, seconds(1));
        EXPECT_TRUE(sender.closed_by_peer());
        EXPECT_EQ(gateway.world.abandoned, 1);
    }
}

/// Chunk after chunk of an octet, each command in time.
TEST(connection, chunks_that_trickle_are_given_up) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(150);
    settings.data_timeout = milliseconds(150);
    Gateway gateway(settings);
    Sender sender(gateway);
    begin_transaction(sender);
    std::string reply = "250 2.0.0 chunk received\r\n";
    const base::Instant began = gateway.ring->now();
    while (reply == "250 2.0.0 chunk received\r\n" && gateway.ring->now() < began + seconds(2)) {
        const base::Instant next = gateway.ring->now() + milliseconds(40);
        EXPECT_TRUE(gateway.turn_until([&] { return gateway.ring->now() >= next; }));
        sender.send("BDAT 1\r\nx");
        reply = sender.reply();
    }
    EXPECT_TRUE(reply.starts_with("421 4.4.2 ")) << reply;
    EXPECT_LT(gateway.ring->now() - began, seconds(1));
}

TEST(connection, a_body_that_comes_fast_enough_may_take_long) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(100);
    settings.data_timeout = milliseconds(100);
    Gateway gateway(settings);
    Sender sender(gateway);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    const base::Instant end = gateway.ring->now() + milliseconds(600);
    while (gateway.ring->now() < end) {
        sender.send(std::string(30, 'x') + "\r\n");  // 1,600 octets a second
        const base::Instant next = gateway.ring->now() + milliseconds(20);
        EXPECT_TRUE(gateway.turn_until([&] { return gateway.ring->now() >= next; }));
    }
    EXPECT_TRUE(sender.ask(".").starts_with("250 2.0.0 "));
}

TEST(connection, who_errs_too_often_is_slowed_down_and_closed) {
    ListenerSettings settings = Gateway::usual();
    settings.errors_max = 6;
    Gateway gateway(settings);
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    // A pause begins with the answer in front of it, which may have come late to this test.
    const base::Instant began = gateway.ring->now();
    base::Instant asked = began;
    for (int i = 0; i < 4; ++i) {
        asked = gateway.ring->now();
        EXPECT_TRUE(sender.ask("WHAT").starts_with("500 "));
    }
    EXPECT_LT(gateway.ring->now() - began, milliseconds(90));
    EXPECT_TRUE(sender.ask("WHAT").starts_with("500 "));
    EXPECT_GE(gateway.ring->now() - asked, milliseconds(100));
    const base::Instant answered = gateway.ring->now();
    // What the sender has sent before is answered at once, what it sends then waits.
    EXPECT_TRUE(sender.ask("NOOP\r\nNOOP").starts_with("250 "));
    EXPECT_GE(gateway.ring->now() - asked, milliseconds(100 + 200));
    EXPECT_GE(gateway.ring->now() - answered, milliseconds(150));
    EXPECT_TRUE(sender.reply().starts_with("250 "));
    EXPECT_TRUE(sender.ask("WHAT").starts_with("500 "));
    EXPECT_TRUE(sender.reply().starts_with("421 4.7.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST(connection, who_is_slowed_down_holds_no_buffer_and_ends_with_the_gateway) {
    ListenerSettings settings = Gateway::usual();
    settings.errors_max = 100;
    Gateway gateway(settings);
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    std::string errors;
    for (int i = 0; i < 80; ++i) {
        errors += "WHAT\r\n";
    }
    sender.send(errors);
    for (int i = 0; i < 80; ++i) {
        EXPECT_TRUE(sender.reply().starts_with("500 "));
    }
    sender.send("NOOP\r\n");
    const base::Instant soon = gateway.ring->now() + milliseconds(50);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.ring->now() >= soon; }));
    EXPECT_EQ(
        gateway.ring->buffers(io::BufferGroup::command).used(),
        gateway.ring->buffers_offered(io::BufferGroup::command));
    gateway.inbound->shut_down();
    EXPECT_TRUE(sender.reply().starts_with("421 4.3.2 "));
}

TEST(connection, under_pressure_who_is_waited_for_has_ten_seconds) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = settings.data_timeout = seconds(300);
    Gateway gateway(settings);
    Sender before(gateway);
    EXPECT_TRUE(before.reply().starts_with("220 "));
    const auto left = [&] {
        base::Instant next = gateway.timers.next();
        while (next - gateway.ring->now() < seconds(1)) {  // the wheel opens its slots meanwhile
            gateway.turn();
            next = gateway.timers.next();
        }
        return next - gateway.ring->now();
    };
    const base::Instant unpressed = gateway.timers.next();
    gateway.inbound->set_pressed(false);
    EXPECT_EQ(gateway.timers.next(), unpressed);
    gateway.inbound->set_pressed(true);
    EXPECT_LT(left(), seconds(11));
    // Who works goes on as before, and has ten seconds each time.
    EXPECT_TRUE(before.ask("EHLO c.example").starts_with("250-"));
    EXPECT_LT(left(), seconds(11));
}

/// Refused connections are not counted: they must not be held open by who has made them.
TEST(connection, who_may_not_come_does_not_stay) {
    Gateway gateway;
    gateway.world.greeting_refusal = {421, {4, 7, 0}, "too many connections"};
    for (const bool talks : {false, true}) {
        Sender sender(gateway);
        if (talks) {
            sender.send("EHLO c.example\r\n");
        }
        const base::Instant end = gateway.ring->now() + seconds(1);
        EXPECT_TRUE(gateway.turn_until([&] {
            return gateway.world.refusals.size() == (talks ? 2U : 1U) &&
                   gateway.inbound->connections() == 0;
        }));
        EXPECT_LT(gateway.ring->now(), end);
        if (!talks) {
            EXPECT_EQ(sender.reply(), "421 4.7.0 too many connections\r\n");
            EXPECT_TRUE(sender.closed_by_peer());
        }
    }
}

TEST(connection, a_refusal_at_mail_is_the_worlds) {
    Gateway gateway;
    gateway.world.begin_refusal = {450, {4, 7, 1}, "too many messages"};
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-"));
    EXPECT_EQ(sender.ask("MAIL FROM:<a@example.org> SIZE=1234"), "450 4.7.1 too many messages\r\n");
    EXPECT_EQ(gateway.world.size_declared, 1234U);
    gateway.world.begin_refusal = {};
    EXPECT_TRUE(sender.ask("MAIL FROM:<a@example.org>").starts_with("250 "));
}

TEST(connection, the_world_may_refuse_octets_while_they_come) {
    ListenerSettings settings = Gateway::usual();
    settings.octets_counted = true;
    for (const bool exempt : {false, true}) {
        Gateway gateway(settings);
        gateway.world.exempt = exempt;
        gateway.world.received_max = 10'000;
        Sender sender(gateway);
        begin_transaction(sender);
        EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
        std::string text;
        for (int i = 0; i < 400; ++i) {
            text += std::string(50, 'x') + "\r\n";
        }
        const std::string reply = sender.ask(text + ".");
        EXPECT_TRUE(reply.starts_with(exempt ? "250 2.0.0 " : "450 4.7.1 ")) << reply;
        EXPECT_EQ(gateway.world.abandoned, exempt ? 0 : 1);
        EXPECT_EQ(gateway.world.received_octets > 0, !exempt);
        EXPECT_TRUE(sender.ask("NOOP").starts_with("250 "));
    }
}

}  // namespace
}  // namespace postern::inbound::test

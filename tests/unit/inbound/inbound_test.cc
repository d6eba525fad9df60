#include "postern/inbound/inbound.h"

#include <gtest/gtest.h>

#include <netinet/tcp.h>

#include <deque>

#include "postern/smtp/server_session.h"
#include "tests/unit/inbound/fake_world.h"

namespace postern::inbound::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(inbound, a_message_comes_through_with_our_line_in_front) {
    Gateway gateway;
    Sender sender(gateway);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    EXPECT_TRUE(sender.ask("Subject: x\r\n\r\n..dots\r\n.").starts_with("250 2.0.0 queued\r\n"));
    ASSERT_EQ(gateway.world.messages.size(), 1U);
    EXPECT_EQ(gateway.world.messages[0].envelope, "a@example.org -> b@example.com");
    EXPECT_EQ(gateway.world.messages[0].content, "Subject: x\r\n\r\n.dots\r\n");
    const std::string& line = gateway.world.received_lines[0];
    EXPECT_TRUE(
        line.starts_with("Received: from c.example (unknown [127.0.0.1]) by gw.example.net "
                         "(Postern) with ESMTP id ID1 for <b@example.com>; "))
        << line;
    EXPECT_TRUE(line.ends_with(" +0000\r\n")) << line;
    EXPECT_TRUE(sender.ask("QUIT").starts_with("221 2.0.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.abandoned, 0);
}

TEST(inbound, a_session_keeps_to_what_it_was_greeted_with) {
    Gateway gateway;
    Sender before(gateway);
    EXPECT_TRUE(before.reply().starts_with("220 gw.example.net "));
    ListenerSettings settings = Gateway::usual();
    settings.hostname = "other.example.net";
    settings.recipients_max = 1;
    gateway.inbound->change_listener(0, settings);
    Sender behind(gateway);
    EXPECT_TRUE(behind.reply().starts_with("220 other.example.net "));
    EXPECT_TRUE(before.ask("EHLO c.example").starts_with("250-gw.example.net\r\n"));
    EXPECT_NE(behind.ask("EHLO c.example").find("RCPTMAX=1\r\n"), std::string::npos);
}

TEST(inbound, a_listener_goes_and_its_sessions_go_on) {
    Gateway gateway;
    Sender sender(gateway);
    begin_transaction(sender);
    Sender waiting(gateway);  // has connected, and is not accepted yet
    gateway.inbound->remove_listener(0);
    EXPECT_TRUE(waiting.reply().starts_with("220 gw.example.net "));
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    EXPECT_TRUE(sender.ask("Subject: x\r\n\r\n.").starts_with("250 2.0.0 queued\r\n"));
    const int late = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const io::Address& address = gateway.loopback.address;
    EXPECT_NE(::connect(late, address.raw(), address.raw_size()), 0);
    ::close(late);
    // Its number is free for another one.
    io::test::Loopback again;
    const io::Address new_address = again.address;
    gateway.inbound->add_listener(0, again.release(), Gateway::usual());
    gateway.loopback.address = new_address;
    Sender behind(gateway);
    EXPECT_TRUE(behind.reply().starts_with("220 gw.example.net "));
}

TEST(inbound, a_client_that_may_not_come_hears_why) {
    Gateway gateway;
    gateway.world.greeting_refusal = {421, {4, 7, 0}, "too many connections"};
    Sender sender(gateway);
    EXPECT_EQ(sender.reply(), "421 4.7.0 too many connections\r\n");
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||421"});
}

TEST(inbound, a_connection_may_be_another_workers) {
    Gateway gateway;
    gateway.world.hands_over = true;
    Sender sender(gateway);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.handed_over.size() == 1; }));
    EXPECT_EQ(gateway.inbound->connections(), 0u);
    const auto [terms, descriptor] = gateway.world.handed_over.front();
    gateway.inbound->take_over(terms, descriptor);
    EXPECT_EQ(gateway.inbound->connections(), 1u);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(sender.ask("NOOP").starts_with("250 "));
    // What comes when all is about to end is told so.
    Sender late(gateway);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.handed_over.size() == 2; }));
    gateway.inbound->shut_down();
    gateway.inbound->take_over(terms, gateway.world.handed_over.back().second);
    EXPECT_TRUE(late.reply().starts_with("220 "));
    EXPECT_TRUE(late.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(late.closed_by_peer());
}

TEST(inbound, idle_senders_are_sent_away) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(150);
    settings.data_timeout = seconds(60);
    Gateway gateway(settings);
    Sender silent(gateway);
    Sender dripping(gateway);
    Sender in_body(gateway);
    begin_transaction(in_body);
    EXPECT_TRUE(in_body.ask("DATA").starts_with("354 "));
    EXPECT_TRUE(dripping.reply().starts_with("220 "));
    const base::Instant begin = gateway.ring->now();
    // Single octets of a command do not count as activity.
    while (gateway.world.refusals.size() < 2 && gateway.ring->now() - begin < seconds(4)) {
        dripping.send("x");
        gateway.turn();
    }
    EXPECT_LT(gateway.ring->now() - begin, seconds(2));
    EXPECT_TRUE(silent.reply().starts_with("220 "));
    EXPECT_TRUE(silent.reply().starts_with("421 4.4.2 "));
    EXPECT_TRUE(silent.closed_by_peer());
    EXPECT_TRUE(dripping.reply().starts_with("421 4.4.2 "));
    EXPECT_TRUE(in_body.ask("text\r\n.").starts_with("250 2.0.0 "));
}

TEST(inbound, a_body_that_stalls_is_given_up) {
    ListenerSettings settings = Gateway::usual();
    settings.data_timeout = milliseconds(150);
    Gateway gateway(settings);
    Sender sender(gateway);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    sender.send("part of it\r\n");
    EXPECT_TRUE(sender.reply().starts_with("421 4.4.2 "));
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.abandoned, 1);
    EXPECT_TRUE(gateway.world.messages.empty());
}

TEST(inbound, who_waits_for_an_answer_has_no_deadline) {
    ListenerSettings settings = Gateway::usual();
    settings.command_timeout = milliseconds(100);
    settings.data_timeout = milliseconds(100);
    Gateway gateway(settings);
    gateway.world.answers = false;
    Sender sender(gateway);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    sender.send("text\r\n.\r\n");
    ASSERT_TRUE(gateway.turn_until([&] { return gateway.world.waiting.size() == 1; }));
    const base::Instant begin = gateway.ring->now();
    EXPECT_TRUE(
        gateway.turn_until([&] { return gateway.ring->now() - begin > milliseconds(400); }));
    gateway.world.final_answer = {451, {4, 4, 1}, "no host reachable"};
    gateway.world.answers = true;
    EXPECT_EQ(sender.reply(), "451 4.4.1 no host reachable\r\n");
}

TEST(inbound, a_pipeline_of_transactions_is_answered_in_order) {
    Gateway gateway;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    std::string all = "EHLO c.example\r\n";
    for (int i = 0; i < 200; ++i) {
        all +=
            std::string(one_envelope) + "BDAT 6 LAST\r\n" + "m" + std::to_string(100 + i) + "\r\n";
    }
    sender.send(all + "QUIT\r\n");
    EXPECT_TRUE(sender.reply().starts_with("250-gw"));
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(sender.reply().starts_with("250 2.1.0 "));
        ASSERT_TRUE(sender.reply().starts_with("250 2.1.5 "));
        ASSERT_TRUE(sender.reply().starts_with("250 2.0.0 queued"));
        ASSERT_EQ(
            gateway.world.messages[static_cast<std::size_t>(i)].content,
            "m" + std::to_string(100 + i) + "\r\n");
    }
    EXPECT_TRUE(sender.reply().starts_with("221 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

/// A sender that reads nothing is not read from either, and what it is owed comes when it does
/// read.
TEST(inbound, answers_that_are_not_read_stop_the_input) {
    Gateway gateway(Gateway::usual(), 65536);
    Sender sender(gateway, 4096);
    const int small = 4096;
    setsockopt(sender.descriptor(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    constexpr int commands = 100000;
    const std::string line = "VRFY x\r\n";
    const std::string many = [&] {
        std::string text;
        for (int i = 0; i < 1000; ++i) {
            text += line;
        }
        return text;
    }();
    // As much as goes in before it stalls.
    std::size_t sent = 0;
    for (int stalled = 0; stalled < 200 && sent < many.size() * commands / 1000;) {
        const std::size_t offset = sent % many.size();
        const ssize_t count =
            ::send(sender.descriptor(), many.data() + offset, many.size() - offset, MSG_DONTWAIT);
        gateway.turn();
        stalled = count > 0 ? 0 : stalled + 1;
        sent += count > 0 ? static_cast<std::size_t>(count) : 0;
    }
    EXPECT_LT(sent, many.size() * commands / 1000) << "the sender was never stopped";
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    const std::size_t whole = sent / line.size();
    for (std::size_t i = 0; i < whole; ++i) {
        ASSERT_TRUE(sender.reply().starts_with("252 ")) << i;
    }
    sender.send(line.substr(sent % line.size()));
    EXPECT_TRUE(sender.reply().starts_with("252 "));
}

TEST(inbound, memory_is_asked_for_before_it_is_filled) {
    Gateway gateway;
    gateway.world.body_octets_max = 1 << 20;
    Sender sender(gateway);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    const std::string line = std::string(998, 'x') + "\r\n";
    for (int i = 0; i < 3000; ++i) {
        sender.send(line);
    }
    EXPECT_TRUE(sender.ask(".").starts_with("452 4.3.1 "));
    EXPECT_EQ(gateway.world.abandoned, 1);
    EXPECT_EQ(
        gateway.world.tail_pool.used() + gateway.world.chain_pool.used() +
            gateway.world.arena_pool.used(),
        0U);
    gateway.world.body_octets_max = 0;
    sender.send(one_envelope);
    EXPECT_TRUE(sender.reply().starts_with("250 "));
    EXPECT_TRUE(sender.reply().starts_with("250 "));
    EXPECT_TRUE(sender.ask("DATA").starts_with("452 4.3.1 "));
    gateway.world.body_octets_max = 1 << 20;
    sender.send(one_envelope);
    EXPECT_TRUE(sender.reply().starts_with("250 "));
    EXPECT_TRUE(sender.reply().starts_with("250 "));
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    EXPECT_TRUE(sender.ask(".").starts_with("250 2.0.0 "));
}

TEST(inbound, a_large_body_is_kept_as_it_came) {
    Gateway gateway;
    Sender sender(gateway);
    std::string content;
    for (int i = 0; i < 60000; ++i) {
        content +=
            std::string(static_cast<std::size_t>(i % 97), static_cast<char>('a' + i % 26)) + "\r\n";
    }
    for (const bool by_data : {true, false}) {
        if (by_data) {
            begin_transaction(sender);
            EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
            sender.send(content + ".\r\n");
        } else {
            sender.send(one_envelope);
            sender.reply();
            sender.reply();
            sender.send("BDAT " + std::to_string(content.size()) + " LAST\r\n" + content);
        }
        EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 "));
        EXPECT_TRUE(gateway.world.messages.back().content == content);
    }
}

TEST(inbound, refused_recipients_cost_no_memory) {
    Gateway gateway;
    Sender sender(gateway);
    begin_transaction(sender);
    const std::uint32_t used = gateway.world.arena_pool.used();
    std::string many;
    for (std::uint32_t i = 0; i < smtp::wrong_recipients_free; ++i) {
        many += "RCPT TO:<somebody.with.a.long.name.and.more@nowhere.example>\r\n";
    }
    for (int round = 0; round < 100; ++round) {
        sender.send(many);
        for (std::uint32_t i = 0; i < smtp::wrong_recipients_free; ++i) {
            ASSERT_TRUE(sender.reply().starts_with("550 5.7.1 "));
        }
        EXPECT_EQ(gateway.world.arena_pool.used(), used);
        // A message that is taken makes up for them.
        sender.send("BDAT 0 LAST\r\n" + std::string(one_envelope));
        for (const std::string_view reply : {"250 2.0.0 ", "250 2.1.0 ", "250 2.1.5 "}) {
            EXPECT_TRUE(sender.reply().starts_with(reply));
        }
    }
    EXPECT_EQ(gateway.world.refusals.size(), 100 * smtp::wrong_recipients_free);
    EXPECT_EQ(
        gateway.world.refusals[0],
        "RCPT|TO:<somebody.with.a.long.name.and.more@nowhere.example>|550");
}

TEST(inbound, a_sender_that_leaves_in_the_middle_gives_its_transaction_back) {
    Gateway gateway;
    for (int way = 0; way < 3; ++way) {
        Sender sender(gateway);
        begin_transaction(sender);
        EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
        sender.send("part\r\n");
        way == 0 ? sender.hang_up() : way == 1 ? sender.reset() : sender.end_sending();
        EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.abandoned == way + 1; }));
    }
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>(3, "||421"));
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
    EXPECT_EQ(gateway.world.clients, 0);
}

/// product.md, section 5: gone on reset, or on end of stream with no complete command behind the
/// data.
TEST(inbound, looks_once_whether_the_sender_has_gone) {
    struct Case {
        std::string behind;

        enum { stays, ends, resets } way;

        bool gone;
    };

    const Case cases[] = {
        {"", Case::stays, false},
        {"", Case::ends, true},
        {"", Case::resets, true},
        {"QUIT\r\n", Case::ends, false},
        {"QUIT", Case::ends, true},
        {"QUIT\r\n", Case::stays, false},
        {"QUIT\n", Case::ends, true},
    };
    for (const Case& c : cases) {
        for (const bool with_the_data : {true, false}) {
            Gateway gateway;
            gateway.world.answers = false;
            Sender sender(gateway);
            begin_transaction(sender);
            EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
            sender.send("text\r\n.\r\n" + (with_the_data ? c.behind : ""));
            ASSERT_TRUE(gateway.turn_until([&] { return gateway.world.waiting.size() == 1; }));
            if (!with_the_data) {
                sender.send(c.behind);
            }
            if (c.way == Case::ends) {
                sender.end_sending();
            } else if (c.way == Case::resets) {
                sender.reset();
            }
            EXPECT_EQ(gateway.inbound->sender_gone(*gateway.world.waiting[0]), c.gone)
                << c.behind << " " << c.way << " " << with_the_data;
        }
    }
}

TEST(inbound, a_half_closed_sender_has_its_answers) {
    Gateway gateway;
    Sender sender(gateway);
    sender.send("EHLO c.example\r\n" + std::string(one_envelope) + "DATA\r\ntext\r\n.\r\nQUIT\r\n");
    sender.end_sending();
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    EXPECT_TRUE(sender.reply().starts_with("250-"));
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.0 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
    EXPECT_TRUE(sender.reply().starts_with("354 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 "));
    EXPECT_TRUE(sender.reply().starts_with("221 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST(inbound, shuts_down_gracefully) {
    Gateway gateway;
    gateway.world.answers = false;
    Sender idle(gateway);
    Sender owed(gateway);
    Sender open(gateway);
    EXPECT_TRUE(idle.reply().starts_with("220 "));
    EXPECT_TRUE(idle.ask("NOOP").starts_with("250 "));
    begin_transaction(open);
    begin_transaction(owed);
    EXPECT_TRUE(owed.ask("DATA").starts_with("354 "));
    owed.send("text\r\n.\r\n");
    ASSERT_TRUE(gateway.turn_until([&] { return gateway.world.waiting.size() == 1; }));
    gateway.inbound->shut_down();
    EXPECT_TRUE(idle.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(idle.closed_by_peer());
    gateway.world.answers = true;
    EXPECT_TRUE(owed.reply().starts_with("250 2.0.0 "));
    EXPECT_TRUE(owed.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(owed.closed_by_peer());
    EXPECT_TRUE(open.ask("RSET").starts_with("250 2.0.0 "));
    EXPECT_TRUE(open.reply().starts_with("421 4.3.2 "));
    idle.hang_up();
    owed.hang_up();
    open.hang_up();
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->closed(); }));
}

TEST(inbound, is_cut) {
    Gateway gateway;
    gateway.world.answers = false;
    Sender owed(gateway);
    Sender open(gateway);
    begin_transaction(open);
    begin_transaction(owed);
    EXPECT_TRUE(owed.ask("DATA").starts_with("354 "));
    owed.send("text\r\n.\r\n");
    ASSERT_TRUE(gateway.turn_until([&] { return gateway.world.waiting.size() == 1; }));
    gateway.inbound->cut();
    EXPECT_TRUE(open.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(open.closed_by_peer());
    EXPECT_EQ(gateway.world.abandoned, 1);
    EXPECT_FALSE(gateway.inbound->sender_gone(*gateway.world.waiting[0]));
    gateway.world.answers = true;
    EXPECT_TRUE(owed.reply().starts_with("250 2.0.0 "));
    EXPECT_TRUE(owed.reply().starts_with("421 4.3.2 "));
    EXPECT_TRUE(owed.closed_by_peer());
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->closed(); }));
}

TEST(inbound, a_last_answer_is_not_lost_to_what_still_comes) {
    Gateway gateway;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    sender.send("QUIT\r\n" + std::string(3 << 20, 'x'));
    EXPECT_TRUE(sender.reply().starts_with("221 2.0.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

/// With nothing behind QUIT there is nothing to wait for: the sender may close when it likes.
TEST(inbound, who_has_said_quit_is_not_waited_for) {
    Gateway gateway;
    for (const char* quit : {"QUIT\r\n", "EHLO c.example\r\nQUIT\r\n", "QU"}) {
        Sender sender(gateway);
        EXPECT_TRUE(sender.reply().starts_with("220 "));
        sender.send(quit);
        if (std::string_view(quit) == "QU") {  // a line that comes in two pieces
            gateway.turn();
            sender.send("IT\r\n");
        }
        ASSERT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
        std::string reply = sender.reply();
        while (reply.starts_with("250")) {
            reply = sender.reply();
        }
        EXPECT_TRUE(reply.starts_with("221 2.0.0 "));
        EXPECT_TRUE(sender.closed_by_peer());
    }
}

/// It should not, but its answers are not lost for it: else it would send the message again.
TEST(inbound, who_says_more_behind_quit_has_the_messages_answer) {
    Gateway gateway;
    gateway.world.answers = false;
    Sender sender(gateway);
    const int at_once = 1;
    ::setsockopt(sender.descriptor(), IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    begin_transaction(sender);
    EXPECT_TRUE(sender.ask("DATA").starts_with("354 "));
    sender.send("text\r\n.\r\nQUIT\r\n");
    ASSERT_TRUE(gateway.turn_until([&] { return gateway.world.waiting.size() == 1; }));
    sender.send("\r\n");
    gateway.turn();
    gateway.world.answers = true;
    EXPECT_TRUE(sender.reply().starts_with("250 2.0.0 "));
    EXPECT_TRUE(sender.reply().starts_with("221 2.0.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

/// QUIT ends a whole buffer, so what follows is not seen with it.
TEST(inbound, who_says_more_behind_quit_has_all_answers) {
    Gateway gateway;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    constexpr int noops = 680;
    std::string text = "NOOP    \r\n";
    for (int i = 0; i < noops; ++i) {
        text += "NOOP\r\n";
    }
    text += "QUIT\r\n";
    ASSERT_EQ(text.size(), io::RingOptions{}.command_buffer_size);
    sender.send(text + "NOOP\r\n");
    for (int i = 0; i < 1 + noops; ++i) {
        ASSERT_TRUE(sender.reply().starts_with("250 2.0.0 ")) << i;
    }
    EXPECT_TRUE(sender.reply().starts_with("221 2.0.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
}

TEST(inbound, an_endless_line_is_answered_and_ended) {
    Gateway gateway;
    Sender sender(gateway);
    EXPECT_TRUE(sender.reply().starts_with("220 "));
    sender.send(std::string(3 << 20, 'x'));
    EXPECT_TRUE(sender.reply().starts_with("500 5.5.2 "));
    EXPECT_TRUE(sender.reply().starts_with("421 4.7.0 "));
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.notices, std::vector{World::Notice::hostile_end});
}

TEST(inbound, an_idle_connection_holds_little) {
    EXPECT_LE(Inbound::connection_octets(), 792U);
    Gateway gateway;
    std::deque<Sender> senders;
    for (int i = 0; i < 100; ++i) {
        senders.emplace_back(gateway);
        EXPECT_TRUE(senders.back().reply().starts_with("220 "));
        EXPECT_TRUE(senders.back().ask("EHLO c.example").starts_with("250-"));
    }
    const std::uint32_t offered = gateway.ring->buffers_offered(io::BufferGroup::command);
    EXPECT_TRUE(gateway.turn_until(
        [&] { return gateway.ring->buffers(io::BufferGroup::command).used() <= offered; }));
    EXPECT_EQ(gateway.world.arena_pool.used(), 0U);
}

}  // namespace
}  // namespace postern::inbound::test

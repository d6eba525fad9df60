// Messages that wait for what other hosts say.

#include <thread>

#include "relay_fixture.h"

namespace postern::relay {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using smtp::test::Message;
using test::chunking;
using test::Dialogue;
using test::Peer;
using test::RelayTest;

/// Says yes to all, and writes down what it was asked.
void agree(Dialogue& d, std::string& lines) {
    d.open(chunking);
    for (std::string line = d.line(); !line.empty(); line = d.line()) {
        lines += line + "\n";
        if (line.starts_with("BDAT ")) {
            lines += d.octets(std::stoul(line.substr(5)));
        }
        d.say("250 2.0.0 ok\r\n");
    }
}

TEST_F(RelayTest, ABodyIsHeldForLongerThanAnAnswerMayTake) {
    std::string lines;
    {
        Peer peer([&](Dialogue& d) { agree(d, lines); });
        timeouts.reply = 200ms;
        start(peer.address);
        Message& message = submit("a\r\n", {"r@x", "q@x"}, true);
        ASSERT_TRUE(turn_until([&] { return relay->holds(message.made); }));
        EXPECT_EQ(was_held[&message.made], 1);
        turn_for(600ms);
        EXPECT_TRUE(relay->holds(message.made));
        relay->go_on(message.made);
        EXPECT_FALSE(relay->holds(message.made));
        EXPECT_EQ(wait_for(message).kind, Kind::accepted);
        EXPECT_EQ(peer.connections(), 1);
        EXPECT_TRUE(troubles.empty()) << troubles[0];
        stop();
    }
    EXPECT_EQ(lines, "MAIL FROM:<s0@x>\nRCPT TO:<r@x>\nRCPT TO:<q@x>\nBDAT 3 LAST\na\r\n");
}

TEST_F(RelayTest, WhatIsCalledOffIsResetAndItsConnectionGoesOn) {
    std::string lines;
    {
        Peer peer([&](Dialogue& d) { agree(d, lines); });
        start(peer.address);
        Message& message = submit("a\r\n", {"r@x"}, true);
        ASSERT_TRUE(turn_until([&] { return relay->holds(message.made); }));
        relay->call_off(message.made);
        EXPECT_TRUE(was_settled[&message.made]);
        EXPECT_EQ(wait_for(message).kind, Kind::divided);
        turn_for(50ms);
        EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::accepted);
        EXPECT_EQ(peer.connections(), 1);
        stop();
    }
    EXPECT_EQ(
        lines,
        "MAIL FROM:<s0@x>\nRCPT TO:<r@x>\nRSET\n"
        "RSET\nMAIL FROM:<s1@x>\nRCPT TO:<r@x>\nBDAT 3 LAST\nb\r\n");
}

TEST_F(RelayTest, WhatIsHeldIsAskedAnewWhereItsConnectionEnds) {
    Peer peer([](Dialogue& d) {
        std::string lines;
        if (d.number > 0) {
            agree(d, lines);
            return;
        }
        d.open(chunking);
        for (int i = 0; i < 2; ++i) {
            d.line();
            d.say("250 ok\r\n");
        }
        std::this_thread::sleep_for(100ms);
    });
    start(peer.address);
    Message& message = submit("a\r\n", {"r@x"}, true);
    ASSERT_TRUE(turn_until([&] { return was_held[&message.made] == 2; }));
    EXPECT_TRUE(relay->holds(message.made));
    relay->go_on(message.made);
    EXPECT_EQ(wait_for(message).kind, Kind::accepted);
}

TEST_F(RelayTest, WhatIsHeldEndsAtItsDeadlineAndAtTheEnd) {
    std::string lines;
    Peer peer([&](Dialogue& d) {
        std::string mine;
        agree(d, mine);
    });
    sync_limit = 300ms;
    start(peer.address);
    Message& late = submit("a\r\n", {"r@x"}, true);
    EXPECT_EQ(wait_for(late).kind, Kind::unreachable);
    EXPECT_EQ(was_held[&late.made], 1);
    sync_limit = 60s;
    for (const bool cut : {false, true}) {
        Message& message = submit("a\r\n", {"r@x"}, true);
        ASSERT_TRUE(turn_until([&] { return relay->holds(message.made); }));
        cut ? relay->cut() : relay->give_up_unsent();
        EXPECT_EQ(wait_for(message).kind, Kind::unreachable);
    }
}

TEST_F(RelayTest, OneThatIsToldToGoOnBeforeItIsHeldDoesNotWait) {
    std::string lines;
    Peer peer([&](Dialogue& d) {
        std::string mine;
        agree(d, mine);
    });
    start(peer.address);
    Message& message = submit("a\r\n", {"r@x", "q@x"}, true);
    relay->go_on(message.made);
    EXPECT_EQ(wait_for(message).kind, Kind::accepted);
    EXPECT_EQ(was_held[&message.made], 0);
}

}  // namespace
}  // namespace postern::relay

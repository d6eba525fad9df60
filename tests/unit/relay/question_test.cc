#include <gtest/gtest.h>

#include "relay_fixture.h"

/// Questions: a transaction without a body that asks a host about one recipient.
namespace postern::relay {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using smtp::test::Message;
using test::Dialogue;
using test::Ended;
using test::Peer;
using test::pipelining;
using test::RelayTest;

constexpr std::string_view plain = "250-peer\r\n250 SIZE 1000\r\n";

class QuestionTest : public RelayTest {
   protected:
    QuestionTest() { settings.connections_max = 1; }

    Message& ask(std::string to = "r@x") {
        messages.push_back(
            std::make_unique<Message>(pools, "", std::vector<std::string>{std::move(to)}, ""));
        mail::Submission& question = messages.back()->made;
        question.is_question = true;
        question.deadline = ring->now() + sync_limit;
        relay->submit(question);
        return *messages.back();
    }
};

TEST_F(QuestionTest, IsATransactionOfItsOwnOnAPooledConnection) {
    for (const std::string_view capabilities : {pipelining, plain}) {
        std::vector<std::string> lines;
        {
            Peer peer([&](Dialogue& d) {
                d.open(capabilities);
                for (std::string line = d.line(); !line.empty(); line = d.line()) {
                    lines.push_back(line);
                    if (line == "DATA") {
                        d.say("354 go\r\n");
                        d.data();
                    }
                    d.say(
                        line == "RCPT TO:<r@x>"        ? "250 2.1.5 she is here\r\n"
                        : line == "RCPT TO:<nobody@x>" ? "550-5.1.1 no\r\n550 5.1.1 such user\r\n"
                                                       : "250 2.0.0 ok\r\n");
                }
            });
            start(peer.address);
            const Ended& good = wait_for(ask());
            EXPECT_EQ(good.kind, Kind::accepted);
            EXPECT_EQ(good.reply, "250 2.1.5 she is here");
            const Ended& bad = wait_for(ask("nobody@x"));
            EXPECT_EQ(bad.kind, Kind::refused);
            EXPECT_EQ(bad.reply, "550 5.1.1 no\nsuch user");
            EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
            EXPECT_EQ(peer.connections(), 1);
            stop();
        }
        std::erase(lines, "RSET");
        const std::vector<std::string> expected = {
            "MAIL FROM:<>",
            "RCPT TO:<r@x>",
            "MAIL FROM:<>",
            "RCPT TO:<nobody@x>",
            capabilities == plain ? "MAIL FROM:<s2@x> SIZE=3" : "MAIL FROM:<s2@x>",
            "RCPT TO:<r@x>",
            "DATA"};
        EXPECT_EQ(lines, expected);
        EXPECT_TRUE(troubles.empty()) << troubles[0];
        messages.clear();
        ended.clear();
        was_settled.clear();
    }
}

TEST_F(QuestionTest, LeavesNoTransactionOpen) {
    std::atomic<int> resets = 0;
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            d.say("250 2.0.0 ok\r\n");
            resets += line == "RSET" ? 1 : 0;
        }
    });
    start(peer.address);
    EXPECT_EQ(wait_for(ask()).kind, Kind::accepted);
    EXPECT_TRUE(turn_until([&] { return resets == 1; }));
}

TEST_F(QuestionTest, AHostThatRefusesTheNullSenderHasSaidNothingOfTheRecipient) {
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            d.say(
                line.starts_with("MAIL")   ? "550 5.7.1 not from nobody\r\n"
                : line.starts_with("RCPT") ? "503 5.5.1 MAIL first\r\n"
                                           : "250 2.0.0 ok\r\n");
        }
    });
    start(peer.address);
    EXPECT_EQ(wait_for(ask()).kind, Kind::unreachable);
    EXPECT_TRUE(troubles.empty()) << troubles[0];
}

TEST_F(QuestionTest, NobodyThatIsAskedAboutTakesAHostAway) {
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            d.say(line == "RCPT TO:<poison@x>" ? "530 5.7.0 who are you\r\n" : "250 2.0.0 ok\r\n");
        }
    });
    start(peer.address);
    EXPECT_EQ(wait_for(ask("poison@x")).kind, Kind::unreachable);
    EXPECT_EQ(wait_for(ask()).kind, Kind::accepted);
    EXPECT_TRUE(troubles.empty()) << troubles[0];
}

TEST_F(QuestionTest, ManyGoOnOneConnectionWithoutWaiting) {
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            d.say(line.starts_with("RCPT TO:<bad") ? "550 5.1.1 no\r\n" : "250 2.0.0 ok\r\n");
        }
    });
    start(peer.address);
    std::vector<Message*> asked;
    for (int i = 0; i < 50; ++i) {
        asked.push_back(&ask((i % 2 == 0 ? "good" : "bad") + std::to_string(i) + "@x"));
    }
    for (std::size_t i = 0; i < asked.size(); ++i) {
        EXPECT_EQ(wait_for(*asked[i]).kind, i % 2 == 0 ? Kind::accepted : Kind::refused);
    }
}

TEST_F(QuestionTest, IsNotWaitedForPastItsDeadline) {
    std::atomic<bool> go_on = false;
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            while (line.starts_with("RCPT") && !go_on) {
                std::this_thread::sleep_for(1ms);
            }
            d.say("250 2.0.0 ok\r\n");
        }
    });
    sync_limit = 100ms;
    start(peer.address);
    Message& question = ask();
    EXPECT_TRUE(turn_until([&] { return was_settled[&question.made]; }));
    EXPECT_EQ(ended[&question.made].kind, Kind::unreachable);
    go_on = true;
    EXPECT_TRUE(turn_until([&] { return ended[&question.made].released; }));
    EXPECT_EQ(wait_for(ask()).kind, Kind::accepted);
    EXPECT_EQ(peer.connections(), 1);
}

TEST_F(QuestionTest, GoesToAnotherConnectionWhereOneBreaks) {
    Peer peer([&](Dialogue& d) {
        d.open(pipelining);
        d.line();
        if (d.number == 0) {
            return;
        }
        d.say("250 ok\r\n");
        d.line();
        d.say("550 5.1.1 no\r\n");
        d.ended();
    });
    start(peer.address);
    const Ended& answer = wait_for(ask());
    EXPECT_EQ(answer.kind, Kind::refused);
    EXPECT_EQ(answer.reply, "550 5.1.1 no");
}

}  // namespace
}  // namespace postern::relay

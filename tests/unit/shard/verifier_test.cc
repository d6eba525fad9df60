#include "src/shard/verifier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "generations.h"
#include "postern/log/buffer.h"
#include "postern/shard/memory.h"
#include "tests/unit/relay/peer.h"

namespace postern::shard::test {
namespace {

using namespace std::chrono_literals;
using relay::test::Dialogue;
using relay::test::Peer;

/// A host that knows the recipients "good...", refuses all others, and counts questions.
class Host {
   public:
    std::vector<std::string> asked() {
        const std::lock_guard lock(mutex_);
        return asked_;
    }

    std::atomic<bool> silent = false;     // to RCPT, until it is false again
    std::atomic<bool> temporary = false;  // answers 451
    std::atomic<bool> bare = false;       // refuses without an enhanced code

   private:
    void serve(Dialogue& d) {
        d.open("250-peer\r\n250 PIPELINING\r\n");
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            if (!line.starts_with("RCPT")) {
                d.say("250 2.0.0 ok\r\n");
                continue;
            }
            {
                const std::lock_guard lock(mutex_);
                asked_.push_back(line.substr(9, line.size() - 10));
            }
            while (silent) {
                std::this_thread::sleep_for(1ms);
            }
            d.say(
                temporary                                ? "451 4.7.1 not now\r\n"
                : line.find("good") != std::string::npos ? "250 2.1.5 ok\r\n"
                : bare                                   ? "550 no user here\r\n"
                                                         : "550 5.1.1 never heard\r\n");
        }
    }

    std::mutex mutex_;
    std::vector<std::string> asked_;

   public:
    Peer peer{[this](Dialogue& d) { serve(d); }};  // last: its threads use the above
};

/// What one worker has of it, on this thread.
class Worker final : public relay::World {
   public:
    Worker(io::Ring& ring, Common& common, const Snapshot& snapshot, const VerifyRules& rules)
        : ring_(ring),
          timers_(ring.now()),
          relay_(
              ring,
              timers_,
              *this,
              common.hosts,
              common.metrics.worker(0),
              {.connect = 2s, .reply = 60s, .busy = 300ms, .data_done = 2s}),
          log_lines_(buffer_, ring, timers_),
          verifier_(
              common,
              ring,
              timers_,
              relay_,
              log_lines_,
              common.metrics.worker(0).own(),
              {arena_, tail_, chain_},
              [this](mail::Submission& asker, const mail::Reply& reply) {
                  told_.emplace_back(&asker, text_of(reply));
              },
              rules) {
        take(snapshot);
    }

    ~Worker() {
        relay_.cut();
        while (!relay_.idle()) {
            turn();
        }
    }

    void take(const Snapshot& snapshot) {
        std::vector<std::uint32_t> pools;
        for (std::size_t i = 0; i < snapshot.pools.size(); ++i) {
            pools.push_back(relay_.add_pool(snapshot.pools[i], snapshot.pool_tls[i]));
        }
        verifier_.take(snapshot, pools);
        pool_ = pools.front();
    }

    /// The answer, or "later".
    std::string look(const std::string& address, std::uint64_t network = 1, bool exempt = false) {
        askers_.push_back(std::make_unique<mail::Submission>(arena_, tail_, chain_));
        mail::Submission& asker = *askers_.back();
        asker.client.network = network;
        asker.client.exempt = exempt;
        auto* recipient = asker.arena.make<mail::Recipient>();
        fill(asker, *recipient, address);
        const auto answer = verifier_.look(asker, *recipient);
        return answer ? text_of(*answer) : "later";
    }

    void fill(mail::Submission& in, mail::Recipient& recipient, const std::string& address) {
        recipient.address = *in.arena.copy(address);
        const std::size_t at = address.rfind('@');
        recipient.local_part = recipient.address.substr(0, at);
        recipient.domain = recipient.domain_key = recipient.address.substr(at + 1);
        recipient.pool = pool_;
    }

    /// A message to them had this outcome.
    void learn(
        const std::vector<std::pair<std::string, mail::Reply>>& recipients,
        const mail::Outcome& outcome) {
        mail::Submission message(arena_, tail_, chain_);
        message.pool = pool_;
        mail::Recipient** place = &message.envelope.first_recipient;
        for (const auto& [address, answer] : recipients) {
            *place = message.arena.make<mail::Recipient>();
            fill(message, **place, address);
            (*place)->answer = answer;
            place = &(*place)->next;
            ++message.envelope.recipient_count;
        }
        EXPECT_FALSE(verifier_.settled(message, outcome));
    }

    /// The asker of the last look goes.
    void leave() { askers_.pop_back(); }

    void turn() {
        ring_.turn(std::min(timers_.next(), ring_.now() + 5ms));
        timers_.run(ring_.now());
        relay_.flush();
    }

    template <class Condition>
    bool turn_until(Condition condition) {
        const base::Instant end = ring_.now() + 5s;
        relay_.flush();
        while (!condition()) {
            if (ring_.now() > end) {
                return false;
            }
            turn();
        }
        return true;
    }

    /// What the next asker is told, in their order.
    std::string next_told() {
        if (!turn_until([this] { return !told_.empty(); })) {
            return "nothing";
        }
        const std::string text = told_.front().second;
        told_.erase(told_.begin());
        return text;
    }

    void settled(mail::Submission& submission, const mail::Outcome& outcome) override {
        EXPECT_TRUE(verifier_.settled(submission, outcome));
    }

    void released(mail::Submission& submission) override {
        EXPECT_TRUE(verifier_.released(submission));
    }

    bool sender_gone(mail::Submission&) override { return false; }

    void held(mail::Submission&) override {}

    void trouble(std::string_view, std::string_view, std::string_view) override {}

    static std::string text_of(const mail::Reply& reply) {
        return reply.code == 0 ? "ok" : std::to_string(reply.code) + " " + std::string(reply.text);
    }

    std::vector<std::pair<mail::Submission*, std::string>> told_;

   private:
    io::Ring& ring_;
    io::Timers timers_;
    base::BlockPool arena_{arena_block_octets, 4096};
    base::BlockPool tail_{tail_block_octets, 64};
    base::BlockPool chain_{chain_block_octets, 64};
    relay::Relay relay_;
    log::Buffer buffer_{log::Format::json, 1 << 20, -1};
    Lines log_lines_;
    std::vector<std::unique_ptr<mail::Submission>> askers_;
    Verifier verifier_;
    std::uint32_t pool_ = 0;
};

class VerifierTest : public testing::Test {
   protected:
    VerifierTest() {
        auto made = io::Ring::create({});
        POSTERN_ASSERT(made, "a ring");
        ring = std::move(*made);
        rules.patience = 2s;
    }

    void start(const std::string& more = "", const std::string& name = "a") {
        snapshot = snapshot_of(
            1,
            pool(
                name,
                host.peer.address.port(),
                "verify = \"rcpt\"\ntls = \"none\"\nhelo = \"gw\"\n" + more),
            "x " + name + " always-relay\n");
        common = std::make_unique<Common>(
            snapshot->config, 100, 1, base::HashKey{1, 2}, base::HashKey{3, 4});
        worker = std::make_unique<Worker>(*ring, *common, *snapshot, rules);
    }

    std::uint64_t counted(metrics::Metric which) {
        metrics::Series& own = common->metrics.worker(0).own();
        return own.cell(metrics::offset_of(which));
    }

    Host host;
    std::unique_ptr<io::Ring> ring;
    VerifyRules rules;
    std::unique_ptr<Snapshot> snapshot;
    std::unique_ptr<Common> common;
    std::unique_ptr<Worker> worker;
};

TEST_F(VerifierTest, AsksOnceAndKnowsItThen) {
    start();
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
    EXPECT_EQ(worker->look("Good@x"), "ok");
    EXPECT_EQ(worker->look("\"good\"@x"), "ok");
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "550 never heard");
    EXPECT_EQ(worker->look("nobody@x"), "550 never heard");
    EXPECT_EQ(host.asked(), (std::vector<std::string>{"good@x", "nobody@x"}));
    EXPECT_EQ(counted(metrics::Metric::verify_questions), 2U);
    EXPECT_EQ(counted(metrics::Metric::verify_kept), 3U);
}

TEST_F(VerifierTest, OneQuestionForManyAskers) {
    start();
    host.silent = true;
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(worker->look("nobody@x"), "later");
    }
    worker->leave();  // the last of them
    EXPECT_TRUE(worker->turn_until([&] { return host.asked().size() == 1; }));
    host.silent = false;
    for (int i = 0; i < 19; ++i) {
        EXPECT_EQ(worker->next_told(), "550 never heard");
    }
    EXPECT_EQ(host.asked().size(), 1U);
    EXPECT_TRUE(worker->told_.empty());
}

TEST_F(VerifierTest, AnotherWorkersQuestionIsWaitedFor) {
    start();
    Worker other(*ring, *common, *snapshot, rules);
    const auto both_until = [&](auto condition) {
        return worker->turn_until([&] {
            other.turn();
            return condition();
        });
    };
    host.silent = true;
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(other.look("nobody@x"), "later");
    EXPECT_EQ(other.look("nobody@x"), "later");
    EXPECT_TRUE(both_until([&] { return host.asked().size() == 1; }));
    host.silent = false;
    EXPECT_TRUE(both_until([&] { return worker->told_.size() == 1 && other.told_.size() == 2; }));
    EXPECT_EQ(other.next_told(), "550 never heard");
    EXPECT_EQ(other.look("nobody@x"), "550 never heard");
    EXPECT_EQ(host.asked().size(), 1U);
    // One whose question came to nothing is followed by another that asks.
    host.temporary = true;
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(other.look("good@x"), "later");
    EXPECT_TRUE(both_until([&] { return worker->told_.size() == 2; }));
    host.temporary = false;
    EXPECT_TRUE(both_until([&] { return other.told_.size() == 2; }));
    EXPECT_EQ(worker->told_.back().second, "451 not now");
    EXPECT_EQ(host.asked().size(), 3U);
}

TEST_F(VerifierTest, TemporaryAnswersAreGivenAndNotKept) {
    start();
    host.temporary = true;
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "451 not now");
    host.temporary = false;
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
}

TEST_F(VerifierTest, AHostWithoutEnhancedCodesIsBelievedToo) {
    start();
    host.bare = true;
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "550 no user here");
    EXPECT_EQ(worker->look("nobody@x"), "550 no user here");
}

TEST_F(VerifierTest, AnswersAreForgottenInTime) {
    rules.refused_for = 50ms;
    rules.accepted_for = 50ms;
    start();
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_TRUE(worker->turn_until([&] { return worker->told_.size() == 2; }));
    worker->told_.clear();
    const base::Instant end = ring->now() + 100ms;
    EXPECT_TRUE(worker->turn_until([&] { return ring->now() > end; }));
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "550 never heard");
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
    EXPECT_EQ(host.asked().size(), 4U);
}

TEST_F(VerifierTest, WhoGuessesSpendsABudget) {
    rules.network_at_once = 10;
    rules.network_each = 1h;
    rules.pool_at_once = 25;
    rules.pool_each = 1h;
    start();
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
    int refused = 0;
    for (int i = 0; i < 100; ++i) {
        const std::string answer = worker->look("guess" + std::to_string(i) + "@x");
        refused += answer.starts_with("450 ") ? 1 : 0;
    }
    EXPECT_EQ(refused, 91);
    EXPECT_EQ(worker->look("good@x"), "ok") << "what is known is known";
    EXPECT_EQ(worker->look("guess7@x", 2), "later") << "or is being asked about";
    EXPECT_EQ(worker->look("other@x", 2), "later") << "another network has a budget of its own";
    for (int i = 0; i < 100; ++i) {
        worker->look("more" + std::to_string(i) + "@x", 3 + static_cast<std::uint64_t>(i), true);
    }
    EXPECT_TRUE(worker->turn_until([&] { return host.asked().size() >= 25; }));
    EXPECT_EQ(
        worker->look("late@x", 4),
        "450 whether this recipient exists can not be asked now, try again later");
    EXPECT_EQ(host.asked().size(), 25U) << "the pool's";
    EXPECT_EQ(counted(metrics::Metric::verify_questions), 25U);
    EXPECT_EQ(counted(metrics::Metric::verify_budget_spent), 91U + 86U + 1U);
}

TEST_F(VerifierTest, AHostThatSaysNothingIsNotWaitedForForLong) {
    rules.patience = 1s;  // enough for the answer that is given, on a machine that is busy
    rules.accepted_for = 0s;
    start();
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
    host.silent = true;
    EXPECT_EQ(worker->look("good@x"), "later");
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok") << "the last good answer, however old";
    EXPECT_EQ(
        worker->next_told(),
        "450 whether this recipient exists can not be asked now, try again later");
    EXPECT_EQ(counted(metrics::Metric::verify_unknown), 2U);
    host.silent = false;
}

TEST_F(VerifierTest, AnUnknownOneMayBeAccepted) {
    rules.patience = 100ms;
    start("verify_unknown = \"accept\"\n");
    host.silent = true;
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "ok");
    host.silent = false;
}

TEST_F(VerifierTest, LearnsFromMail) {
    start();
    using Kind = mail::Outcome::Kind;
    const mail::Reply ok{250, {2, 1, 5}, "ok"};
    const auto bad = [](std::uint16_t subject, std::uint16_t detail) {
        return mail::Reply{550, {5, subject, detail}, "no"};
    };
    const auto outcome = [](Kind kind, const mail::Reply& reply, std::string_view said = "it") {
        mail::Outcome made;
        made.kind = kind;
        made.reply = reply;
        made.host_said = said;
        return made;
    };
    worker->learn({{"taken@x", {}}}, outcome(Kind::accepted, ok));
    EXPECT_EQ(worker->look("taken@x"), "ok");
    worker->learn(
        {{"too@x", ok}, {"not@x", bad(1, 1)}, {"full@x", {452, {4, 2, 2}, "full"}}},
        outcome(Kind::accepted, ok));
    EXPECT_EQ(worker->look("too@x"), "ok");
    EXPECT_EQ(worker->look("not@x"), "550 no") << "the others have the message, this one does not";
    EXPECT_EQ(worker->look("full@x"), "later");
    worker->learn(
        {{"half@x", ok}, {"gone@x", bad(1, 1)}, {"policy@x", bad(7, 1)}},
        outcome(Kind::divided, {}));
    EXPECT_EQ(worker->look("half@x"), "ok");
    EXPECT_EQ(worker->look("gone@x"), "550 no");
    EXPECT_EQ(worker->look("policy@x"), "later");
    worker->learn({{"off@x", {}}}, outcome(Kind::refused, bad(2, 1)));
    EXPECT_EQ(worker->look("off@x"), "550 no");
    worker->learn({{"ms@x", {}}}, outcome(Kind::refused, bad(1, 10)));
    EXPECT_EQ(worker->look("ms@x"), "550 no");
    worker->learn({{"bare@x", {}}}, outcome(Kind::refused, bad(0, 0)));
    EXPECT_EQ(worker->look("bare@x"), "later") << "it may have been about anything";
    worker->learn({{"own@x", {}}}, outcome(Kind::refused, bad(1, 1), ""));
    EXPECT_EQ(worker->look("own@x"), "later") << "no host said it";
    worker->learn({{"taken@x", {}}}, outcome(Kind::refused, bad(1, 1)));
    EXPECT_EQ(worker->look("taken@x"), "550 no") << "the last answer holds";
}

TEST_F(VerifierTest, AChangedPoolIsAskedAnew) {
    start();
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "550 never heard");
    const auto same = snapshot_of(
        2,
        pool(
            "a",
            host.peer.address.port(),
            "verify = \"rcpt\"\nhelo = \"gw\"\nrecipients_max = 7\n"),
        "x a always-relay\n");
    worker->take(*same);
    EXPECT_EQ(worker->look("nobody@x"), "later");
    EXPECT_EQ(worker->next_told(), "550 never heard");
    EXPECT_EQ(host.asked().size(), 2U);
}

}  // namespace
}  // namespace postern::shard::test

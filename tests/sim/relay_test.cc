#include "postern/relay/relay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "tests/sim/host_end.h"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using smtp::test::HostModel;
using smtp::test::Message;

/// A smart host that dies and comes back.
struct SmartHost {
    io::Address address;
    HostModel::Manners manners;
    std::unique_ptr<PeerListener> listener;
};

/// One or two workers with one to four hosts.
class Traffic final : public relay::World {
   public:
    Traffic(std::uint64_t seed, smtp::test::Pools& pools) : choices_(seed), pools_(pools) {
        Faults faults = choices_.chance(1, 5) ? Faults{} : Faults::draw(choices_);
        faults.accept_ends = 0;
        faults.cut_octets_max = 5'000;
        world_ = std::make_unique<sim::World>(seed, faults);
        workers_.resize(1 + choices_.below(2));
        for (Worker& worker : workers_) {
            worker.ring = std::move(*io::Ring::create({}));
            worker.timers = std::make_unique<io::Timers>(worker.ring->now());
        }
        hosts_.resize(choices_.chance(1, 3) ? 1 : 2 + choices_.below(3));
        for (std::size_t i = 0; i < hosts_.size(); ++i) {
            SmartHost& host = hosts_[i];
            host.address = *io::Address::parse("192.0.2." + std::to_string(1 + i) + ":25");
            host.manners.helo = "gw";
            host.manners.pipelining = choices_.chance(3, 4);
            host.manners.chunking = choices_.chance(1, 2);
            host.manners.refuse_percent = choices_.chance(1, 2) ? 0 : 10;
            host.manners.trouble_percent = choices_.chance(4, 5) ? 0 : 10;
            host.manners.close_percent = choices_.chance(2, 3) ? 0 : 3;
            host.manners.garbage_percent = choices_.chance(3, 4) ? 0 : 1;
            come_back(i);
        }
    }

    std::map<Kind, int> go() {
        relay::PoolSettings settings;
        settings.name = "pool";
        settings.helo = "gw";
        for (std::uint32_t level = 0; const SmartHost& host : hosts_) {
            settings.hosts.push_back({.address = host.address, .level = level});
            level += choices_.chance(1, 4) ? 1 : 0;
        }
        settings.connections_max = static_cast<std::uint32_t>(1 + choices_.below(4));
        settings.pipeline_max = static_cast<std::uint32_t>(1 + choices_.below(20));
        settings.max_age = 300s;
        settings.idle = 60s;
        for (Worker& worker : workers_) {
            worker.relay = std::make_unique<relay::Relay>(
                *worker.ring,
                *worker.timers,
                *this,
                facts_,
                counted_.worker(static_cast<std::uint32_t>(&worker - workers_.data())),
                relay::Timeouts{.connect = 30s, .reply = 5min, .busy = 10s, .data_done = 10min});
            worker.relay->add_pool(settings);
        }
        const std::size_t count = 5 + choices_.below(40);
        const bool bursts = choices_.chance(1, 2);
        const bool mortal = choices_.chance(1, 2);
        for (std::size_t i = 0; i < count; ++i) {
            submit(i);
            if (mortal && choices_.chance(1, 8)) {
                const std::size_t host = choices_.below(hosts_.size());
                hosts_[host].listener == nullptr ? come_back(host) : die(host);
            }
            if (choices_.chance(1, 15)) {
                change_hosts(settings);
            }
            if (!bursts || choices_.chance(1, 10)) {
                turn_for(base::Duration(
                    choices_.below(choices_.chance(1, 5) ? 20'000'000'000 : 50'000'000)));
            }
        }
        end();
        return check();
    }

   private:
    struct Worker {
        std::unique_ptr<io::Ring> ring;
        std::unique_ptr<io::Timers> timers;
        std::unique_ptr<relay::Relay> relay;
        std::uint32_t pool = 0;
    };

    void come_back(std::size_t number) {
        hosts_[number].listener = std::make_unique<PeerListener>(
            *world_, hosts_[number].address, [this, number](std::shared_ptr<Socket> socket) {
                ends_.push_back(std::make_unique<HostEnd>(
                    *world_, std::move(socket), number, hosts_[number].manners));
                if (choices_.chance(1, 30)) {
                    ends_.back()->peer.stop();  // takes the connection and never says a word
                }
            });
    }

    void die(std::size_t number) {
        hosts_[number].listener.reset();
        cut_off(ends_, number);
    }

    // As a reload or other names would.
    void change_hosts(const relay::PoolSettings& settings) {
        Worker& worker = workers_[choices_.below(workers_.size())];
        if (choices_.chance(1, 3)) {
            worker.relay->retire_pool(worker.pool);
            worker.pool = worker.relay->add_pool(settings);
            return;
        }
        std::vector<relay::HostAddress> wanted;
        for (const SmartHost& host : hosts_) {
            if (choices_.chance(2, 3)) {
                wanted.push_back(
                    {host.address, "host", static_cast<std::uint32_t>(choices_.below(2))});
            }
        }
        worker.relay->set_hosts(
            worker.pool,
            wanted,
            choices_.chance(1, 2) ? relay::Absence::pending : relay::Absence::unresolved);
    }

    void end() {
        const bool at_once = choices_.chance(1, 10);
        if (at_once) {
            turn_for(1ms);
        }
        for (Worker& worker : workers_) {
            at_once ? worker.relay->cut() : worker.relay->shut_down();
        }
        for (int turns = 0; std::any_of(
                 workers_.begin(),
                 workers_.end(),
                 [](const Worker& worker) { return !worker.relay->idle(); });
             ++turns) {
            if (turns > 500'000) {
                ADD_FAILURE() << "it turns and turns";
                std::abort();
            }
            turn(base::Instant::max());
        }
        for (Worker& worker : workers_) {
            worker.relay.reset();
        }
        turn_for(10s);  // what is still on its way arrives
        EXPECT_EQ(facts_.count(), 0U);
    }

    void submit(std::size_t index) {
        std::vector<std::string> to = {"a@x"};
        while (choices_.chance(1, 5)) {
            to.push_back("r" + std::to_string(to.size()) + "@x");
        }
        messages_.push_back(std::make_unique<Message>(
            pools_,
            "s" + std::to_string(index) + "@x",
            to,
            "x\r\n." + std::string(choices_.below(choices_.chance(1, 8) ? 40'000 : 1000), 'y') +
                "\r\n"));
        mail::Submission& submission = messages_.back()->made;
        Worker& worker = workers_[choices_.below(workers_.size())];
        submission.deadline = worker.ring->now() + 9min;
        submission.pool = worker.pool;
        submission.waits = choices_.chance(1, 4);
        worker.relay->submit(submission);
    }

    void turn(base::Instant until) {
        for (const Worker& worker : workers_) {
            until = std::min(until, worker.timers->next());
        }
        for (Worker& worker : workers_) {
            worker.timers->run(worker.ring->now());
            if (worker.relay != nullptr) {
                decide(*worker.relay);
                worker.relay->flush();
            }
            worker.ring->turn(until);
        }
    }

    // What others would say decides: the body goes, or nobody has it.
    void decide(relay::Relay& relay) {
        for (mail::Submission* const submission : std::exchange(held_, {})) {
            if (outcomes_.contains(submission) || !submission->waits) {
                continue;
            }
            if (choices_.chance(3, 4) || !relay.holds(*submission)) {
                held_.push_back(submission);
                continue;
            }
            bool all = true;
            for (const mail::Recipient* r = submission->envelope.first_recipient; r != nullptr;
                 r = r->next) {
                all = all && r->answer.positive();
            }
            if (all && choices_.chance(3, 4)) {
                relay.go_on(*submission);
            } else {
                relay.call_off(*submission);
                EXPECT_EQ(outcomes_[submission], Kind::divided);
            }
        }
    }

    void turn_for(base::Duration time) {
        const base::Instant end = world_->now() + time;
        while (world_->now() < end) {
            turn(end);
        }
    }

    std::map<Kind, int> check() {
        std::map<std::string, int> taken;
        for (const auto& end : ends_) {
            EXPECT_EQ(end->model.breach, "");
            for (const auto& delivery : end->model.deliveries) {
                ++taken[delivery.from];
                const Message& message = *messages_[std::stoul(delivery.from.substr(1))];
                EXPECT_EQ(delivery.body, message.body);
                EXPECT_EQ(delivery.to.size(), message.made.envelope.recipient_count);
            }
        }
        std::map<Kind, int> kinds;
        for (const auto& message : messages_) {
            const std::string from(message->made.envelope.reverse_path);
            EXPECT_EQ(outcomes_.count(&message->made), 1U) << from;
            EXPECT_EQ(message->released, 1) << from;
            const Kind kind = outcomes_[&message->made];
            ++kinds[kind];
            const int count = taken[from];
            if (kind == Kind::accepted) {
                EXPECT_EQ(count, 1) << from;
            } else if (kind == Kind::unknown) {
                EXPECT_LE(count, 1) << from;
            } else {
                EXPECT_EQ(count, 0) << from << " " << static_cast<int>(kind);
            }
        }
        ends_.clear();
        hosts_.clear();
        EXPECT_EQ(world_->open_descriptors(), 0U);
        return kinds;
    }

    void settled(mail::Submission& submission, const mail::Outcome& outcome) override {
        EXPECT_TRUE(outcomes_.emplace(&submission, outcome.kind).second) << "settled twice";
        EXPECT_LE(world_->now(), submission.deadline + 1s) << "the sender has gone by then";
    }

    void released(mail::Submission& submission) override {
        EXPECT_EQ(outcomes_.count(&submission), 1U) << "released before it was settled";
        for (const auto& message : messages_) {
            message->released += &message->made == &submission ? 1 : 0;
        }
    }

    bool sender_gone(mail::Submission&) override { return choices_.chance(1, 50); }

    void held(mail::Submission& submission) override {
        EXPECT_TRUE(submission.waits);
        held_.push_back(&submission);
    }

    void trouble(std::string_view, std::string_view, std::string_view) override {}

    io::Random choices_;
    smtp::test::Pools& pools_;
    std::unique_ptr<sim::World> world_;
    shared::HostTable facts_{64, {1, 2}};
    metrics::Registry counted_{2};
    std::vector<Worker> workers_;
    std::vector<SmartHost> hosts_;
    std::vector<std::unique_ptr<HostEnd>> ends_;
    std::vector<std::unique_ptr<Message>> messages_;
    std::map<mail::Submission*, Kind> outcomes_;
    std::vector<mail::Submission*> held_;
};

TEST(Relay, NothingIsLostOrDoubledUnderAnySeed) {
    smtp::test::Pools pools;
    std::map<Kind, int> sum;
    for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        for (const auto& [kind, count] : Traffic(seed, pools).go()) {
            sum[kind] += count;
        }
        ASSERT_FALSE(testing::Test::HasFailure());
    }
    // The seeds must not all go the same way.
    EXPECT_GT(sum[Kind::accepted], 2000);
    for (const Kind kind :
         {Kind::refused, Kind::divided, Kind::unreachable, Kind::unknown, Kind::dropped}) {
        EXPECT_GT(sum[kind], 20) << static_cast<int>(kind);
    }
}

}  // namespace
}  // namespace postern::sim

#include "postern/relay/relay.h"

#include <gtest/gtest.h>

#include <map>

#include "../unit/smtp/host_model.h"
#include "tests/sim/sim_world.h"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using smtp::test::HostModel;
using smtp::test::Message;

const io::Address there = *io::Address::parse("192.0.2.1:25");

/// A smart host's end of one connection.
struct HostEnd {
    HostEnd(World& world, std::shared_ptr<Socket> socket, const HostModel::Manners& manners)
        : random{world.random().next()},
          model(manners, random),
          peer(world, std::move(socket), [this](Peer&) { move(); }) {
        say();
    }

    void move() {
        model.feed(std::exchange(peer.received, {}));
        say();
        if (!ended && (model.closed || peer.over())) {
            ended = true;
            peer.end();
        }
    }

    void say() {
        if (!model.out.empty()) {
            peer.write(std::exchange(model.out, {}));
        }
    }

    smtp::test::Random random;
    HostModel model;
    bool ended = false;
    Peer peer;
};

class Traffic final : public relay::World {
   public:
    Traffic(std::uint64_t seed, smtp::test::Pools& pools) : choices_(seed), pools_(pools) {
        Faults faults = choices_.chance(1, 5) ? Faults{} : Faults::draw(choices_);
        faults.accept_ends = 0;
        faults.cut_octets_max = 5'000;
        world_ = std::make_unique<sim::World>(seed, faults);
        ring_ = std::move(*io::Ring::create({}));
        timers_ = std::make_unique<io::Timers>(ring_->now());
    }

    std::map<Kind, int> go() {
        HostModel::Manners manners;
        manners.helo = "gw";
        manners.pipelining = choices_.chance(3, 4);
        manners.chunking = choices_.chance(1, 2);
        manners.refuse_percent = choices_.chance(1, 2) ? 0 : 10;
        manners.close_percent = choices_.chance(2, 3) ? 0 : 3;
        manners.garbage_percent = choices_.chance(3, 4) ? 0 : 1;
        const PeerListener listener(*world_, there, [&](std::shared_ptr<Socket> socket) {
            ends_.push_back(std::make_unique<HostEnd>(*world_, std::move(socket), manners));
            if (choices_.chance(1, 30)) {
                ends_.back()->peer.stop();  // takes the connection and never says a word
            }
        });
        relay::PoolSettings settings;
        settings.name = "pool";
        settings.hosts = {there};
        settings.helo = "gw";
        settings.connections_max = static_cast<std::uint32_t>(1 + choices_.below(4));
        settings.pipeline_max = static_cast<std::uint32_t>(1 + choices_.below(20));
        settings.max_age = 300s;
        settings.idle = 60s;
        relay_ = std::make_unique<relay::Relay>(
            *ring_,
            *timers_,
            *this,
            counted_.worker(0),
            relay::Timeouts{.connect = 30s, .reply = 5min, .busy = 10s, .data_done = 10min});
        relay_->add_pool(settings);
        const std::size_t count = 5 + choices_.below(40);
        const bool bursts = choices_.chance(1, 2);
        for (std::size_t i = 0; i < count; ++i) {
            submit(i);
            if (!bursts || choices_.chance(1, 10)) {
                turn_for(base::Duration(
                    choices_.below(choices_.chance(1, 5) ? 20'000'000'000 : 50'000'000)));
            }
        }
        if (choices_.chance(1, 10)) {
            turn_for(1ms);
            relay_->cut();
        } else {
            relay_->shut_down();
        }
        for (int turns = 0; !relay_->idle(); ++turns) {
            if (turns > 500'000) {
                ADD_FAILURE() << "it turns and turns";
                std::abort();
            }
            turn(base::Instant::max());
        }
        relay_.reset();
        turn_for(10s);  // what is still on its way arrives
        return check();
    }

   private:
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
        submission.deadline = ring_->now() + 9min;
        relay_->submit(submission);
    }

    void turn(base::Instant until) {
        timers_->run(ring_->now());
        relay_->flush();
        ring_->turn(std::min(timers_->next(), until));
    }

    void turn_for(base::Duration time) {
        const base::Instant end = ring_->now() + time;
        while (ring_->now() < end) {
            if (relay_ != nullptr) {
                turn(end);
            } else {
                ring_->turn(end);
            }
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
        EXPECT_EQ(world_->open_descriptors(), 0U);
        return kinds;
    }

    void settled(mail::Submission& submission, const mail::Outcome& outcome) override {
        EXPECT_TRUE(outcomes_.emplace(&submission, outcome.kind).second) << "settled twice";
        EXPECT_LE(ring_->now(), submission.deadline + 1s) << "the sender has gone by then";
    }

    void released(mail::Submission& submission) override {
        EXPECT_EQ(outcomes_.count(&submission), 1U) << "released before it was settled";
        for (const auto& message : messages_) {
            message->released += &message->made == &submission ? 1 : 0;
        }
    }

    bool sender_gone(mail::Submission&) override { return choices_.chance(1, 50); }

    void trouble(std::string_view, std::string_view, std::string_view) override {}

    io::Random choices_;
    smtp::test::Pools& pools_;
    std::unique_ptr<sim::World> world_;
    std::unique_ptr<io::Ring> ring_;
    std::unique_ptr<io::Timers> timers_;
    std::vector<std::unique_ptr<HostEnd>> ends_;
    metrics::Registry counted_{1};
    std::unique_ptr<relay::Relay> relay_;
    std::vector<std::unique_ptr<Message>> messages_;
    std::map<mail::Submission*, Kind> outcomes_;
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

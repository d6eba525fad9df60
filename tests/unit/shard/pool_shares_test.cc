#include "pool_shares.h"

#include <gtest/gtest.h>

#include "tests/unit/io/loopback.h"

namespace postern::shard::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t mib = 1 << 20;

/// Two pools without hosts, whose mail waits; one has waited for long.
class PoolSharesTest : public testing::Test, public relay::World {
   protected:
    PoolSharesTest() {
        relay::PoolSettings settings;
        settings.name = "slow";
        slow_ = relay_.add_pool(settings);
        settings.name = "other";
        other_ = relay_.add_pool(settings);
        submission_.pool = slow_;
        submission_.deadline = ring_->now() + 1h;
        relay_.submit(submission_);
        while (!relay_.slow(slow_)) {
            turn();
        }
    }

    ~PoolSharesTest() override {
        relay_.cut();
        while (!relay_.idle()) {
            turn();
        }
        lease_.give_back(0, lease_.used());
        for (; connections_ > 0; --connections_) {
            common_.connections.remove();
        }
    }

    static config::Config config() {
        config::Config config;
        config.limits.body_memory.octets = 64 * mib;
        return config;
    }

    void turn() {
        ring_->turn(ring_->now() + 20ms);
        timers_.run(ring_->now());
        relay_.flush();
    }

    void connect(int count) {
        for (int i = 0; i < count; ++i) {
            EXPECT_TRUE(common_.connections.add(1000));
            ++connections_;
        }
    }

    void settled(mail::Submission&, const mail::Outcome&) override {}

    void released(mail::Submission&) override {}

    bool sender_gone(mail::Submission&) override { return false; }

    void held(mail::Submission&) override {}

    void trouble(std::string_view, std::string_view, std::string_view) override {}

    std::unique_ptr<io::Ring> ring_ = io::test::make_ring();
    io::Timers timers_{ring_->now()};
    Common common_{config(), 100, 1, {1, 2}, {3, 4}};
    relay::Relay relay_{
        *ring_,
        timers_,
        *this,
        common_.hosts,
        common_.metrics.worker(0),
        {.connect = 1h, .reply = 1h, .busy = 1h, .data_done = 1h}};
    PoolShares shares_{common_, relay_};
    base::BlockPool arena_{4096, 64};
    base::BlockPool tail_{16384, 64};
    base::BlockPool chain_{4096, 64};
    mail::Submission submission_{arena_, tail_, chain_};
    shared::BudgetLease lease_{common_.bodies, 100};
    std::uint32_t slow_ = 0;
    std::uint32_t other_ = 0;
    int connections_ = 0;
};

TEST_F(PoolSharesTest, ASlowPoolHasHalfOfTheSessions) {
    int taken = 0;
    while (shares_.may_choose(slow_, 0) && taken < 100) {
        connect(1);
        relay_.hold(slow_);
        ++taken;
    }
    EXPECT_EQ(taken, 50);
    EXPECT_TRUE(shares_.may_choose(other_, 0));
    // And no more when others come, but something where there is none left.
    connect(50);
    EXPECT_FALSE(shares_.may_choose(slow_, 0));
    for (; taken >= 12; --taken) {
        relay_.let_go(slow_);
    }
    EXPECT_TRUE(shares_.may_choose(slow_, 0));
    for (; taken > 0; --taken) {
        relay_.let_go(slow_);
    }
}

/// Senders that go leave their messages: connections are free, what they have left is not.
TEST_F(PoolSharesTest, WhatWasLeftToASlowPoolCounts) {
    for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(shares_.may_choose(slow_, static_cast<std::uint32_t>(i)));
        relay_.hold(slow_);
    }
    EXPECT_FALSE(shares_.may_choose(slow_, 50));
    for (int i = 0; i < 50; ++i) {
        relay_.let_go(slow_);
    }
}

TEST_F(PoolSharesTest, ASlowPoolHasHalfOfTheMemory) {
    const auto pin = [this](std::uint32_t pool, std::uint64_t octets) {
        EXPECT_TRUE(lease_.take(0, octets, false));
        shares_.pinned(pool, octets);
    };
    pin(slow_, 20 * mib);
    EXPECT_TRUE(shares_.may_pin(slow_, 20 * mib, 0)) << "less than half is in use";
    pin(slow_, 14 * mib);
    EXPECT_FALSE(shares_.may_pin(slow_, mib, 0));
    EXPECT_TRUE(shares_.may_pin(slow_, 10 * mib, 2 * mib)) << "it has begun";
    EXPECT_TRUE(shares_.may_pin(slow_, 100 * mib, 34 * mib)) << "it is alone";
    EXPECT_TRUE(shares_.may_pin(other_, 25 * mib, 0));
    pin(other_, 20 * mib);
    EXPECT_FALSE(shares_.may_pin(slow_, mib, 2 * mib));
    EXPECT_TRUE(shares_.may_pin(other_, mib, 0)) << "it is not slow";
    shares_.let_go(slow_, 34 * mib);
    shares_.let_go(other_, 20 * mib);
}

/// Whatever has the memory, and however large one message is.
TEST_F(PoolSharesTest, WhatIsLoadedLeavesAQuarter) {
    EXPECT_TRUE(shares_.may_load(48 * mib));
    EXPECT_FALSE(shares_.may_load(49 * mib));
    EXPECT_TRUE(lease_.take(0, 30 * mib, false));
    EXPECT_TRUE(shares_.may_load(15 * mib));
    EXPECT_FALSE(shares_.may_load(19 * mib));
}

TEST_F(PoolSharesTest, WhatStaysForAFirstTryLeavesRoomForItsClientsNetwork) {
    EXPECT_TRUE(shares_.stay(0, 5 * mib)) << "it is alone";
    EXPECT_FALSE(shares_.stay(0, 1));
    EXPECT_FALSE(shares_.stay(1, 1));
    shares_.stay_over(0, 5 * mib);
    EXPECT_TRUE(shares_.stay(0, mib));
    EXPECT_TRUE(shares_.stay(0, mib / 2)) << "and as much again is left";
    EXPECT_FALSE(shares_.stay(0, mib + 1));
    EXPECT_TRUE(shares_.stay(1, mib)) << "half of what it leaves";
    EXPECT_FALSE(shares_.stay(1, mib));
    shares_.stay_over(0, mib);
    EXPECT_TRUE(shares_.stay(1, mib / 4));
    shares_.stay_over(0, mib / 2);
    shares_.stay_over(1, mib + mib / 4);
    EXPECT_DEATH(shares_.stay_over(0, 1), "has begun");
}

}  // namespace
}  // namespace postern::shard::test

#include "postern/shared/hosts.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace postern::shared {
namespace {

using namespace std::chrono_literals;
using Health = HostFacts::Health;
constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();
constexpr base::HashKey key{1, 2};

base::Instant at(base::Duration time) {
    return base::Instant(1h + time);
}

TEST(HostFacts, IsTrustedUntilItFails) {
    HostFacts host;
    EXPECT_EQ(host.health(), Health::trusted);
    EXPECT_EQ(host.window(at(0s)), unlimited);
    EXPECT_FALSE(host.begin_probe(at(0s), 30s));
    EXPECT_TRUE(host.fail(at(0s), false));
    EXPECT_FALSE(host.fail(at(0s), false)) << "known already";
    EXPECT_EQ(host.health(), Health::aside);
    EXPECT_EQ(host.window(at(0s)), 0U);
}

TEST(HostFacts, PausesDoubleUpToHalfAMinute) {
    HostFacts host;
    base::Instant now = at(0s);
    ASSERT_TRUE(host.fail(now, false));
    for (const base::Duration pause : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
        EXPECT_FALSE(host.begin_probe(now + pause - 1ms, 30s));
        now += pause;
        ASSERT_TRUE(host.begin_probe(now, 30s));
        EXPECT_FALSE(host.fail(now, false)) << "the probe will tell";
        ASSERT_TRUE(host.fail(now, true));
    }
}

TEST(HostFacts, OneWorkerProbesAtATime) {
    HostFacts host;
    ASSERT_TRUE(host.fail(at(0s), false));
    ASSERT_TRUE(host.begin_probe(at(1s), 30s));
    EXPECT_FALSE(host.begin_probe(at(2s), 30s));
    EXPECT_TRUE(host.begin_probe(at(31s), 30s)) << "that one has gone";
    host.leave_probe(at(32s));
    EXPECT_EQ(host.health(), Health::aside);
    EXPECT_TRUE(host.begin_probe(at(32s), 30s)) << "nothing was learned: no new pause";
}

TEST(HostFacts, StartsSlowlyBehindATrouble) {
    HostFacts host;
    ASSERT_TRUE(host.fail(at(0s), false));
    ASSERT_TRUE(host.begin_probe(at(1s), 30s));
    EXPECT_TRUE(host.trust(at(1s)));
    EXPECT_EQ(host.health(), Health::trusted);
    EXPECT_EQ(host.window(at(1s)), 1U);
    EXPECT_EQ(host.window(at(1249ms)), 1U);
    EXPECT_EQ(host.window(at(1250ms)), 2U);
    EXPECT_EQ(host.window(at(2s)), 16U);
    EXPECT_FALSE(host.proven(at(3s)));
    EXPECT_TRUE(host.proven(at(3500ms)));
    EXPECT_EQ(host.window(at(1h)), unlimited);
}

TEST(HostFacts, APauseIsLongerOnlyWhereTheHostWasNotProvenSince) {
    HostFacts host;
    ASSERT_TRUE(host.fail(at(0s), false));
    ASSERT_TRUE(host.begin_probe(at(1s), 30s));
    EXPECT_TRUE(host.trust(at(1s)));
    ASSERT_TRUE(host.fail(at(2s), false));
    EXPECT_FALSE(host.begin_probe(at(3999ms), 30s));
    ASSERT_TRUE(host.begin_probe(at(4s), 30s));
    host.trust(at(4s));
    ASSERT_TRUE(host.fail(at(10s), false));
    EXPECT_TRUE(host.begin_probe(at(11s), 30s));
}

TEST(HostFacts, TrustComesOfAProbeAlone) {
    HostFacts host;
    ASSERT_TRUE(host.fail(at(0s), false));
    EXPECT_FALSE(host.trust(at(0s)));
    host.leave_probe(at(0s));
    EXPECT_EQ(host.health(), Health::aside);
    EXPECT_FALSE(host.begin_probe(at(999ms), 30s));
}

TEST(HostFacts, CountsConnections) {
    HostFacts host;
    EXPECT_TRUE(host.add_connection(2));
    EXPECT_TRUE(host.add_connection(2));
    EXPECT_FALSE(host.add_connection(2));
    EXPECT_TRUE(host.add_connection(unlimited)) << "a worker's first";
    EXPECT_EQ(host.connections(), 3U);
    host.add_working();
    EXPECT_EQ(host.working(), 1U);
    host.remove_working();
    for (int i = 0; i < 3; ++i) {
        host.remove_connection();
    }
    EXPECT_EQ(host.connections(), 0U);
}

TEST(HostFacts, WorkersShareThem) {
    constexpr int rounds = 20000;
    HostFacts host;
    std::atomic<int> open{0};
    std::atomic<int> probes{0};
    std::atomic<int> most{0};
    std::vector<std::thread> workers;
    for (int worker = 0; worker < 2; ++worker) {
        workers.emplace_back([&] {
            for (int i = 0; i < rounds; ++i) {
                if (host.add_connection(1)) {
                    most = std::max<int>(most, ++open);
                    --open;
                    host.remove_connection();
                }
                host.fail(at(0s), false);
                if (host.begin_probe(at(1h), 1h)) {
                    most = std::max<int>(most, ++probes);
                    --probes;
                    host.fail(at(0s), true);
                }
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_EQ(most, 1);
}

TEST(HostTable, KnowsAHostByPoolAndAddress) {
    HostTable table(8, key);
    HostFacts* const one = table.take("a", "10.0.0.1:25");
    EXPECT_EQ(table.take("a", "10.0.0.1:25"), one);
    HostFacts* const other = table.take("b", "10.0.0.1:25");
    EXPECT_NE(other, one);
    EXPECT_EQ(table.count(), 2U);
    ASSERT_TRUE(one->fail(at(0s), false));
    EXPECT_FALSE(table.give_back(*one));
    EXPECT_EQ(table.take("a", "10.0.0.1:25")->health(), Health::aside) << "somebody used it still";
    EXPECT_FALSE(table.give_back(*one));
    EXPECT_TRUE(table.give_back(*one)) << "its trouble goes with it";
    EXPECT_EQ(table.count(), 1U);
    HostFacts* const again = table.take("a", "10.0.0.1:25");
    EXPECT_EQ(again->health(), Health::trusted);
    table.give_back(*again);
    table.give_back(*other);
}

TEST(HostFacts, RemembersForAWhileThatTlsCameToNothing) {
    HostFacts facts;
    const base::Instant now{1h};
    EXPECT_FALSE(facts.plain(now));
    EXPECT_TRUE(facts.begin_plain(now));
    EXPECT_FALSE(facts.begin_plain(now + 1s)) << "it was so already";
    EXPECT_TRUE(facts.plain(now + HostFacts::plain_period));
    EXPECT_FALSE(facts.plain(now + 1s + HostFacts::plain_period));
    EXPECT_FALSE(facts.lacks_tls());
    facts.set_lacks_tls(true);
    EXPECT_TRUE(facts.lacks_tls());
}

TEST(HostTable, IsBounded) {
    HostTable table(3, key);
    std::vector<HostFacts*> taken;
    for (int i = 0; i < 3; ++i) {
        taken.push_back(table.take("a", std::to_string(i)));
        ASSERT_NE(taken.back(), nullptr);
    }
    EXPECT_EQ(table.take("a", "more"), nullptr);
    EXPECT_EQ(table.take("a", "1"), taken[1]);
    table.give_back(*taken[1]);
    for (HostFacts* facts : taken) {
        table.give_back(*facts);
    }
    EXPECT_EQ(table.count(), 0U);
    EXPECT_NE(table.take("a", "more"), nullptr);
}

}  // namespace
}  // namespace postern::shared

#include "postern/shared/budget.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace postern::shared {
namespace {

constexpr std::uint64_t mib = 1 << 20;

TEST(Budget, TheReserveIsForThoseBegun) {
    Budget budget(64 * mib, 1, 100);
    BudgetLease lease(budget, 100);
    EXPECT_TRUE(lease.take(0, 54 * mib, true));
    EXPECT_FALSE(lease.take(0, 3 * mib, true));   // past seven eighths
    EXPECT_TRUE(lease.take(0, 10 * mib, false));  // to the bound, exactly
    EXPECT_FALSE(lease.take(0, 1, false));
    EXPECT_FALSE(lease.take(0, 1, true));
    EXPECT_EQ(lease.used(), 64 * mib);
    lease.give_back(0, 64 * mib);
    EXPECT_TRUE(lease.take(0, mib, true));
    lease.give_back(0, mib);
    EXPECT_LE(budget.leased(), 2 * mib);
}

TEST(Budget, ANetworkHasAnEighthOverAllWorkers) {
    Budget budget(64 * mib, 2, 100);
    BudgetLease one(budget, 100);
    BudgetLease other(budget, 100);
    EXPECT_TRUE(one.take(7, 4 * mib, true));
    EXPECT_FALSE(other.take(7, 5 * mib, true));
    EXPECT_TRUE(other.take(8, 5 * mib, true));  // another network
    EXPECT_TRUE(other.take(0, 9 * mib, true));  // exempt
    EXPECT_TRUE(other.take(7, 3 * mib, true));
    EXPECT_FALSE(one.take(7, 2 * mib, false));
    one.give_back(7, 4 * mib);
    EXPECT_TRUE(other.take(7, 4 * mib, false));
    other.give_back(7, 3 * mib);
    other.give_back(7, 4 * mib);
    other.give_back(8, 5 * mib);
    other.give_back(0, 9 * mib);
}

TEST(Budget, SmallMessagesOfTheSteadyStateChangeNothingShared) {
    Budget budget(1024 * mib, 2, 100);
    BudgetLease lease(budget, 100);
    ASSERT_TRUE(lease.take(7, 4096, true));
    const std::uint64_t leased = budget.leased();
    for (int i = 0; i < 100000; ++i) {
        ASSERT_TRUE(lease.take(7, 65536, true));
        ASSERT_EQ(budget.leased(), leased);
        lease.give_back(7, 65536);
        ASSERT_EQ(budget.leased(), leased);
    }
    lease.give_back(7, 4096);
    EXPECT_EQ(budget.leased(), leased);
}

TEST(BudgetDeathTest, GivesBackWhatItTook) {
    Budget budget(64 * mib, 1, 100);
    BudgetLease lease(budget, 100);
    ASSERT_TRUE(lease.take(0, 5, true));
    EXPECT_DEATH(lease.give_back(0, 6), "what it took");
    lease.give_back(0, 5);
}

struct Body {
    std::size_t worker;
    std::uint64_t network;
    std::uint64_t octets;
};

/// Whatever is taken and given back: the bound and the eighths hold, a body begins only while the
/// reserve is untouched, and what surely fits is never refused.
TEST(Budget, HoldsItsBounds) {
    for (unsigned seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        const std::uint64_t bound = (1 + random() % 16) * mib;
        const std::size_t workers = 1 + random() % 4;
        Budget budget(bound, static_cast<std::uint32_t>(workers), 100);
        std::vector<std::unique_ptr<BudgetLease>> leases;
        for (std::size_t i = 0; i < workers; ++i) {
            leases.push_back(std::make_unique<BudgetLease>(budget, 100));
        }
        std::vector<Body> bodies;
        std::uint64_t used = 0;
        std::map<std::uint64_t, std::uint64_t> used_by;
        for (int step = 0; step < 2000; ++step) {
            if (random() % 5 < 3) {
                const bool first = bodies.empty() || random() % 2 == 0;
                const Body body{
                    random() % workers,
                    random() % 6,
                    1 + random() % (bound / (1U << (1 + random() % 9)))};
                const bool taken = leases[body.worker]->take(body.network, body.octets, first);
                const std::uint64_t at_hand_max = bound / 32;  // two chunks of each worker
                const std::uint64_t of_network =
                    body.network == 0 ? 0 : used_by[body.network] + body.octets;
                if (taken) {
                    used += body.octets;
                    used_by[body.network] += body.octets;
                    ASSERT_LE(used, first ? bound - bound / 8 : bound);
                    ASSERT_LE(of_network, bound / 8);
                    bodies.push_back(body);
                } else {
                    const std::uint64_t limit = first ? bound - bound / 8 : bound;
                    // A network on one worker has seven eighths of its eighth for sure.
                    ASSERT_TRUE(
                        used + body.octets + at_hand_max + bound / 64 > limit ||
                        of_network > bound / 8 * 7 / 8)
                        << used << ' ' << body.octets << ' ' << bound;
                }
            } else if (!bodies.empty()) {
                Body& body = bodies[random() % bodies.size()];
                const std::uint64_t part =
                    random() % 2 == 0 ? body.octets : random() % (body.octets + 1);
                leases[body.worker]->give_back(body.network, part);
                used -= part;
                used_by[body.network] -= part;
                body.octets -= part;
                if (body.octets == 0) {
                    std::swap(body, bodies.back());
                    bodies.pop_back();
                }
            }
            ASSERT_LE(used, budget.leased());
            ASSERT_LE(budget.leased(), bound);
        }
        for (const Body& body : bodies) {
            leases[body.worker]->give_back(body.network, body.octets);
        }
        leases.clear();
        EXPECT_EQ(budget.leased(), 0U);
    }
}

TEST(Budget, WorkersShareIt) {
    constexpr std::uint64_t bound = 8 * mib;
    Budget budget(bound, 2, 100);
    std::atomic<std::uint64_t> used{0};
    std::atomic<std::uint64_t> most{0};
    std::vector<std::thread> workers;
    for (unsigned worker = 0; worker < 2; ++worker) {
        workers.emplace_back([&, worker] {
            std::mt19937 random(worker);
            BudgetLease lease(budget, 100);
            std::deque<std::pair<std::uint64_t, std::uint64_t>> held;
            for (int i = 0; i < 50000; ++i) {
                const std::uint64_t octets = 1 + random() % 300000;
                const std::uint64_t network = random() % 20;
                if (lease.take(network, octets, random() % 2 == 0)) {
                    held.emplace_back(network, octets);
                    const std::uint64_t now = used.fetch_add(octets) + octets;
                    std::uint64_t before = most.load();
                    while (before < now && !most.compare_exchange_weak(before, now)) {
                    }
                } else if (!held.empty()) {
                    used.fetch_sub(held.front().second);
                    lease.give_back(held.front().first, held.front().second);
                    held.pop_front();
                }
            }
            for (const auto& [network, octets] : held) {
                used.fetch_sub(octets);
                lease.give_back(network, octets);
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_LE(most.load(), bound);
    EXPECT_GT(most.load(), bound / 2);
    EXPECT_EQ(budget.leased(), 0U);
}

}  // namespace
}  // namespace postern::shared

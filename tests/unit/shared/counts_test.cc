#include "postern/shared/counts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace postern::shared {
namespace {

constexpr base::HashKey key{1, 2};

base::IpAddress address(const char* text) {
    return *base::IpAddress::parse(text);
}

TEST(Keys, AClientIsAnIpv4AddressOrAnIpv6Network) {
    EXPECT_EQ(client_key(key, address("192.0.2.1")), client_key(key, address("192.0.2.1")));
    EXPECT_NE(client_key(key, address("192.0.2.1")), client_key(key, address("192.0.2.2")));
    EXPECT_EQ(
        client_key(key, address("2001:db8::1")), client_key(key, address("2001:db8::ffff:1")));
    EXPECT_NE(client_key(key, address("2001:db8::1")), client_key(key, address("2001:db8:0:1::1")));
    EXPECT_EQ(network_key(key, address("192.0.2.1")), network_key(key, address("192.0.2.255")));
    EXPECT_NE(network_key(key, address("192.0.2.1")), network_key(key, address("192.0.3.1")));
    EXPECT_EQ(network_key(key, address("2001:db8::1")), network_key(key, address("2001:db8::2")));
    // An IPv4 address and an IPv6 network of the same octets are two.
    EXPECT_NE(client_key(key, address("0.0.0.0")), client_key(key, address("::")));
    EXPECT_NE(client_key(key, address("192.0.2.1")), client_key({1, 3}, address("192.0.2.1")));
}

TEST(Gauge, HoldsItsBound) {
    Gauge gauge;
    EXPECT_TRUE(gauge.add(2));
    EXPECT_TRUE(gauge.add(2));
    EXPECT_FALSE(gauge.add(2));
    EXPECT_EQ(gauge.value(), 2U);
    gauge.remove();
    EXPECT_TRUE(gauge.add(2));
    gauge.remove();
    gauge.remove();
}

TEST(GaugeDeathTest, CountsDownWhatItCountedUp) {
    Gauge gauge;
    EXPECT_DEATH(gauge.remove(), "counts down");
}

TEST(CountTable, HoldsABoundByKey) {
    CountTable table(100);
    EXPECT_TRUE(table.add(5, 60, 100));
    EXPECT_FALSE(table.add(5, 41, 100));
    EXPECT_TRUE(table.add(5, 40, 100));
    EXPECT_FALSE(table.add(6, 101, 100));
    EXPECT_EQ(table.value(6), 0U);
    EXPECT_FALSE(table.add(6, UINT64_MAX, 100));
    EXPECT_EQ(table.value(5), 100U);
    table.remove(5, 99);
    EXPECT_EQ(table.value(5), 1U);
    table.remove(5, 1);
    EXPECT_EQ(table.value(5), 0U);
}

TEST(CountTableDeathTest, CountsDownWhatItCountedUp) {
    CountTable table(100);
    EXPECT_TRUE(table.add(5, 1, 1));
    EXPECT_DEATH(table.remove(5, 2), "counts down");
    EXPECT_DEATH(table.remove(6, 1), "counts down");
}

TEST(CountTable, HasRoomForAllItPromises) {
    for (const std::size_t keys_max : {1U, 10U, 1000U, 100000U}) {
        CountTable table(keys_max);
        std::mt19937_64 random(keys_max);
        std::vector<std::uint64_t> keys;
        for (std::size_t i = 0; i < keys_max; ++i) {
            keys.push_back(random() | 1);
            ASSERT_TRUE(table.add(keys.back(), 1, 1)) << keys_max;
        }
        for (const std::uint64_t one : keys) {
            table.remove(one, 1);
        }
        EXPECT_GE(CountTable::memory(keys_max), keys_max * 16);
        EXPECT_LE(CountTable::memory(keys_max), keys_max * 128 + 65536);
    }
}

TEST(CountTable, WhenFullANewKeyIsRefusedAndOldOnesGoOn) {
    CountTable table(1);
    std::set<std::uint64_t> present;
    std::uint64_t next = 1;
    while (table.add(next, 1, 10)) {
        present.insert(next++);
    }
    EXPECT_FALSE(table.add(next, 1, 10));
    for (const std::uint64_t one : present) {
        EXPECT_TRUE(table.add(one, 1, 10));
        EXPECT_EQ(table.value(one), 2U);
    }
    table.remove(*present.begin(), 2);
    EXPECT_TRUE(table.add(next, 1, 10));
}

/// Against the obvious map, with keys that crowd the same places so that erasing has runs to mend.
TEST(CountTable, CountsLikeAMap) {
    for (unsigned seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        CountTable table(40);
        std::map<std::uint64_t, std::uint64_t> model;
        for (int step = 0; step < 3000; ++step) {
            const std::uint64_t one = 1 + random() % 8 + (random() % 5) * 0x1000;
            const std::uint64_t amount = 1 + random() % 3;
            if (random() % 2 == 0) {
                const bool fits = model[one] + amount <= 6;
                ASSERT_EQ(table.add(one, amount, 6), fits);
                model[one] += fits ? amount : 0;
            } else if (model[one] >= amount) {
                table.remove(one, amount);
                model[one] -= amount;
            }
            for (const auto& [known, number] : model) {
                ASSERT_EQ(table.value(known), number);
            }
        }
    }
}

TEST(CountTable, WorkersShareIt) {
    constexpr unsigned rounds = 20000;
    CountTable table(64);
    std::vector<std::thread> workers;
    std::atomic<unsigned> refused{0};
    for (unsigned worker = 0; worker < 2; ++worker) {
        workers.emplace_back([&table, &refused, worker] {
            std::mt19937_64 random(worker);
            for (unsigned i = 0; i < rounds; ++i) {
                const std::uint64_t one = 1 + random() % 4;
                if (table.add(one, 1, 1)) {
                    table.remove(one, 1);
                } else {
                    ++refused;
                }
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    for (std::uint64_t one = 1; one <= 4; ++one) {
        EXPECT_EQ(table.value(one), 0U);
    }
    EXPECT_LT(refused, 2 * rounds);
}

}  // namespace
}  // namespace postern::shared

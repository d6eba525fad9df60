#include "postern/shared/rates.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace postern::shared {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = RateTable::Kind;

constexpr base::Instant start{seconds(1'000'000)};

/// Keys are well mixed hashes.
std::uint64_t key_of(std::uint64_t number) {
    std::mt19937_64 random(number);
    return random() | 1;
}

TEST(RateTable, ABoundHoldsForAMinute) {
    RateTable table(1000);
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(table.add(7, Kind::messages, 1, 5, start + seconds(10 * i)));
    }
    EXPECT_FALSE(table.add(7, Kind::messages, 1, 5, start + seconds(59)));
    EXPECT_TRUE(table.add(8, Kind::messages, 1, 5, start + seconds(59))) << "another client";
    EXPECT_TRUE(table.add(7, Kind::recipients, 1, 5, start + seconds(59))) << "another kind";
    // From then on as much as has left the last sixty seconds.
    EXPECT_FALSE(table.add(7, Kind::messages, 1, 5, start + seconds(60)));
    EXPECT_TRUE(table.add(7, Kind::messages, 1, 5, start + seconds(61)));
    EXPECT_FALSE(table.add(7, Kind::messages, 1, 5, start + seconds(61)));
    // All, once it was quiet for two minutes.
    EXPECT_TRUE(table.add(7, Kind::messages, 5, 5, start + seconds(240)));
}

TEST(RateTable, OneAMinuteIsOneAMinute) {
    RateTable table(8);
    EXPECT_TRUE(table.add(7, Kind::connections, 1, 1, start));
    EXPECT_FALSE(table.add(7, Kind::connections, 1, 1, start + seconds(59)));
    EXPECT_TRUE(table.add(7, Kind::connections, 1, 1, start + seconds(62)));
}

TEST(RateTable, AmountsAreAddedWholeOrNotAtAll) {
    RateTable table(8);
    constexpr std::uint64_t gib = 1ULL << 30;
    EXPECT_FALSE(table.add(7, Kind::octets, 1024 * gib + 1, 1024 * gib, start));
    EXPECT_TRUE(table.add(7, Kind::octets, 1023 * gib, 1024 * gib, start));
    EXPECT_FALSE(table.would_fit(7, Kind::octets, gib + 1, 1024 * gib, start));
    EXPECT_TRUE(table.would_fit(7, Kind::octets, gib, 1024 * gib, start));
    EXPECT_FALSE(table.add(7, Kind::octets, gib + 1, 1024 * gib, start));
    EXPECT_TRUE(table.add(7, Kind::octets, gib, 1024 * gib, start));
    EXPECT_FALSE(table.add(7, Kind::octets, 1, 1024 * gib, start));
}

TEST(RateTable, AnotherWorkersClockMayBeBehind) {
    RateTable table(8);
    EXPECT_TRUE(table.add(7, Kind::messages, 1, 2, start));
    EXPECT_TRUE(table.add(7, Kind::messages, 1, 2, start - milliseconds(1500)));
    EXPECT_FALSE(table.add(7, Kind::messages, 1, 2, start - milliseconds(1500)));
}

/// All that was ever admitted, looked through anew each time.
class Model {
   public:
    bool add(std::uint64_t amount, std::uint64_t bound, std::int64_t now) {
        if (first_ < 0 || now >= minute(last_) + 2 * 60) {
            first_ = now;  // it was quiet so long that the next minute begins with this
            deeds_.clear();
        }
        last_ = std::max(last_, now);
        std::uint64_t count = 0;
        std::uint64_t before = 0;
        for (const auto& [time, number] : deeds_) {
            count += minute(time) == minute(now) ? number : 0;
            before += minute(time) == minute(now) - 60 ? number : 0;
        }
        count += before * static_cast<std::uint64_t>(60 - (now - minute(now))) / 60;
        if (count + amount > bound) {
            return false;
        }
        deeds_.emplace_back(now, amount);
        return true;
    }

    /// The most in any sixty seconds.
    std::uint64_t most() const {
        std::uint64_t most = 0;
        for (const auto& [begin, unused] : deeds_) {
            std::uint64_t sum = 0;
            for (const auto& [time, number] : deeds_) {
                sum += time >= begin && time < begin + 60 ? number : 0;
            }
            most = std::max(most, sum);
        }
        return most;
    }

   private:
    std::int64_t minute(std::int64_t time) const { return first_ + (time - first_) / 60 * 60; }

    std::int64_t first_ = -1;
    std::int64_t last_ = -1;
    std::deque<std::pair<std::int64_t, std::uint64_t>> deeds_;
};

TEST(RateTable, CountsLikeALookThroughAllThatWas) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        RateTable table(64);
        std::map<std::uint64_t, Model> models;
        const std::uint64_t bound = 1 + random() % 20;
        const std::uint64_t pause = 1 + random() % 12;
        std::int64_t now = 0;
        for (int step = 0; step < 1500; ++step) {
            const std::uint64_t client = random() % 6;
            const std::uint64_t amount = 1 + random() % 3;
            now += static_cast<std::int64_t>(random() % pause == 0 ? random() % (pause * 12) : 0);
            const bool fits =
                table.add(key_of(client), Kind::messages, amount, bound, start + seconds(now));
            ASSERT_EQ(fits, models[client].add(amount, bound, now)) << step;
        }
        for (const auto& [unused, model] : models) {
            EXPECT_LE(model.most(), 2 * bound);
        }
    }
}

TEST(RateTable, AMillionClientsChangeNeitherItsSizeNorWhoIsHeld) {
    RateTable table(4096);
    const std::uint64_t busy = key_of(1'000'000'000);
    EXPECT_TRUE(table.add(busy, Kind::connections, 10, 10, start));
    for (std::uint64_t i = 0; i < 1'000'000; ++i) {
        const base::Instant now = start + milliseconds(i / 20);  // 50 s
        EXPECT_TRUE(table.add(key_of(i), Kind::connections, 1, 1, now)) << "never for lack of room";
        if (i % 1000 == 0) {
            ASSERT_FALSE(table.add(busy, Kind::connections, 1, 10, now)) << i;
        }
    }
    EXPECT_LE(table.held_octets(), RateTable::memory(4096));
    EXPECT_GT(table.held_octets(), RateTable::memory(4096) / 2);
}

TEST(RateTable, SeveralThreadsAdmitNoMoreThanTheBound) {
    RateTable table(64);
    std::atomic<int> admitted{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 2000; ++i) {
                admitted += table.add(key_of(5), Kind::messages, 1, 1000, start) ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(admitted, 1000);
}

}  // namespace
}  // namespace postern::shared

#include "postern/shared/guesses.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace postern::shared {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

const base::Instant start{std::chrono::hours(5)};

TEST(Guesses, TheFirstAreFreeThenEachIsHeldBackLonger) {
    Guesses guesses(64);
    std::vector<base::Duration> delays;
    for (std::uint32_t i = 0; i < Guesses::wrong_max; ++i) {
        EXPECT_FALSE(guesses.exhausted(7, start));
        delays.push_back(guesses.wrong(7, start));
    }
    using D = base::Duration;
    const std::vector<base::Duration> expected{
        D(0),
        D(0),
        D(0),
        seconds(1),
        seconds(2),
        seconds(4),
        seconds(5),
        seconds(5),
        seconds(5),
        seconds(5)};
    EXPECT_EQ(delays, expected);
    EXPECT_TRUE(guesses.exhausted(7, start));
    EXPECT_FALSE(guesses.exhausted(8, start)) << "another client is not hurt";
    EXPECT_EQ(guesses.wrong(8, start), D(0));
}

TEST(Guesses, ItIsOverAfterTenMinutes) {
    Guesses guesses(64);
    for (std::uint32_t i = 0; i < 2 * Guesses::wrong_max; ++i) {
        (void)guesses.wrong(7, start + seconds(i));
    }
    EXPECT_TRUE(guesses.exhausted(7, start + minutes(10) - seconds(1)));
    EXPECT_FALSE(guesses.exhausted(7, start + minutes(10)));
    EXPECT_EQ(guesses.wrong(7, start + minutes(10)), base::Duration(0));
    EXPECT_FALSE(guesses.exhausted(7, start + minutes(10)));
}

/// Who comes from very many addresses fills the table, and sets free nobody that has guessed much.
TEST(Guesses, ManyClientsDriveOutThoseThatHaveGuessedLeast) {
    Guesses guesses(64);
    for (std::uint32_t i = 0; i < Guesses::wrong_max; ++i) {
        (void)guesses.wrong(0x1234567800000005, start);
    }
    std::uint64_t client = 1;
    for (int i = 0; i < 100000; ++i) {
        client = client * 6364136223846793005U + 1442695040888963407U;
        (void)guesses.wrong(client | 1, start + seconds(i % 100));
    }
    EXPECT_TRUE(guesses.exhausted(0x1234567800000005, start + seconds(100)));
}

TEST(Guesses, ThreadsCountTogether) {
    Guesses guesses(1024);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&guesses, t] {
            for (std::uint64_t client = 1; client <= 100; ++client) {
                for (int i = 0; i < (t < 2 ? 3 : 2); ++i) {
                    (void)guesses.wrong(client, start);
                }
                (void)guesses.exhausted(client, start);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (std::uint64_t client = 1; client <= 100; ++client) {
        EXPECT_TRUE(guesses.exhausted(client, start)) << client;
    }
}

}  // namespace
}  // namespace postern::shared

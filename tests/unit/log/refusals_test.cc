#include "postern/log/refusals.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace postern::log {
namespace {

using namespace std::chrono_literals;

constexpr base::Instant begin(1000s);

TEST(RefusalMeter, TenLinesASecondThenASummary) {
    RefusalMeter meter(8);
    int admitted = 0;
    for (int i = 0; i < 25; ++i) {
        admitted += meter.admit(1, "192.0.2.1", begin + i * 1ms) ? 1 : 0;
    }
    EXPECT_EQ(admitted, 10);
    EXPECT_TRUE(meter.admit(2, "192.0.2.2", begin));
    EXPECT_FALSE(meter.next_summary(begin + 999ms));
    const auto summary = meter.next_summary(begin + 1200ms);
    ASSERT_TRUE(summary);
    EXPECT_EQ(summary->client, "192.0.2.1");
    EXPECT_EQ(summary->suppressed, 15U);
    EXPECT_FALSE(meter.next_summary(begin + 1200ms));
    EXPECT_TRUE(meter.admit(1, "192.0.2.1", begin + 1201ms));
}

TEST(RefusalMeter, CountsOnWhileASummaryWaits) {
    RefusalMeter meter(8);
    for (int i = 0; i < 11; ++i) {
        meter.admit(1, "192.0.2.1", begin);
    }
    EXPECT_FALSE(meter.admit(1, "192.0.2.1", begin + 5s));
    EXPECT_EQ(meter.next_summary(begin + 6s)->suppressed, 2U);
}

TEST(RefusalMeter, ClientsPastItsTableShareARow) {
    RefusalMeter meter(8);
    for (unsigned client = 0; client < 8; ++client) {
        EXPECT_TRUE(meter.admit(client, "a", begin));
    }
    int admitted = 0;
    for (unsigned client = 8; client < 40; ++client) {
        admitted += meter.admit(client, "b", begin) ? 1 : 0;
    }
    EXPECT_EQ(admitted, 10);
    const auto summary = meter.next_summary(begin + 1s);
    ASSERT_TRUE(summary);
    EXPECT_EQ(summary->client, "");
    EXPECT_EQ(summary->suppressed, 22U);
}

/// Whatever comes: no client has more than ten lines in any second of its own, and every refusal is
/// in a line or in a summary.
TEST(RefusalMeter, NothingIsLostAndNobodyFillsTheLog) {
    for (unsigned seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        RefusalMeter meter(16);
        base::Instant now = begin;
        std::uint64_t refusals = 0;
        std::uint64_t lines = 0;
        std::uint64_t suppressed = 0;
        std::map<unsigned, std::uint64_t> by_client;
        for (int step = 0; step < 3000; ++step) {
            now += std::chrono::microseconds(random() % 5000);
            const auto client = static_cast<unsigned>(random() % 30);
            ++refusals;
            if (meter.admit(client * 0x9e3779b97f4a7c15U, std::to_string(client), now)) {
                ++lines;
                ++by_client[client];
            }
            if (random() % 10 == 0) {
                while (const auto summary = meter.next_summary(now)) {
                    suppressed += summary->suppressed;
                    EXPECT_GT(summary->suppressed, 0U);
                }
            }
        }
        while (const auto summary = meter.next_summary(now + 2s)) {
            suppressed += summary->suppressed;
        }
        EXPECT_EQ(lines + suppressed, refusals);
        const auto seconds = static_cast<std::uint64_t>((now - begin) / 1s) + 2;
        for (const auto& [client, count] : by_client) {
            // Its own row's ten and, at times without one, the shared row's.
            EXPECT_LE(count, seconds * 2 * RefusalMeter::lines_max) << client;
        }
    }
}

}  // namespace
}  // namespace postern::log

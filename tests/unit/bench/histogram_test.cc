#include "bench/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace postern::bench {
namespace {

TEST(Histogram, AgreesWithSortedValues) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random(seed);
        std::vector<std::uint64_t> values;
        Histogram histogram;
        const std::size_t count = 1 + random() % 3000;
        for (std::size_t i = 0; i < count; ++i) {
            values.push_back(random() >> random() % 64);
            histogram.record(values.back());
        }
        std::sort(values.begin(), values.end());
        for (const double percent : {0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
            const auto rank =
                static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(count)));
            const std::uint64_t exact = values[std::max<std::size_t>(rank, 1) - 1];
            const std::uint64_t got = histogram.percentile(percent);
            EXPECT_GE(got, exact) << "seed " << seed << " percent " << percent;
            EXPECT_LE(got - exact, exact / 64) << "seed " << seed << " percent " << percent;
        }
        EXPECT_EQ(histogram.max(), values.back());
        EXPECT_EQ(histogram.count(), count);
    }
}

TEST(Histogram, SmallValuesAreExact) {
    Histogram histogram;
    for (std::uint64_t value = 0; value < 128; ++value) {
        histogram.record(value);
    }
    for (std::uint64_t value = 1; value <= 128; ++value) {
        EXPECT_EQ(histogram.percentile((static_cast<double>(value) - 0.5) / 1.28), value - 1);
    }
    EXPECT_DOUBLE_EQ(histogram.mean(), 63.5);
}

TEST(Histogram, Merges) {
    Histogram one;
    Histogram two;
    Histogram both;
    for (std::uint64_t value = 1; value < 100000; value = value * 3 / 2 + 1) {
        (value % 2 == 0 ? one : two).record(value);
        both.record(value);
    }
    one.add(two);
    EXPECT_EQ(one.count(), both.count());
    EXPECT_EQ(one.max(), both.max());
    for (double percent = 0; percent <= 100; percent += 5) {
        EXPECT_EQ(one.percentile(percent), both.percentile(percent));
    }
}

TEST(Histogram, BelowALimit) {
    Histogram histogram;
    for (std::uint64_t value = 1; value <= 1000; ++value) {
        histogram.record(value);
    }
    histogram.record(2'000'000);
    const Histogram some = histogram.below(1'900'000);
    EXPECT_EQ(some.count(), 1000U);
    EXPECT_EQ(some.percentile(50), histogram.percentile(50));
    EXPECT_GE(some.max(), 1000U);
    EXPECT_LE(some.max(), 1016U);
    EXPECT_NEAR(some.mean(), 500.5, 8);
    EXPECT_EQ(histogram.below(64).count(), 63U);
    EXPECT_EQ(histogram.below(0).count(), 0U);
    EXPECT_EQ(histogram.below(0).percentile(99), 0U);
}

TEST(Histogram, EmptyIsZero) {
    EXPECT_EQ(Histogram().percentile(99), 0U);
    EXPECT_EQ(Histogram().mean(), 0);
}

}  // namespace
}  // namespace postern::bench

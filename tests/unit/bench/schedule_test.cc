#include "bench/load/schedule.h"

#include <gtest/gtest.h>

namespace postern::bench {
namespace {

using base::Duration;
using base::Instant;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Instant start(seconds(1000));

TEST(Schedule, SpacesMessagesEvenly) {
    Schedule schedule(start, 100);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(schedule.next(), start + i * milliseconds(10));
        EXPECT_FALSE(schedule.due(schedule.next() - Duration(1)));
        EXPECT_TRUE(schedule.due(schedule.next()));
        EXPECT_EQ(schedule.take(), start + i * milliseconds(10));
    }
}

TEST(Schedule, DoesNotForgetWhatWasMissed) {
    Schedule schedule(start, 1000);
    int taken = 0;
    const Instant now = start + seconds(2);  // nobody looked for two seconds
    while (schedule.due(now)) {
        EXPECT_EQ(schedule.take(), start + taken * milliseconds(1));
        ++taken;
    }
    EXPECT_EQ(taken, 2001);
}

TEST(Schedule, DoesNotDriftWithOddRates) {
    const Schedule schedule(start, 3);
    EXPECT_EQ(schedule.intended(3), start + seconds(1));
    EXPECT_EQ(schedule.intended(3 * 86400), start + seconds(86400));
}

}  // namespace
}  // namespace postern::bench

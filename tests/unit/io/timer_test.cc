#include "postern/io/timer.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "postern/io/random.h"

namespace postern::io {
namespace {

using base::Duration;
using base::Instant;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Alarm : Timer {
    Alarm() : Timer([](Timer& self) { static_cast<Alarm&>(self).ring(); }) {}

    void ring() {
        EXPECT_FALSE(set());
        ++rings;
        if (repeat_in != Duration(0)) {
            timers->set(*this, deadline() + repeat_in);
        }
    }

    Timers* timers = nullptr;
    Duration repeat_in{};
    int rings = 0;
};

const Instant start = Instant(hours(1234) + Duration(567891234));

TEST(Timers, NothingSetMeansNever) {
    Timers timers(start);
    EXPECT_EQ(timers.next(), Instant::max());
    timers.run(start + hours(1));
    EXPECT_EQ(timers.next(), Instant::max());
}

TEST(Timers, FiresOnceNeverEarlyAndLateByATickAtMost) {
    for (const Duration in :
         {Duration(0),
          Duration(1),
          Duration(milliseconds(1)),
          Duration(milliseconds(8)),
          Duration(milliseconds(511)),
          Duration(milliseconds(512)),
          Duration(seconds(33)),
          Duration(hours(1)),
          Duration(hours(24 * 365 * 100))}) {
        Timers timers(start);
        Alarm alarm;
        timers.set(alarm, start + in);
        EXPECT_TRUE(alarm.set());
        Instant now = start;
        int wakes = 0;
        while (alarm.rings == 0) {
            ASSERT_LT(++wakes, 10) << "woken too often for one timer in " << in.count();
            now = timers.next();
            ASSERT_NE(now, Instant::max());
            timers.run(now);
        }
        EXPECT_GE(now, start + in);
        EXPECT_LE(now, start + in + Timers::tick);
        EXPECT_FALSE(alarm.set());
        EXPECT_EQ(timers.next(), Instant::max());
        timers.run(now + hours(1));
        EXPECT_EQ(alarm.rings, 1);
    }
}

TEST(Timers, MovedLaterFiresLaterOnly) {
    Timers timers(start);
    Alarm alarm;
    timers.set(alarm, start + seconds(1));
    timers.set(alarm, start + seconds(5));
    timers.run(start + seconds(4));
    EXPECT_EQ(alarm.rings, 0);
    EXPECT_TRUE(alarm.set());
    timers.run(start + seconds(5) + Timers::tick);
    EXPECT_EQ(alarm.rings, 1);
}

TEST(Timers, MovedEarlierFiresEarlier) {
    Timers timers(start);
    Alarm alarm;
    timers.set(alarm, start + hours(5));
    timers.set(alarm, start + seconds(1));
    EXPECT_LE(timers.next(), start + seconds(1) + Timers::tick);
    timers.run(start + seconds(1) + Timers::tick);
    EXPECT_EQ(alarm.rings, 1);
}

TEST(Timers, CancelledOrDestroyedNeverFires) {
    Timers timers(start);
    Alarm alarm;
    timers.set(alarm, start + seconds(1));
    alarm.cancel();
    EXPECT_FALSE(alarm.set());
    {
        Alarm gone;
        timers.set(gone, start + seconds(1));
    }
    EXPECT_EQ(timers.next(), Instant::max());
    timers.run(start + seconds(10));
    EXPECT_EQ(alarm.rings, 0);
}

TEST(Timers, ACallbackMaySetItsOwnTimerAndCatchesUpInOneRun) {
    Timers timers(start);
    Alarm alarm;
    alarm.timers = &timers;
    alarm.repeat_in = seconds(1);
    timers.set(alarm, start + seconds(1));
    timers.run(start + seconds(10) + Timers::tick);
    EXPECT_EQ(alarm.rings, 10);
    EXPECT_TRUE(alarm.set());
}

TEST(Timers, ManyIdleOnesDoNotWakeEveryTick) {
    Timers timers(start);
    std::vector<std::unique_ptr<Alarm>> alarms;
    Random random(7);
    for (int i = 0; i < 10000; ++i) {
        alarms.push_back(std::make_unique<Alarm>());
        timers.set(*alarms.back(), start + seconds(300) + milliseconds(random.below(1000)));
    }
    int wakes = 0;
    for (Instant now = timers.next(); now < start + seconds(295); now = timers.next()) {
        timers.run(now);
        ++wakes;
    }
    EXPECT_LT(wakes, 100);
}

/// Against the obvious: a map from timer to deadline.
void compare_with_model(std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Instant now = start + Duration(random.below(1u << 30));
    Timers timers(now);
    std::vector<std::unique_ptr<Alarm>> alarms(40);
    std::map<Alarm*, Instant> model;
    for (auto& alarm : alarms) {
        alarm = std::make_unique<Alarm>();
    }
    const auto some_time = [&] {
        return Duration(random.below(std::uint64_t{1} << (20 + random.below(25))));
    };

    for (int step = 0; step < 400; ++step) {
        Alarm& alarm = *alarms[random.below(alarms.size())];
        switch (random.below(4)) {
            case 0:
            case 1: {
                const Instant deadline =
                    random.chance(1, 10) ? now - some_time() : now + some_time();
                timers.set(alarm, deadline);
                model[&alarm] = std::max(deadline, now);
                break;
            }
            case 2:
                alarm.cancel();
                model.erase(&alarm);
                break;
            default: {
                for (const auto& [timer, deadline] : model) {
                    ASSERT_LE(timers.next(), deadline + Timers::tick) << "it would be slept past";
                }
                now += some_time();
                timers.run(now);
                for (auto& each : alarms) {
                    const auto expected = model.find(each.get());
                    if (each->rings > 0) {
                        ASSERT_EQ(each->rings, 1);
                        ASSERT_NE(expected, model.end()) << "fired though not set";
                        ASSERT_LE(expected->second, now) << "fired early";
                        model.erase(expected);
                        each->rings = 0;
                    } else if (expected != model.end()) {
                        ASSERT_GE(expected->second + Timers::tick, now) << "not fired though due";
                        ASSERT_TRUE(each->set());
                    } else {
                        ASSERT_FALSE(each->set());
                    }
                }
            }
        }
    }
}

TEST(Timers, DoWhatAMapWouldDo) {
    for (std::uint64_t seed = 1; seed <= 500 && !testing::Test::HasFatalFailure(); ++seed) {
        compare_with_model(seed);
    }
}

}  // namespace
}  // namespace postern::io

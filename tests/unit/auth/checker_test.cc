#include "postern/auth/checker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>

namespace postern::auth {
namespace {

struct Counted final : Job {
    explicit Counted(std::atomic<int>& the_count) : count(the_count) {}

    void run(Hasher&) override { ++count; }

    std::atomic<int>& count;
};

/// Keeps its thread until it is let go.
struct Blocking final : Job {
    void run(Hasher&) override {
        running = true;
        while (!may_end) {
            std::this_thread::yield();
        }
    }

    std::atomic<bool> running{false};
    std::atomic<bool> may_end{false};
};

void wait_until(const std::atomic<bool>& flag) {
    while (!flag) {
        std::this_thread::yield();
    }
}

TEST(Checker, RunsAllThatWasPosted) {
    std::atomic<int> count{0};
    std::deque<Counted> jobs;
    {
        Checker checker(2, 1000);
        for (int i = 0; i < 1000; ++i) {
            jobs.emplace_back(count);
            EXPECT_TRUE(checker.post(jobs.back()));
        }
    }
    EXPECT_EQ(count, 1000);
}

TEST(Checker, TakesNoMoreThanItsBound) {
    std::atomic<int> count{0};
    std::deque<Counted> jobs;
    Blocking blocking;
    {
        Checker checker(1, 3);
        ASSERT_TRUE(checker.post(blocking));
        wait_until(blocking.running);
        for (int i = 0; i < 5; ++i) {
            jobs.emplace_back(count);
            EXPECT_EQ(checker.post(jobs.back()), i < 3);
        }
        blocking.may_end = true;
    }
    EXPECT_EQ(count, 3);
}

TEST(Checker, OneThatTakesLongHoldsUpOnlyItsThread) {
    std::atomic<int> count{0};
    Blocking blocking;
    Checker checker(2, 10);
    ASSERT_TRUE(checker.post(blocking));
    wait_until(blocking.running);
    Counted job(count);
    ASSERT_TRUE(checker.post(job));
    while (count == 0) {
        std::this_thread::yield();
    }
    blocking.may_end = true;
}

TEST(Checker, WithoutWorkItHasNoThreads) {
    Checker checker(4, 10);
}

}  // namespace
}  // namespace postern::auth

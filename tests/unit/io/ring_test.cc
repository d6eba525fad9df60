#include "postern/io/ring.h"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <deque>
#include <set>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

/// A completion that keeps what it was told.
struct Told : Completion {
    Told()
        : Completion([](Completion& self, Done what) {
              auto& told = static_cast<Told&>(self);
              ++told.times;
              told.done = std::move(what);
          }) {}

    int times = 0;
    Done done;
};

/// Two ends of a connection that are both ours.
struct Ends {
    Ends() {
        Loopback loopback;
        far = loopback.dial();
        near = loopback.answer();
    }

    ~Ends() {
        ::close(near);
        if (far >= 0) {
            ::close(far);
        }
    }

    int near = -1, far = -1;
};

std::uint32_t blocks_used(Ring& ring, BufferGroup group) {
    ring.turn(base::Instant::min());
    return ring.buffers(group).used() - ring.buffers_offered(group);
}

TEST(Ring, WaitsUntilTheInstantItIsToldAndNotWhenThatIsPast) {
    auto ring = make_ring();
    const base::Instant before = ring->now();
    ring->turn(before + milliseconds(30));
    EXPECT_GE(ring->now() - before, milliseconds(30));
    const base::Instant then = ring->now();
    for (int i = 0; i < 100; ++i) {
        ring->turn(then);
        ring->turn(base::Instant::min());
    }
    EXPECT_LT(ring->now() - then, seconds(2));
}

TEST(Ring, EntersOnceATurn) {
    auto ring = make_ring();
    Ends ends;
    Told told;
    const auto before = ring->counters();
    for (int i = 0; i < 50; ++i) {
        ASSERT_EQ(::write(ends.far, "x", 1), 1);
        ring->receive(told, ends.near, BufferGroup::command, false);
        EXPECT_TRUE(told.armed());
        ring->turn(ring->now() + seconds(1));
        EXPECT_EQ(told.done.result, 1);
        EXPECT_EQ(told.done.buffer->data()[0], 'x');
        told.done = {};
    }
    EXPECT_EQ(ring->counters().turns - before.turns, 50u);
    EXPECT_EQ(ring->counters().enters - before.enters, 50u);
    EXPECT_EQ(ring->counters().completions - before.completions, 50u);
}

TEST(Ring, TheWallClockAndTheMonotonicOneGoTogether) {
    auto ring = make_ring();
    const auto monotonic = ring->now();
    const auto wall = ring->wall_now();
    ring->turn(monotonic + milliseconds(20));
    const auto differ = (ring->wall_now() - wall) - (ring->now() - monotonic);
    EXPECT_LT(std::chrono::abs(differ), milliseconds(15));
    EXPECT_GT(wall.time_since_epoch(), std::chrono::hours(24 * 365 * 50));
}

TEST(Ring, TwoRingsDrawDifferentNumbers) {
    auto first = make_ring();
    auto second = make_ring();
    std::set<std::uint64_t> drawn;
    for (int i = 0; i < 1000; ++i) {
        drawn.insert(first->random());
        drawn.insert(second->random());
    }
    EXPECT_EQ(drawn.size(), 2000u);
}

/// More operations than entries, and more completions than the kernel's queue holds: all arrive,
/// and the overflow is counted.
TEST(Ring, OutgrownQueuesLoseNothing) {
    auto ring = make_ring({.entries = 4});
    std::deque<Ends> ends(60);
    std::deque<Told> told(ends.size());
    for (std::size_t i = 0; i < ends.size(); ++i) {
        ring->receive(told[i], ends[i].near, BufferGroup::command, false);
    }
    ring->turn(base::Instant::min());
    for (Ends& each : ends) {
        ASSERT_EQ(::write(each.far, "x", 1), 1);
    }
    ASSERT_TRUE(turn_until(*ring, [&] {
        return std::all_of(told.begin(), told.end(), [](Told& each) { return each.times == 1; });
    }));
    for (Told& each : told) {
        EXPECT_EQ(each.done.result, 1);
    }
    EXPECT_GT(ring->counters().enters, ring->counters().turns);
    EXPECT_GT(ring->counters().completion_overflows, 0u);
}

TEST(Ring, AReceiveThatEndsWithoutOctetsKeepsNoBuffer) {
    auto ring = make_ring();
    for (const bool waited : {false, true}) {
        for (const bool by_reset : {false, true}) {
            Ends ends;
            Told told;
            if (waited) {
                ring->receive(told, ends.near, BufferGroup::command, false);
                ring->turn(base::Instant::min());
            }
            if (by_reset) {
                reset(std::exchange(ends.far, -1));
            } else {
                ::shutdown(ends.far, SHUT_WR);
            }
            if (!waited) {
                ring->receive(told, ends.near, BufferGroup::command, false);
            }
            ASSERT_TRUE(turn_until(*ring, [&] { return told.times == 1; }));
            EXPECT_EQ(told.done.result, by_reset ? -ECONNRESET : 0);
            EXPECT_FALSE(told.done.buffer);
            EXPECT_EQ(blocks_used(*ring, BufferGroup::command), 0u);
        }
    }
    EXPECT_EQ(ring->buffers_offered(BufferGroup::command), RingOptions{}.command_buffers_offered);
}

TEST(Ring, TheTwoGroupsHaveBuffersOfTheirOwn) {
    auto ring = make_ring();
    Ends ends;
    const std::string much = octets(50000);
    ASSERT_EQ(::write(ends.far, much.data(), much.size()), static_cast<ssize_t>(much.size()));
    Told small;
    ring->receive(small, ends.near, BufferGroup::command, false);
    ASSERT_TRUE(turn_until(*ring, [&] { return small.times == 1; }));
    EXPECT_EQ(small.done.result, 4096);
    EXPECT_EQ(small.done.buffer->capacity, 4096u);
    Told large;
    ring->receive(large, ends.near, BufferGroup::body, false);
    ASSERT_TRUE(turn_until(*ring, [&] { return large.times == 1; }));
    EXPECT_EQ(large.done.buffer->capacity, RingOptions{}.body_buffer_size);
    EXPECT_EQ(std::string(small.done.buffer->data(), 4096), much.substr(0, 4096));
    EXPECT_EQ(blocks_used(*ring, BufferGroup::command), 1u);
    EXPECT_EQ(blocks_used(*ring, BufferGroup::body), 1u);
}

TEST(Ring, AReceiveSaysWhetherMoreWaited) {
    auto ring = make_ring();
    for (const bool likely : {false, true}) {  // either finds what is there
        Ends ends;
        const std::string more_than_fits = octets(5000);
        ASSERT_EQ(::write(ends.far, more_than_fits.data(), 5000), 5000);
        Told told;
        const auto receive = [&] {
            const int before = told.times;
            ring->receive(told, ends.near, BufferGroup::command, likely);
            return turn_until(*ring, [&] { return told.times > before; });
        };
        ASSERT_TRUE(receive());
        EXPECT_EQ(told.done.result, 4096);
        EXPECT_TRUE(told.done.rest);
        ASSERT_TRUE(receive());
        EXPECT_EQ(told.done.result, 904);
        EXPECT_FALSE(told.done.rest);
        ASSERT_EQ(::write(ends.far, "QUIT", 4), 4);
        ::shutdown(ends.far, SHUT_WR);
        ASSERT_TRUE(receive());
        EXPECT_EQ(told.done.result, 4);
        EXPECT_TRUE(told.done.rest) << "the end of the stream waits";
        ASSERT_TRUE(receive());
        EXPECT_EQ(told.done.result, 0);
    }
}

TEST(Ring, ClosesADescriptor) {
    NoLeak leak;
    auto ring = make_ring();
    Loopback loopback;
    const int far = loopback.dial();
    Told told;
    ring->close(told, loopback.answer());
    ASSERT_TRUE(turn_until(*ring, [&] { return told.times == 1; }));
    EXPECT_EQ(told.done.result, 0);
    char octet = 0;
    EXPECT_EQ(::recv(far, &octet, 1, 0), 0);
    ::close(far);
}

TEST(Ring, CancelEndsWhatItNamesAndNothingElse) {
    auto ring = make_ring();
    Ends ends;
    Ends other;
    Told receive, body, cancel, untouched;
    ring->receive(receive, ends.near, BufferGroup::command, false);
    ring->receive(body, other.near, BufferGroup::body, false);
    ring->receive(untouched, ends.near, BufferGroup::command, false);
    turn_for(*ring, milliseconds(10));
    ring->cancel(cancel, receive);
    ASSERT_TRUE(turn_until(*ring, [&] { return cancel.times == 1 && receive.times == 1; }));
    EXPECT_EQ(receive.done.result, -ECANCELED);
    EXPECT_EQ(cancel.done.result, 0);
    EXPECT_TRUE(untouched.armed());
    EXPECT_TRUE(body.armed());

    ring->cancel(cancel, receive);
    ASSERT_TRUE(turn_until(*ring, [&] { return cancel.times == 2; }));
    EXPECT_EQ(cancel.done.result, -ENOENT);
    ring->cancel(cancel, body);
    ASSERT_TRUE(turn_until(*ring, [&] { return !body.armed() && !cancel.armed(); }));
    ring->cancel(cancel, untouched);
    ASSERT_TRUE(turn_until(*ring, [&] { return !untouched.armed() && !cancel.armed(); }));
}

TEST(Ring, AShutdownEndsAReceiveAndASendUnderWay) {
    auto ring = make_ring();
    Ends ends;
    Told receive, send;
    const std::string much = octets(64 << 20);
    iovec piece{const_cast<char*>(much.data()), much.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    ring->receive(receive, ends.near, BufferGroup::command, false);
    ring->send(send, ends.near, message, false);
    turn_for(*ring, milliseconds(10));
    ASSERT_TRUE(receive.armed() && send.armed());
    ring->shut_down(ends.near);
    ASSERT_TRUE(turn_until(*ring, [&] { return receive.times == 1 && send.times == 1; }));
    EXPECT_LE(receive.done.result, 0);
    EXPECT_LT(send.done.result, static_cast<std::int32_t>(much.size()));
}

TEST(Ring, LooksForAHangup) {
    auto ring = make_ring();
    {
        Ends ends;
        EXPECT_EQ(ring->look_for_hangup(ends.near), Ring::Hangup::no);
        ASSERT_EQ(::write(ends.far, "RSET", 4), 4);
        EXPECT_EQ(ring->look_for_hangup(ends.near), Ring::Hangup::no);
        ::shutdown(ends.far, SHUT_WR);
        EXPECT_EQ(ring->look_for_hangup(ends.near), Ring::Hangup::ended);
        char waiting[16];
        EXPECT_EQ(ring->peek(ends.near, waiting), 4u);
        EXPECT_EQ(ring->peek(ends.near, waiting), 4u);
        EXPECT_EQ(std::string(waiting, 4), "RSET");
    }
    {
        Ends ends;
        ::close(std::exchange(ends.far, -1));
        EXPECT_EQ(ring->look_for_hangup(ends.near), Ring::Hangup::ended);
        char waiting[16];
        EXPECT_EQ(ring->peek(ends.near, waiting), 0u);
    }
    Ends ends;
    reset(std::exchange(ends.far, -1));
    EXPECT_EQ(ring->look_for_hangup(ends.near), Ring::Hangup::reset);
}

TEST(Ring, LeavesNoDescriptorAndNoBlockBehind) {
    NoLeak leak;
    for (int i = 0; i < 20; ++i) {
        auto ring = make_ring();
        ring->turn(base::Instant::min());
    }
}

}  // namespace
}  // namespace postern::io::test

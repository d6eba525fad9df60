#include "tests/sim/greeter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

std::string talk(const Loopback& loopback, int number) {
    const int socket = loopback.dial();
    std::string heard;
    char buffer[512];
    const auto hear = [&] {
        const ssize_t count = ::recv(socket, buffer, sizeof buffer, 0);
        heard.append(buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        return count > 0;
    };
    EXPECT_TRUE(hear());
    if (number % 5 == 4) {
        reset(socket);
        return heard;
    }
    for (const char octet : std::string_view("NOOP\r\nQUIT\r\n")) {
        EXPECT_EQ(::write(socket, &octet, 1), 1);
    }
    while (hear()) {
    }
    ::close(socket);
    return heard;
}

/// The whole worker of tests/sim over loopback: what runs under seeds there runs here against a
/// kernel.
TEST(Greeter, ServesAllAndReturnsAllOnTheRealRing) {
    constexpr int clients = 400;
    constexpr int threads = 4;
    NoLeak leak;
    auto ring = make_ring({.entries = 16, .command_buffers_offered = 4, .command_buffers_max = 4});
    Loopback loopback;
    sim::Greeter greeter(*ring, loopback.release());
    std::atomic<int> done{0};
    std::vector<std::thread> callers;
    for (int thread = 0; thread < threads; ++thread) {
        callers.emplace_back([&, thread] {
            for (int number = thread; number < clients; number += threads) {
                const std::string heard = talk(loopback, number);
                EXPECT_EQ(
                    heard, number % 5 == 4 ? "220 greeter\r\n" : "220 greeter\r\n221 bye\r\n");
            }
            ++done;
        });
    }
    const int lingering = loopback.dial();  // says nothing until the end
    const base::Instant end = ring->now() + seconds(20);
    while ((done < threads || greeter.served < clients) && ring->now() < end) {
        greeter.turn(std::min(greeter.next(), ring->now() + milliseconds(20)));
    }
    for (std::thread& caller : callers) {
        caller.join();
    }
    EXPECT_EQ(greeter.served, unsigned{clients});
    EXPECT_EQ(greeter.said_quit, unsigned{clients} * 4 / 5);
    greeter.shut_down();
    while (!greeter.over() && ring->now() < end) {
        greeter.turn(ring->now() + milliseconds(20));
    }
    ASSERT_TRUE(greeter.over());
    EXPECT_EQ(greeter.served, unsigned{clients} + 1);
    ::close(lingering);
    ring->turn(base::Instant::min());
    EXPECT_EQ(
        ring->buffers(BufferGroup::command).used(), ring->buffers_offered(BufferGroup::command));
}

}  // namespace
}  // namespace postern::io::test

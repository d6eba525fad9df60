#include "postern/io/listener.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

struct Host final : ListenerOwner {
    explicit Host(Ring& r) : ring(r), timers(r.now()), listener(r, timers, *this) {}

    void on_accepted(int descriptor) override { accepted.push_back(descriptor); }

    void on_accept_paused(int error) override {
        ++pauses;
        pause_error = error;
    }

    void on_listener_closed() override { ++closed; }

    template <class Done>
    bool run_until(Done done) {
        return turn_until(ring, [&] {
            timers.run(ring.now());
            return done();
        });
    }

    void close() {
        listener.close();
        EXPECT_EQ(closed, 0);
        EXPECT_TRUE(run_until([&] { return closed == 1; }));
        for (int descriptor : accepted) {
            ::close(descriptor);
        }
    }

    Ring& ring;
    Timers timers;
    Listener listener;
    std::vector<int> accepted;
    int pauses = 0, pause_error = 0, closed = 0;
};

TEST(Listener, AcceptsManyBlockingSocketsWithNoDelay) {
    NoLeak leak;
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    std::vector<int> far;
    for (int i = 0; i < 100; ++i) {
        far.push_back(loopback.dial());
    }
    ASSERT_TRUE(host.run_until([&] { return host.accepted.size() == far.size(); }));
    for (int descriptor : host.accepted) {
        int no_delay = 0;
        socklen_t size = sizeof no_delay;
        getsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
        EXPECT_NE(no_delay, 0);
        EXPECT_EQ(fcntl(descriptor, F_GETFL) & O_NONBLOCK, 0);
        EXPECT_NE(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0);
    }
    host.close();
    for (int socket : far) {
        ::close(socket);
    }
}

/// Out of descriptors: it pauses instead of spinning, loses no connection, and goes on when there
/// are some again.
TEST(Listener, PausesWhenDescriptorsHaveRunOut) {
    NoLeak leak;
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    const int far = loopback.dial();

    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const bool paused = host.run_until([&] { return host.pauses == 1; });
    const auto turns = ring->counters().completions;
    const base::Instant end = ring->now() + 3 * Listener::pause;
    host.run_until([&] { return ring->now() > end; });
    setrlimit(RLIMIT_NOFILE, &before);

    ASSERT_TRUE(paused);
    EXPECT_EQ(host.pause_error, EMFILE);
    EXPECT_LE(ring->counters().completions - turns, 5u) << "it spins";
    EXPECT_TRUE(host.accepted.empty());
    ASSERT_TRUE(host.run_until([&] { return host.accepted.size() == 1; }));
    host.close();
    ::close(far);
}

TEST(Listener, ClosesWhilePaused) {
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    const int far = loopback.dial();
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    const bool paused = host.run_until([&] { return host.pauses == 1; });
    setrlimit(RLIMIT_NOFILE, &before);
    ASSERT_TRUE(paused);
    host.close();
    EXPECT_TRUE(host.accepted.empty());
    ::close(far);
}

TEST(Listener, WhatComesWhileItClosesIsClosed) {
    NoLeak leak;
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    const int far = loopback.dial();
    host.close();  // the accept and its end come in one turn
    EXPECT_TRUE(host.accepted.empty());
    EXPECT_EQ(host.listener.descriptor(), -1);
    ::close(far);
}

/// Everything that has connected is accepted, also what comes while it ends.
TEST(Listener, DrainedItLosesNobody) {
    NoLeak leak;
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    std::vector<int> far;
    for (int i = 0; i < 20; ++i) {
        far.push_back(loopback.dial());
    }
    host.listener.drain();
    far.push_back(loopback.dial());
    host.listener.drain();
    ASSERT_TRUE(host.run_until([&] { return host.closed == 1; }));
    EXPECT_EQ(host.accepted.size(), far.size());
    EXPECT_EQ(host.listener.descriptor(), -1);
    for (int socket : host.accepted) {
        ::close(socket);
    }
    for (int socket : far) {
        ::close(socket);
    }
}

TEST(Listener, ClosedWhileItDrainsItIsSoonOver) {
    NoLeak leak;
    auto ring = make_ring();
    Host host(*ring);
    Loopback loopback;
    host.listener.open(loopback.release());
    host.listener.drain();
    host.close();
}

TEST(Listener, TwoWorkersShareAnAddressAndOthersMayNot) {
    Loopback first;
    auto second = open_listener(first.address);
    ASSERT_TRUE(second.ok());
    ::close(*second);

    const int foreign = ::socket(AF_INET, SOCK_STREAM, 0);  // without SO_REUSEPORT
    const Address any = *Address::parse("127.0.0.1:0");
    ASSERT_EQ(bind(foreign, any.raw(), any.raw_size()), 0);
    ASSERT_EQ(listen(foreign, 1), 0);
    sockaddr_storage raw{};
    socklen_t size = sizeof raw;
    getsockname(foreign, reinterpret_cast<sockaddr*>(&raw), &size);
    const Address taken = Address::from(reinterpret_cast<sockaddr*>(&raw));
    auto refused = open_listener(taken);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(
        refused.error().text, "cannot listen on " + taken.text() + ": Address already in use");
    ::close(foreign);
}

TEST(Listener, AnIpv6ListenerLeavesTheIpv4PortFree) {
    Loopback v6("::");
    auto v4 = open_listener(*Address::parse("0.0.0.0", v6.address.port()));
    EXPECT_TRUE(v4.ok()) << v4.error().text;
    ::close(*v4);
}

}  // namespace
}  // namespace postern::io::test

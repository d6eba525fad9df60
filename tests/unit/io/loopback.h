#pragma once

#include <gtest/gtest.h>

#include <dirent.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>

#include "postern/io/ring.h"
#include "postern/io/stream.h"

/// What the tests of the real ring share: a ring, the far end of a connection as a plain socket, a
/// stream's owner that writes down what it is told.
namespace postern::io::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline std::unique_ptr<Ring> make_ring(const RingOptions& options = {}) {
    auto ring = Ring::create(options);
    if (!ring) {
        ADD_FAILURE() << ring.error().text;
        std::abort();
    }
    return std::move(*ring);
}

/// Turns until `done()`; false after a minute, which only a machine that has stopped needs.
template <class Done>
bool turn_until(Ring& ring, Done done) {
    const base::Instant end = ring.now() + seconds(60);
    while (!done()) {
        if (ring.now() > end) {
            return false;
        }
        ring.turn(ring.now() + milliseconds(20));
    }
    return true;
}

/// Turns for a while in which nothing that matters is to happen.
inline void turn_for(Ring& ring, base::Duration time) {
    const base::Instant end = ring.now() + time;
    while (ring.now() < end) {
        ring.turn(end);
    }
}

inline std::size_t open_descriptors() {
    std::size_t count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) {
        ++count;
    }
    closedir(folder);
    return count;
}

/// Fails if the body of a test leaves a descriptor open.
class NoLeak {
   public:
    ~NoLeak() { EXPECT_EQ(open_descriptors(), before_) << "descriptors were left open"; }

   private:
    std::size_t before_ = open_descriptors();
};

/// A listening socket on a free port of loopback.
struct Loopback {
    explicit Loopback(const char* host = "127.0.0.1") {
        auto made = open_listener(*Address::parse(host, 0));
        EXPECT_TRUE(made.ok()) << (made ? "" : made.error().text);
        descriptor = *made;
        sockaddr_storage raw{};
        socklen_t size = sizeof raw;
        getsockname(descriptor, reinterpret_cast<sockaddr*>(&raw), &size);
        address = Address::from(reinterpret_cast<sockaddr*>(&raw));
    }

    ~Loopback() { close_now(); }

    Loopback(const Loopback&) = delete;

    /// The far end of a new connection: a plain blocking socket.
    int dial(int receive_buffer = 0) const {
        const int socket =
            ::socket(address.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (receive_buffer > 0) {
            setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
        }
        EXPECT_EQ(::connect(socket, address.raw(), address.raw_size()), 0) << strerror(errno);
        return socket;
    }

    int answer() const { return ::accept4(descriptor, nullptr, nullptr, SOCK_CLOEXEC); }

    int release() { return std::exchange(descriptor, -1); }

    void close_now() {
        if (descriptor >= 0) {
            ::close(std::exchange(descriptor, -1));
        }
    }

    int descriptor = -1;
    Address address;
};

/// Ends a plain socket with a reset, not with an end of stream.
inline void reset(int socket) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(socket);
}

inline std::string read_some(int socket) {
    char buffer[65536];
    const ssize_t count = ::recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
    return count > 0 ? std::string(buffer, static_cast<std::size_t>(count)) : std::string();
}

inline std::string octets(std::size_t count) {
    std::string text(count, '\0');
    for (std::size_t i = 0; i < count; ++i) {
        text[i] = static_cast<char>((i * 2654435761u) >> 24);
    }
    return text;
}

/// Writes down what it is told; receives on by itself if `greedy`.
class Recorder final : public StreamOwner {
   public:
    explicit Recorder(Ring& ring) : stream(ring, *this) {}

    void on_connected(int error) override {
        ++connected;
        connect_error = error;
    }

    void on_received(base::BlockRef block, std::string_view bytes, int error) override {
        EXPECT_EQ(closed, 0);
        receive_error = error;
        ended = ended || (bytes.empty() && error == 0);
        received += bytes;
        ++receives;
        if (keep_blocks) {
            kept.push_back(std::move(block));
        }
        if (close_on_receive) {
            stream.close();
        } else if (greedy && !ended && error == 0) {
            stream.receive(group);
        }
    }

    void on_sent(int error) override {
        ++sent;
        send_error = error;
    }

    void on_closed() override {
        ++closed;
        EXPECT_FALSE(stream.receiving() || stream.sending());
        EXPECT_EQ(stream.descriptor(), -1);
    }

    Stream stream;
    BufferGroup group = BufferGroup::command;
    bool greedy = false, keep_blocks = false, close_on_receive = false;
    std::vector<base::BlockRef> kept;
    std::string received;
    int connected = 0, receives = 0, sent = 0, closed = 0;
    int connect_error = -1, receive_error = -1, send_error = -1;
    bool ended = false;
};

}  // namespace postern::io::test

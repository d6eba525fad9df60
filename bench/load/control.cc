#include "bench/load/control.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>

namespace postern::bench {

namespace {

constexpr timeval patience{30, 0};

class Socket {
   public:
    explicit Socket(int descriptor) : descriptor_(descriptor) {}

    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    ~Socket() {
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
    }

    int descriptor() const { return descriptor_; }

    bool valid() const { return descriptor_ >= 0; }

    void set_patience() const {
        ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }

    // Where there is patience, a process that was stopped and goes on finds its calls interrupted,
    // too.
    bool write(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) {
                continue;
            }
            if (sent <= 0) {
                return false;
            }
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    bool read(char* to, std::size_t size) const {
        while (size > 0) {
            const ssize_t got = ::recv(descriptor_, to, size, 0);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                return false;
            }
            to += got;
            size -= static_cast<std::size_t>(got);
        }
        return true;
    }

    bool read_line(std::string& line) const {
        line.clear();
        for (char c = 0; read(&c, 1);) {
            if (c == '\n') {
                return true;
            }
            line += c;
        }
        return false;
    }

   private:
    int descriptor_;
};

void answer(const Socket& peer, const ControlHandlers& handlers) {
    static constexpr std::string_view deliveries = "deliveries ";
    std::string line;
    if (!peer.read_line(line)) {
        return;
    }
    if (line == "report") {
        peer.write(handlers.report().dump() + "\n");
    } else if (line.starts_with(deliveries)) {
        std::uint32_t run = 0;
        std::from_chars(line.data() + deliveries.size(), line.data() + line.size(), run, 16);
        const std::vector<std::uint64_t> words = handlers.deliveries(run);
        const std::uint64_t count = words.size();
        peer.write({reinterpret_cast<const char*>(&count), sizeof count});
        peer.write({reinterpret_cast<const char*>(words.data()), words.size() * sizeof count});
    }
}

int connect_to(const io::Address& address) {
    const int descriptor = ::socket(address.raw()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && ::connect(descriptor, address.raw(), address.raw_size()) != 0) {
        const int error = errno;
        ::close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

base::Error no_sink(const io::Address& sink, std::string_view why) {
    return {fmt::format("cannot ask the sink at {}: {}", sink.text(), why)};
}

}  // namespace

base::Result<int> listen_for_control(io::Address& address) {
    const int on = 1;
    Socket socket(::socket(address.raw()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage bound{};
    socklen_t bound_size = sizeof bound;
    ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!socket.valid() || ::bind(socket.descriptor(), address.raw(), address.raw_size()) != 0 ||
        ::listen(socket.descriptor(), 16) != 0 ||
        ::getsockname(socket.descriptor(), reinterpret_cast<sockaddr*>(&bound), &bound_size) != 0) {
        return base::Error{
            fmt::format("cannot listen on {}: {}", address.text(), std::strerror(errno))};
    }
    address = io::Address::from(reinterpret_cast<const sockaddr*>(&bound));
    return ::dup(socket.descriptor());
}

void serve_control(int listener, int wait_ms, const ControlHandlers& handlers) {
    pollfd ready{listener, POLLIN, 0};
    if (::poll(&ready, 1, wait_ms) > 0) {
        const Socket peer(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (peer.valid()) {
            peer.set_patience();
            answer(peer, handlers);
        }
    }
}

base::Result<nlohmann::ordered_json> ask_report(const io::Address& sink) {
    const Socket socket(connect_to(sink));
    if (!socket.valid()) {
        return no_sink(sink, std::strerror(errno));
    }
    socket.set_patience();
    std::string line;
    if (!socket.write("report\n") || !socket.read_line(line)) {
        return no_sink(sink, "it did not answer");
    }
    nlohmann::ordered_json report = nlohmann::ordered_json::parse(line, nullptr, false);
    if (!report.is_object()) {
        return no_sink(sink, "its answer is no report");
    }
    return report;
}

base::Result<std::vector<Delivery>> ask_deliveries(const io::Address& sink, std::uint32_t run) {
    const Socket socket(connect_to(sink));
    if (!socket.valid()) {
        return no_sink(sink, std::strerror(errno));
    }
    socket.set_patience();
    std::uint64_t count = 0;
    if (!socket.write(fmt::format("deliveries {:08x}\n", run)) ||
        !socket.read(reinterpret_cast<char*>(&count), sizeof count)) {
        return no_sink(sink, "it did not answer");
    }
    std::vector<std::uint64_t> words(count);
    std::vector<Delivery> deliveries;
    if (!socket.read(reinterpret_cast<char*>(words.data()), count * sizeof count) ||
        !read_deliveries(words, deliveries)) {
        return no_sink(sink, "its answer was cut short");
    }
    return deliveries;
}

}  // namespace postern::bench

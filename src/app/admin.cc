#include "admin.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "admin_pages.h"
#include "postern/base/assert.h"
#include "postern/io/address.h"
#include "postern/io/clock.h"
#include "privileges.h"

namespace postern::app {
namespace {

namespace fs = std::filesystem;

constexpr base::Duration request_time_max = std::chrono::seconds(2);
constexpr base::Duration answer_time_max = std::chrono::seconds(10);
constexpr base::Duration accept_pause = std::chrono::milliseconds(100);
/// A reload holds one until it is done.
constexpr unsigned threads = 16;
constexpr std::size_t peers_max = 128;
/// So many are accepted before those that are here are looked at again.
constexpr int accepted_at_a_time = 16;

// --- connections ---------------------------------------------------------------------------------

/// One connection: one request, one answer.
struct Peer {
    enum class State : std::uint8_t { asking, waiting, being_told, over };

    int socket = -1;
    State state = State::asking;
    base::Instant deadline;
    std::string request;
    std::string answer;
    std::size_t sent = 0;
};

/// Gathers requests and sends answers for many connections on one thread, so that no peer that is
/// slow, or says nothing, holds a thread: those of the pool get whole requests only. Each request
/// and each answer has its time; past peers_max the one that has been here longest without being
/// answered makes way for the new one, and where all wait for theirs, the new one waits in the
/// kernel.
class Peers {
   public:
    Peers(int listener, const AdminPages& pages)
        : listener_(listener), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), pages_(pages) {
        for (unsigned i = 0; i < threads; ++i) {
            threads_.emplace_back([this] {
                pthread_setname_np(pthread_self(), "admin answers");
                forget_capabilities();
                work();
            });
        }
        threads_.emplace_back([this] {
            pthread_setname_np(pthread_self(), "admin");
            forget_capabilities();
            serve();
        });
    }

    ~Peers() {
        {
            const std::lock_guard held(lock_);
            ending_ = true;
        }
        asked_.notify_all();
        eventfd_write(wake_, 1);
        for (std::thread& thread : threads_) {
            thread.join();
        }
        for (Peer& peer : peers_) {
            end(peer);
        }
        ::close(wake_);
        ::close(listener_);
    }

    Peers(const Peers&) = delete;
    Peers& operator=(const Peers&) = delete;

   private:
    // --- the threads of the pool ---

    void work() {
        std::unique_lock held(lock_);
        for (;;) {
            asked_.wait(held, [this] { return ending_ || !whole_.empty(); });
            if (ending_) {
                return;
            }
            Peer& peer = *whole_.front();
            whole_.pop_front();
            held.unlock();
            peer.answer = pages_.answer(peer.request);
            held.lock();
            answered_.push_back(&peer);
            eventfd_write(wake_, 1);
        }
    }

    // --- the thread of the connections ---

    void serve() {
        for (;;) {
            wait();
            eventfd_t count = 0;
            eventfd_read(wake_, &count);
            std::deque<Peer*> answered;
            {
                const std::lock_guard held(lock_);
                if (ending_) {
                    return;
                }
                answered.swap(answered_);
            }
            now_ = io::monotonic_time();
            for (Peer* const peer : answered) {
                peer->state = Peer::State::being_told;
                peer->deadline = now_ + answer_time_max;
            }
            for (Peer& peer : peers_) {
                go_on(peer);
            }
            if (now_ >= accept_from_) {
                accept();
            }
            peers_.remove_if([](const Peer& peer) { return peer.state == Peer::State::over; });
        }
    }

    /// Until something can be done, or some time is over.
    void wait() {
        now_ = io::monotonic_time();
        base::Instant until = base::Instant::max();
        polled_.assign(1, {wake_, POLLIN, 0});
        if (now_ >= accept_from_) {
            polled_.push_back({listener_, POLLIN, 0});
        } else {
            until = accept_from_;
        }
        for (const Peer& peer : peers_) {
            if (peer.state != Peer::State::waiting) {
                const bool reading = peer.state == Peer::State::asking;
                polled_.push_back({peer.socket, static_cast<short>(reading ? POLLIN : POLLOUT), 0});
                until = std::min(until, peer.deadline);
            }
        }
        const base::Duration left = std::max(until - now_, base::Duration(0));
        const int wait_ms =
            until == base::Instant::max() ? -1 : static_cast<int>(base::to_ms(left)) + 1;
        ::poll(polled_.data(), polled_.size(), wait_ms);
    }

    void accept() {
        for (int i = 0; i < accepted_at_a_time; ++i) {
            const bool full = peers_.size() >= peers_max;
            const auto oldest = std::find_if(peers_.begin(), peers_.end(), [](const Peer& each) {
                return each.state != Peer::State::waiting;
            });
            if (full && oldest == peers_.end()) {
                accept_from_ = now_ + accept_pause;  // the kernel keeps the others, up to a bound
                return;
            }
            const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (socket < 0) {
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                    accept_from_ = now_ + accept_pause;
                }
                return;
            }
            if (full) {
                end(*oldest);
                peers_.erase(oldest);
            }
            Peer& peer = peers_.emplace_back();
            peer.socket = socket;
            peer.deadline = now_ + request_time_max;
            go_on(peer);
        }
    }

    void go_on(Peer& peer) {
        if (peer.state == Peer::State::asking) {
            read(peer);
        }
        if (peer.state == Peer::State::being_told) {
            write(peer);
        }
        const bool ours_to_wait =
            peer.state == Peer::State::asking || peer.state == Peer::State::being_told;
        if (ours_to_wait && now_ >= peer.deadline) {
            end(peer);
        }
    }

    void read(Peer& peer) {
        char octets[4096];
        for (;;) {
            const auto size = admin_request_octets(peer.request);
            if (size && peer.request.size() >= *size) {
                peer.state = Peer::State::waiting;
                const std::lock_guard held(lock_);
                whole_.push_back(&peer);
                asked_.notify_one();
                return;
            }
            const std::size_t room =
                std::min(sizeof octets, admin_request_octets_max - peer.request.size());
            const ssize_t count = ::recv(peer.socket, octets, room, 0);
            if (count > 0) {
                peer.request.append(octets, static_cast<std::size_t>(count));
            } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
                end(peer);
                return;
            } else {
                return;
            }
        }
    }

    void write(Peer& peer) {
        while (peer.sent < peer.answer.size()) {
            const ssize_t count = ::send(
                peer.socket,
                peer.answer.data() + peer.sent,
                peer.answer.size() - peer.sent,
                MSG_NOSIGNAL);
            if (count > 0) {
                peer.sent += static_cast<std::size_t>(count);
            } else if (errno == EAGAIN || errno == EINTR) {
                return;
            } else {
                break;
            }
        }
        end(peer);
    }

    static void end(Peer& peer) {
        if (peer.state != Peer::State::over) {
            peer.state = Peer::State::over;
            ::shutdown(peer.socket, SHUT_RDWR);
            ::close(peer.socket);
        }
    }

    const int listener_;
    const int wake_;
    const AdminPages& pages_;
    // Of the thread of the connections.
    base::Instant now_{};
    base::Instant accept_from_{};
    std::list<Peer> peers_;  // the oldest first; they do not move while a thread answers one
    std::vector<pollfd> polled_;
    // Of all threads.
    std::mutex lock_;
    std::condition_variable asked_;
    std::deque<Peer*> whole_;     // requests that nobody has taken yet
    std::deque<Peer*> answered_;  // for the thread of the connections
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

// --- the Unix socket -----------------------------------------------------------------------------

sockaddr_un unix_address(const fs::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return address;
}

/// Makes way for a socket at `path`: its folder, and no socket of one that is gone.
base::Result<void> make_way(const fs::path& path) {
    std::error_code error;
    if (path.has_parent_path()) {
        fs::create_directories(path.parent_path(), error);
    }
    if (error) {
        return base::Error{fmt::format(
            "the folder {} of the admin socket cannot be made: {}; make it, or set admin.address",
            path.parent_path().string(),
            error.message())};
    }

    struct stat found {};

    if (::lstat(path.c_str(), &found) != 0) {
        return {};
    }
    if (!S_ISSOCK(found.st_mode)) {
        return base::Error{fmt::format(
            "{} is there and is no socket; move it away, or set admin.address", path.string())};
    }
    const sockaddr_un address = unix_address(path);
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool refused =
        ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno == ECONNREFUSED;
    ::close(probe);
    if (!refused) {
        return base::Error{fmt::format(
            "another process answers at the admin socket {}; stop it first, or set admin.address",
            path.string())};
    }
    if (::unlink(path.c_str()) != 0) {
        return base::Error{fmt::format(
            "the old admin socket {} cannot be removed: {}", path.string(), std::strerror(errno))};
    }
    return {};
}

// --- the server ----------------------------------------------------------------------------------

base::Error cannot_listen(const std::string& name) {
    return {fmt::format("admin.address {} cannot be listened on: {}", name, std::strerror(errno))};
}

base::Result<int> listen_at(const std::string& name, const sockaddr* address, socklen_t size) {
    const int socket = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) {
        return cannot_listen(name);
    }
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    // The mode of a Unix socket becomes that of the file that bind makes.
    ::fchmod(socket, 0660);
    const mode_t mask = ::umask(0);  // nothing else makes files yet
    const bool listens = ::bind(socket, address, size) == 0 && ::listen(socket, SOMAXCONN) == 0;
    const int error = errno;
    ::umask(mask);
    if (!listens) {
        ::close(socket);
        errno = error;
        return cannot_listen(name);
    }
    return socket;
}

base::Result<int> listen_at(const config::AdminAddress& where) {
    if (!where.socket.empty()) {
        if (base::Result<void> made = make_way(where.socket); !made) {
            return made.error();
        }
        const sockaddr_un address = unix_address(where.socket);
        return listen_at(
            where.socket.string(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
    const auto address = io::Address::parse(where.endpoint.host, where.endpoint.port);
    POSTERN_ASSERT(address.has_value(), "the admin address was checked");
    return listen_at(
        fmt::format("{}:{}", where.endpoint.host, where.endpoint.port),
        address->raw(),
        address->raw_size());
}

class Serving final : public Admin {
   public:
    Serving(const config::AdminAddress& address, int listener, AdminAnswers answers)
        : socket_(address.socket), pages_(address, std::move(answers)), peers_(listener, pages_) {}

    ~Serving() override {
        if (!socket_.empty()) {
            ::unlink(socket_.c_str());
        }
    }

   private:
    const fs::path socket_;
    const AdminPages pages_;
    Peers peers_;
};

}  // namespace

base::Result<int> Admin::listen(const config::AdminAddress& address) {
    return listen_at(address);
}

std::unique_ptr<Admin> Admin::serve(
    const config::AdminAddress& address, int listener, AdminAnswers answers) {
    return std::make_unique<Serving>(address, listener, std::move(answers));
}

}  // namespace postern::app

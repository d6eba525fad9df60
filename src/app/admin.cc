#include "admin.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "postern/io/clock.h"

namespace postern::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t request_octets_max = 16 * 1024;  // all of it, headers and body
constexpr base::Duration request_time_max = std::chrono::seconds(2);
constexpr base::Duration answer_time_max = std::chrono::seconds(10);
constexpr unsigned threads = 16;
constexpr std::size_t waiting_max = 16;  // connections beside those being served
constexpr int unix_port = 1;             // httplib wants one, and does not use it

// --- one connection ------------------------------------------------------------------------------

/// What httplib reads from and writes to. Ends by itself: after so many octets or so much time, a
/// request is over, however it goes on.
class Connection final : public httplib::Stream {
   public:
    explicit Connection(int socket)
        : socket_(socket), deadline_(io::monotonic_time() + request_time_max) {}

    ~Connection() override {
        ::shutdown(socket_, SHUT_RDWR);
        ::close(socket_);
    }

    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    bool is_readable() const override { return read_ < filled_ || wait(POLLIN); }

    bool is_writable() const override { return wait(POLLOUT); }

    ssize_t read(char* into, std::size_t size) override {
        if (read_ == filled_ && !fill()) {
            return -1;
        }
        const std::size_t count = std::min(size, filled_ - read_);
        std::memcpy(into, buffer_ + read_, count);
        read_ += count;
        return static_cast<ssize_t>(count);
    }

    ssize_t write(const char* from, std::size_t size) override {
        if (!answering_) {
            answering_ = true;
            deadline_ = io::monotonic_time() + answer_time_max;
        }
        std::size_t written = 0;
        while (written < size) {
            const ssize_t count =
                ::send(socket_, from + written, size - written, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count > 0) {
                written += static_cast<std::size_t>(count);
            } else if ((errno != EAGAIN && errno != EINTR) || !wait(POLLOUT)) {
                return -1;
            }
        }
        return static_cast<ssize_t>(size);
    }

    void get_remote_ip_and_port(std::string& ip, int& port) const override {
        ip.clear();
        port = 0;
    }

    void get_local_ip_and_port(std::string& ip, int& port) const override {
        ip.clear();
        port = 0;
    }

    socket_t socket() const override { return socket_; }

   private:
    bool wait(short events) const {
        const base::Duration left = deadline_ - io::monotonic_time();
        pollfd ready{socket_, events, 0};
        return left > base::Duration(0) &&
               ::poll(&ready, 1, static_cast<int>(base::to_ms(left)) + 1) > 0;
    }

    bool fill() {
        if (octets_ >= request_octets_max || !wait(POLLIN)) {
            return false;
        }
        const ssize_t count = ::recv(socket_, buffer_, sizeof buffer_, MSG_DONTWAIT);
        if (count <= 0) {
            return false;
        }
        read_ = 0;
        filled_ = static_cast<std::size_t>(count);
        octets_ += filled_;
        return true;
    }

    const int socket_;
    base::Instant deadline_;
    bool answering_ = false;
    std::size_t octets_ = 0;
    std::size_t read_ = 0;
    std::size_t filled_ = 0;
    char buffer_[4096];
};

/// Set on the accepting thread while a connection is to be closed without being read.
thread_local bool turned_away = false;

/// A few threads and a short queue; connections past it are closed.
class Threads final : public httplib::TaskQueue {
   public:
    Threads() {
        for (unsigned i = 0; i < threads; ++i) {
            threads_.emplace_back([this] { work(); });
        }
    }

    void enqueue(std::function<void()> task) override {
        {
            const std::lock_guard held(lock_);
            if (tasks_.size() < waiting_max) {
                tasks_.push_back(std::move(task));
                changed_.notify_one();
                return;
            }
        }
        turned_away = true;
        task();
        turned_away = false;
    }

    void shutdown() override {
        {
            const std::lock_guard held(lock_);
            ending_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

   private:
    void work() {
        for (;;) {
            std::function<void()> task;
            {
                std::unique_lock held(lock_);
                changed_.wait(held, [this] { return ending_ || !tasks_.empty(); });
                if (tasks_.empty()) {
                    return;
                }
                task = std::move(tasks_.front());
                tasks_.pop_front();
            }
            task();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    std::vector<std::thread> threads_;
    bool ending_ = false;
};

class Server final : public httplib::Server {
    // httplib's own would wait for each piece of a request anew, without an end.
    bool process_and_close_socket(socket_t socket) override {
        Connection connection(socket);
        bool closed = false;
        return !turned_away && process_request(connection, true, closed, nullptr);
    }
};

// --- permission ----------------------------------------------------------------------------------

/// In a time that does not tell how much of it was right.
bool same(std::string_view shown, std::string_view token) {
    unsigned different = shown.size() == token.size() ? 0 : 1;
    for (std::size_t i = 0; i < shown.size() && !token.empty(); ++i) {
        different |= static_cast<unsigned char>(shown[i] ^ token[i % token.size()]);
    }
    return different == 0;
}

bool open_to_all(const httplib::Request& request) {
    return (request.method == "GET" || request.method == "HEAD") &&
           (request.path == "/metrics" || request.path == "/health" || request.path == "/ready");
}

bool flag(const httplib::Request& request, const char* name) {
    return request.has_param(name) && request.get_param_value(name) != "0";
}

// --- the Unix socket -----------------------------------------------------------------------------

/// Makes way for a socket at `path`: its folder, and no socket of one that is gone.
base::Result<void> make_way(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
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
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool refused =
        ::connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
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

class Serving final : public Admin {
   public:
    Serving(const config::Admin& settings, AdminAnswers answers)
        : settings_(settings), answers_(std::move(answers)) {
        server_.new_task_queue = [] { return new Threads; };
        server_.set_payload_max_length(request_octets_max);
        server_.set_pre_routing_handler(
            [this](const auto& request, auto& response) { return permit(request, response); });
        server_.set_exception_handler(
            [](const auto&, auto& response, const std::exception_ptr&) { response.status = 500; });
        const auto get = [this](const char* path, const std::function<AdminAnswer()>& answer) {
            server_.Get(path, [&answer](const auto&, auto& response) { say(response, answer()); });
        };
        get("/metrics", answers_.metrics);
        get("/health", answers_.health);
        get("/ready", answers_.ready);
        server_.Get("/route", [this](const httplib::Request& request, httplib::Response& response) {
            std::vector<std::string> addresses;
            for (std::size_t i = 0; i < request.get_param_value_count("address"); ++i) {
                addresses.push_back(request.get_param_value("address", i));
            }
            say(response,
                answers_.route(addresses, request.get_param_value("from"), flag(request, "json")));
        });
        server_.Post(
            "/reload", [this](const httplib::Request& request, httplib::Response& response) {
                say(response, answers_.reload(flag(request, "dry_run"), flag(request, "force")));
            });
    }

    ~Serving() override {
        if (thread_.joinable()) {
            server_.stop();
            thread_.join();
            if (is_unix()) {
                ::unlink(settings_.address.socket.c_str());
            }
        }
    }

    base::Result<void> start() {
        bool bound = false;
        if (is_unix()) {
            const fs::path& path = settings_.address.socket;
            if (base::Result<void> made = make_way(path); !made) {
                return made;
            }
            server_.set_address_family(AF_UNIX);
            // The mode of the socket becomes that of the file that bind makes.
            server_.set_socket_options([](socket_t socket) { ::fchmod(socket, 0660); });
            const mode_t mask = ::umask(0);  // nothing else makes files yet
            errno = 0;
            bound = server_.bind_to_port(path.string(), unix_port);
            ::umask(mask);
        } else {
            server_.set_socket_options([](socket_t socket) {
                const int yes = 1;
                ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
            });
            errno = 0;
            bound = server_.bind_to_port(
                settings_.address.endpoint.host, settings_.address.endpoint.port);
        }
        if (!bound) {
            return base::Error{fmt::format(
                "admin.address {} cannot be listened on: {}",
                is_unix() ? settings_.address.socket.string()
                          : fmt::format(
                                "{}:{}",
                                settings_.address.endpoint.host,
                                settings_.address.endpoint.port),
                std::strerror(errno))};
        }
        thread_ = std::thread([this] {
            pthread_setname_np(pthread_self(), "admin");
            server_.listen_after_bind();
        });
        while (!server_.is_running()) {  // until then `stop` would do nothing
            ::poll(nullptr, 0, 1);
        }
        return {};
    }

   private:
    bool is_unix() const { return !settings_.address.socket.empty(); }

    httplib::Server::HandlerResponse permit(
        const httplib::Request& request, httplib::Response& response) const {
        if (is_unix() || open_to_all(request)) {
            return httplib::Server::HandlerResponse::Unhandled;
        }
        const bool may =
            !settings_.token.empty() &&
            same(request.get_header_value("Authorization"), "Bearer " + settings_.token);
        if (may) {
            return httplib::Server::HandlerResponse::Unhandled;
        }
        say(response,
            {403,
             "text/plain",
             settings_.token.empty()
                 ? "over TCP only GET /metrics, /health and /ready are served; set admin.token, or "
                   "use a unix: address, for more\n"
                 : "this needs the header Authorization: Bearer TOKEN, with that of "
                   "admin.token\n"});
        return httplib::Server::HandlerResponse::Handled;
    }

    static void say(httplib::Response& response, const AdminAnswer& answer) {
        response.status = answer.status;
        response.set_content(answer.body, answer.type.c_str());
    }

    const config::Admin settings_;
    const AdminAnswers answers_;
    Server server_;
    std::thread thread_;
};

}  // namespace

base::Result<std::unique_ptr<Admin>> Admin::start(
    const config::Admin& settings, AdminAnswers answers) {
    auto serving = std::make_unique<Serving>(settings, std::move(answers));
    if (base::Result<void> started = serving->start(); !started) {
        return started.error();
    }
    return std::unique_ptr<Admin>(std::move(serving));
}

}  // namespace postern::app

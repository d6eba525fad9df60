#include "host_look.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "postern/smtp/reply_parser.h"
#include "postern/tls/session.h"

namespace postern::app {
namespace {

constexpr int wait_ms = 5000;

/// A connection that waits for whatever it is told to do.
class Line {
   public:
    explicit Line(const io::Address& host)
        : socket_(::socket(host.raw()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        if (socket_ < 0) {
            error_ = errno;
            return;
        }
        if (connect(socket_, host.raw(), host.raw_size()) == 0) {
            return;
        }
        error_ = errno;
        if (error_ == EINPROGRESS) {
            socklen_t size = sizeof error_;
            if (!wait(POLLOUT) || getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error_, &size) != 0) {
                error_ = ETIMEDOUT;
            }
        }
    }

    ~Line() {
        if (socket_ >= 0) {
            close(socket_);
        }
    }

    Line(const Line&) = delete;
    Line& operator=(const Line&) = delete;

    int error() const { return error_; }

    bool say(std::string_view text) {
        while (!text.empty()) {
            const ssize_t sent = send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN && wait(POLLOUT)) {
                continue;
            }
            if (sent <= 0) {
                return false;
            }
            text.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    /// Empty: nothing came.
    std::string_view hear() {
        if (!wait(POLLIN)) {
            return {};
        }
        const ssize_t count = recv(socket_, buffer_.data(), buffer_.size(), 0);
        return {buffer_.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
    }

    /// The next reply, which lives until the one after it; nullopt: what came is none.
    std::optional<smtp::HostReply> reply() {
        said_.clear();
        smtp::ReplyParser parser;
        for (;;) {
            const std::string_view more = hear();
            said_.append(more);
            const auto result = parser.parse(said_);
            if (result.status == smtp::ReplyParser::Status::consumed) {
                return result.reply;
            }
            if (result.status == smtp::ReplyParser::Status::error || more.empty()) {
                return std::nullopt;
            }
        }
    }

    /// In answer to that.
    std::optional<smtp::HostReply> ask(const std::string& command) {
        return say(command + "\r\n") ? reply() : std::nullopt;
    }

   private:
    bool wait(short what) const {
        pollfd ready{socket_, what, 0};
        return poll(&ready, 1, wait_ms) == 1;
    }

    const int socket_;
    int error_ = 0;
    std::array<char, 16384> buffer_;
    std::string said_;
};

/// Empty: it is done.
std::string handshake_trouble(Line& line, tls::Session& session) {
    std::array<char, 32768> room;
    std::string_view heard;
    for (;;) {
        tls::Wire wire{heard, room};
        const tls::Status status = session.handshake(wire);
        line.say({room.data(), room.size() - wire.output.size()});
        switch (status) {
            case tls::Status::done:
                return {};
            case tls::Status::room:
                heard = wire.input;
                break;
            case tls::Status::input:
                heard = line.hear();
                if (heard.empty()) {
                    return "it ended, or no answer came";
                }
                break;
            case tls::Status::ended:
            case tls::Status::failed:
                return session.failure();
        }
    }
}

std::string answer_of(const std::optional<smtp::HostReply>& reply) {
    return reply ? std::string(reply->said()) : "nothing";
}

}  // namespace

HostLook look_at_host(
    const relay::HostAddress& host,
    const relay::PoolSettings& pool,
    const tls::ClientContext* tls) {
    Line line(host.address);
    if (line.error() != 0) {
        return {fmt::format("cannot be connected to: {}", std::strerror(line.error())), {}};
    }
    const auto greeting = line.reply();
    if (!greeting) {
        return {"does not greet", {}};
    }
    if (greeting->code / 100 != 2) {
        return {fmt::format("greets with {} instead of 220", greeting->code), {}};
    }
    if (tls == nullptr) {
        return {};
    }
    const bool required = pool.tls != relay::Tls::opportunistic || !pool.auth_user.empty();
    const auto ehlo = line.ask("EHLO " + pool.helo);
    if (!ehlo || ehlo->code / 100 != 2 ||
        !smtp::parse_capabilities(*ehlo, pool.ehlo_ignore).starttls) {
        return {required ? "does not offer STARTTLS, which the pool requires" : "", {}};
    }
    const std::string consequence = required ? "" : "; mail goes there in plain text";
    const auto starttls = line.ask("STARTTLS");
    if (!starttls || starttls->code / 100 != 2) {
        return {
            fmt::format(
                "offers STARTTLS and answers it with {}{}", answer_of(starttls), consequence),
            {}};
    }
    const std::string& name = pool.tls_name.empty() ? host.name : pool.tls_name;
    const std::string address = host.address.host_text();
    tls::Session session(*tls, {name, name.empty() ? address : name, nullptr});
    const std::string trouble = handshake_trouble(line, session);
    if (!trouble.empty()) {
        return {fmt::format("fails in the TLS handshake: {}{}", trouble, consequence), {}};
    }
    return {{}, fmt::format("{} with {}", session.version(), session.cipher())};
}

}  // namespace postern::app

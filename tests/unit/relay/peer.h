#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "postern/io/address.h"
#include "postern/tls/session.h"

/// A scripted smart host on loopback: a thread that accepts, and one for each connection that runs
/// the script.
namespace postern::relay::test {

class Dialogue {
   public:
    Dialogue(int socket, int n) : number(n), socket_(socket) {}

    ~Dialogue() { ::shutdown(socket_, SHUT_RDWR); }

    Dialogue(const Dialogue&) = delete;

    const int number;  // of the connection, from 0

    void say(std::string_view text) {
        if (tls_ == nullptr) {
            send(text);
            return;
        }
        while (!text.empty()) {
            tls_step("", [&](tls::Wire& wire) { return tls_->write(wire, text); });
        }
    }

    /// As they are, whatever else is spoken.
    void send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
            if (sent <= 0) {
                return;
            }
            text.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    /// The next line without its CRLF; "" at the end of the stream.
    std::string line() {
        std::size_t end = 0;
        while ((end = in_.find("\r\n", begin_)) == std::string::npos) {
            if (!more()) {
                return "";
            }
        }
        const std::string text = in_.substr(begin_, end - begin_);
        begin_ = end + 2;
        return text;
    }

    std::string octets(std::size_t count) {
        while (in_.size() - begin_ < count && more()) {
        }
        const std::string text = in_.substr(begin_, count);
        begin_ += text.size();
        return text;
    }

    /// Up to the lone dot, dots unstuffed.
    std::string data() {
        std::string body;
        for (;;) {
            const std::string text = line();
            if (text == "." || (text.empty() && ended_ && begin_ == in_.size())) {
                return body;
            }
            body += (text.starts_with('.') ? text.substr(1) : text) + "\r\n";
        }
    }

    bool ended() {
        while (!ended_ && more()) {
        }
        return ended_;
    }

    bool more() {
        if (ended_) {
            return false;
        }
        in_.erase(0, begin_);
        begin_ = 0;
        char buffer[65536];
        const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
        ended_ = count <= 0;
        const std::string_view octets(buffer, ended_ ? 0 : static_cast<std::size_t>(count));
        if (tls_ == nullptr) {
            in_.append(octets);
        } else if (!ended_) {
            decrypt(octets);
        }
        return !ended_;
    }

    /// Says that it agrees to STARTTLS, and goes on so. False: the handshake came to nothing.
    bool secure(const tls::ServerContext& context, std::string_view agreed = "220 go\r\n") {
        EXPECT_EQ(line(), "STARTTLS");
        say(agreed);
        tls_ = std::make_unique<tls::Session>(context);
        char buffer[65536];
        std::string_view octets;
        for (;;) {
            const tls::Status status = tls_step(
                octets, [&](tls::Wire& wire) { return tls_->handshake(wire); }, &octets);
            if (status == tls::Status::done) {
                decrypt(octets);
                return true;
            }
            if (status == tls::Status::failed) {
                return false;
            }
            const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
            if (count <= 0) {
                return false;
            }
            octets = {buffer, static_cast<std::size_t>(count)};
        }
    }

    tls::Session& session() { return *tls_; }

    /// close_notify, and nothing more.
    void end_tls() {
        tls_step("", [&](tls::Wire& wire) { return tls_->close(wire); });
    }

    /// All that has come and was not read.
    std::string take() { return std::exchange(in_, {}).substr(std::exchange(begin_, 0)); }

    /// Ends with a reset.
    void reset() {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};
        ::connect(socket_, &nowhere, sizeof nowhere);
    }

    /// The address of the other side.
    std::string from() const {
        sockaddr_in raw{};
        socklen_t size = sizeof raw;
        getpeername(socket_, reinterpret_cast<sockaddr*>(&raw), &size);
        return io::Address::from(reinterpret_cast<sockaddr*>(&raw)).host_text();
    }

    /// From greeting to EHLO's answer. A connection that ends before it has said anything is one
    /// that was just being opened when the test ended.
    void open(std::string_view capabilities) {
        say("220 peer\r\n");
        const std::string said = line();
        EXPECT_TRUE(said == "EHLO gw" || (said.empty() && ended_ && in_.empty())) << said;
        say(capabilities);
    }

   private:
    /// One call; what it has to say is sent.
    template <class Call>
    tls::Status tls_step(std::string_view input, Call&& call, std::string_view* left = nullptr) {
        std::vector<char> room(1 << 16);
        tls::Wire wire{input, room};
        const tls::Status status = call(wire);
        send({room.data(), room.size() - wire.output.size()});
        if (left != nullptr) {
            *left = wire.input;
        }
        return status;
    }

    void decrypt(std::string_view octets) {
        std::vector<char> plain(1 << 16);
        for (tls::Status status = tls::Status::done; status == tls::Status::done;) {
            std::size_t count = 0;
            status = tls_step(
                octets, [&](tls::Wire& wire) { return tls_->read(wire, plain, count); }, &octets);
            in_.append(plain.data(), count);
            ended_ = ended_ || status == tls::Status::ended || status == tls::Status::failed;
        }
    }

    int socket_;
    std::unique_ptr<tls::Session> tls_;
    std::string in_;
    std::size_t begin_ = 0;  // of what was not read
    bool ended_ = false;
};

class Peer {
   public:
    using Script = std::function<void(Dialogue&)>;

    explicit Peer(Script script, std::uint16_t port = 0) : script_(std::move(script)) {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int on = 1;
        setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in raw{};
        raw.sin_family = AF_INET;
        raw.sin_port = htons(port);
        raw.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&raw), sizeof raw), 0);
        EXPECT_EQ(::listen(listener_, 128), 0);
        socklen_t size = sizeof raw;
        getsockname(listener_, reinterpret_cast<sockaddr*>(&raw), &size);
        address = io::Address::from(reinterpret_cast<sockaddr*>(&raw));
        accepting_ = std::thread([this] { accept_all(); });
    }

    ~Peer() {
        stop_accepting();
        for (const int socket : sockets_) {
            ::shutdown(socket, SHUT_RDWR);
        }
        finish();
        for (const int socket : sockets_) {
            ::close(socket);
        }
        ::close(listener_);
    }

    /// Accepts no more; every dialogue has ended when it returns.
    void finish() {
        stop_accepting();
        for (std::thread& thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }

    io::Address address;

    int connections() const { return connections_; }

   private:
    void stop_accepting() {
        stopping_ = true;
        if (accepting_.joinable()) {
            accepting_.join();
        }
    }

    void accept_all() {
        while (!stopping_) {
            pollfd ready{.fd = listener_, .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, 5) != 1) {
                continue;
            }
            const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            sockets_.push_back(socket);
            threads_.emplace_back([this, socket, number = connections_++] {
                Dialogue dialogue(socket, number);
                script_(dialogue);
            });
        }
    }

    Script script_;
    int listener_ = -1;
    std::atomic<bool> stopping_ = false;
    std::atomic<int> connections_ = 0;
    std::thread accepting_;
    std::vector<std::thread> threads_;
    std::vector<int> sockets_;  // until the end, so that no number is used twice
};

}  // namespace postern::relay::test

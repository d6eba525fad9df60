#pragma once

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <cerrno>

#include "tests/unit/inbound/fake_world.h"
#include "tests/unit/tls/authority.h"
#include "tests/unit/tls/pair.h"

namespace postern::inbound::test {

using tls::Session;
using tls::Status;
using tls::Wire;
using tls::test::Authority;
using tls::test::Files;
using tls::test::Kind;

/// A corridor whose listener has a certificate, and what senders make their sessions from.
struct TlsInbound : ::testing::Test {
    TlsInbound() {
        context = context_for("gw.example.net");
        auto made = tls::ClientContext::create(library, {});
        EXPECT_TRUE(made.ok());
        client = std::move(*made);
    }

    std::shared_ptr<const tls::ServerContext> context_for(const std::string& name) {
        const Files files = authority.issue({name}, Kind::ecdsa);
        auto pair = tls::KeyPair::load(files.chain, files.key);
        EXPECT_TRUE(pair.ok());
        auto made = tls::ServerContext::create(library, tickets, {{*pair}});
        EXPECT_TRUE(made.ok());
        return std::move(*made);
    }

    ListenerSettings settings(Tls when) const {
        ListenerSettings settings = Gateway::usual();
        settings.tls = when;
        settings.tls_context = context;
        return settings;
    }

    Authority authority;
    tls::Library library;
    tls::TicketKeys tickets{tls::test::a_secret(1)};
    std::shared_ptr<const tls::ServerContext> context;
    std::unique_ptr<const tls::ClientContext> client;
};

/// A sender that speaks TLS over a plain socket, its octets cut into pieces of at most `piece`.
class TlsSender {
   public:
    TlsSender(
        Gateway& gateway,
        const tls::ClientContext& context,
        std::size_t piece = 1 << 20,
        const tls::Peer& peer = {})
        : session(context, peer), gateway_(gateway), piece_(piece), plain_(gateway) {}

    Sender& plain() { return plain_; }

    /// False: the handshake has failed.
    bool shake() {
        for (;;) {
            const Status status = call([&](Wire& wire) { return session.handshake(wire); });
            if (status == Status::done) {
                return true;
            }
            if (status != Status::input || !receive()) {
                return false;
            }
        }
    }

    /// STARTTLS behind an EHLO.
    bool start() {
        EXPECT_EQ(plain_.reply().substr(0, 4), "220 ");
        EXPECT_NE(plain_.ask("EHLO there").find("STARTTLS"), std::string::npos);
        EXPECT_EQ(plain_.ask("STARTTLS").substr(0, 10), "220 2.0.0 ");
        return shake();
    }

    void send(std::string_view text) {
        while (!text.empty()) {
            const Status status = call([&](Wire& wire) { return session.write(wire, text); });
            ASSERT_TRUE(status == Status::done || status == Status::room) << session.failure();
        }
    }

    /// The next whole reply; what came of it, if no more comes.
    std::string reply() {
        for (;;) {
            for (std::size_t at = 0, end = 0; (end = said_.find("\r\n", at)) != std::string::npos;
                 at = end + 2) {
                if (end - at < 4 || said_[at + 3] != '-') {
                    const std::string reply = said_.substr(0, end + 2);
                    said_.erase(0, end + 2);
                    return reply;
                }
            }
            if (!read()) {
                return std::exchange(said_, {});
            }
        }
    }

    std::string ask(std::string_view line) {
        send(std::string(line) + "\r\n");
        return reply();
    }

    void close_notify() {
        call([&](Wire& wire) { return session.close(wire); });
    }

    /// It ended in order: with its close_notify, and then the stream.
    bool ended_in_order() {
        while (read()) {
        }
        EXPECT_EQ(said_, "");
        return status_ == Status::ended && plain_.closed_by_peer();
    }

    Status last_status() const { return status_; }

    /// What goes with the next octets that are sent, in front of them.
    void put_ahead(std::string_view octets) { ahead_ = octets; }

    void send_raw(std::string_view octets) {
        const std::string all = octets.empty() ? std::string() : ahead_ + std::string(octets);
        if (!all.empty()) {
            ahead_.clear();
            octets = all;
        }
        while (!octets.empty()) {
            const std::string_view piece = octets.substr(0, piece_);
            plain_.send(piece);
            octets.remove_prefix(piece.size());
            if (!octets.empty()) {
                gateway_.turn();
            }
        }
    }

    Session session;

   private:
    template <class Call>
    Status call(Call&& what) {
        std::string room(40000, '\0');
        Wire wire{sealed_, room};
        const Status status = what(wire);
        sealed_.erase(0, sealed_.size() - wire.input.size());
        send_raw({room.data(), room.size() - wire.output.size()});
        return status;
    }

    bool receive() {
        bool ended = false;
        const auto came = [&] {
            char buffer[65536];
            const ssize_t count = ::recv(plain_.descriptor(), buffer, sizeof buffer, MSG_DONTWAIT);
            if (count > 0) {
                sealed_.append(buffer, static_cast<std::size_t>(count));
            }
            ended = count == 0 || (count < 0 && errno != EAGAIN);
            return count > 0 || ended;
        };
        return gateway_.turn_until(came) && !ended;
    }

    bool read() {
        std::string into(65536, '\0');
        std::size_t count = 0;
        while (count == 0) {
            status_ = call([&](Wire& wire) { return session.read(wire, into, count); });
            said_.append(into, 0, count);
            if (count == 0 && (status_ != Status::input || !receive())) {
                return false;
            }
        }
        return true;
    }

    Gateway& gateway_;
    const std::size_t piece_;
    Sender plain_;
    std::string ahead_;
    std::string sealed_;  // received
    std::string said_;    // decrypted
    Status status_ = Status::input;
};

}  // namespace postern::inbound::test

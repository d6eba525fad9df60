#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "host_model.h"

namespace postern::smtp::test {

using namespace std::chrono_literals;
using Ending = ClientSession::Ending;
using Kind = Verdict::Kind;

inline constexpr const char* plain_host = "220 h\r\n250 h\r\n";
inline constexpr const char* data_host = "220 h\r\n250-h\r\n250-8BITMIME\r\n250 PIPELINING\r\n";
inline constexpr const char* bdat_host =
    "220 h\r\n250-h\r\n250-SIZE\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 PIPELINING\r\n";

// A dialogue written down: what the host says goes in, what the session writes comes out.
class ClientSessionTest : public testing::Test, public ClientOwner {
   protected:
    ClientSessionTest() { settings.helo = "me"; }

    ~ClientSessionTest() override {
        if (session != nullptr) {
            session->ended();
        }
        session.reset();
        EXPECT_EQ(pools.partial.used(), 0U);
    }

    void connect() {
        session = std::make_unique<ClientSession>(settings, pace, *this, pools.partial);
    }

    /// Up to EHLO's answer. `said`: a line of greeting, then the answer.
    void open(std::string_view said) {
        connect();
        const std::size_t greeting = said.find('\n') + 1;
        host(said.substr(0, greeting));
        EXPECT_EQ(written(), "EHLO me\r\n");
        host(said.substr(greeting));
        EXPECT_TRUE(session->ready());
    }

    Message& add(std::string_view content, const std::vector<std::string>& to = {"r@x"}) {
        messages.push_back(std::make_unique<Message>(
            pools, "s" + std::to_string(messages.size()) + "@x", to, content));
        waiting.push_back(messages.back().get());
        return *messages.back();
    }

    void host(std::string_view said) { session->received(said, now); }

    /// One output, which is sent at once.
    std::string written() {
        std::array<iovec, 64> pieces;
        std::array<char, 16384> room;
        Output output(pieces, room);
        session->write(output, now);
        std::string text;
        for (const iovec& piece : output.pieces()) {
            text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
        }
        if (!output.empty()) {
            session->sent(now);
        }
        return text;
    }

    Transfer* next() override {
        if (waiting.empty()) {
            return nullptr;
        }
        Message* message = waiting.front();
        waiting.pop_front();
        return message;
    }

    bool sender_gone(Transfer& transfer) override { return static_cast<Message&>(transfer).gone; }

    void held(Transfer& transfer) override {
        EXPECT_TRUE(transfer.held());
        ++static_cast<Message&>(transfer).held_times;
    }

    void settled(Transfer& transfer, const Verdict& verdict) override {
        auto& message = static_cast<Message&>(transfer);
        message.verdicts.push_back(verdict.kind);
        message.reply = text_of(verdict.reply);
        stale = verdict.stale;
    }

    void released(Transfer& transfer) override { ++static_cast<Message&>(transfer).released; }

    static Kind verdict(const Message& message) {
        EXPECT_EQ(message.verdicts.size(), 1U);
        return message.verdicts.empty() ? Kind::again : message.verdicts[0];
    }

    Pools pools;
    ClientSettings settings;
    Pace pace;
    base::Instant now{1h};
    std::vector<std::unique_ptr<Message>> messages;
    std::deque<Message*> waiting;
    std::unique_ptr<ClientSession> session;
    bool stale = false;
};

}  // namespace postern::smtp::test

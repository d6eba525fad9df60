#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "tests/unit/inbound/tls_sender.h"

/// Senders that mean no good, and whoever stands between.
namespace postern::inbound::test {
namespace {

/// What a body's end is, its sender says, and nobody who can cut the wire.
TEST_F(TlsInbound, ABodyThatIsCutIsNoMessage) {
    enum class Cut { stream, reset, close_notify, record, alert };
    for (const Cut cut : {Cut::stream, Cut::reset, Cut::close_notify, Cut::record, Cut::alert}) {
        for (const std::string_view by : {"DATA", "BDAT 100 LAST", "BDAT 12"}) {
            Gateway gateway(settings(Tls::implicit));
            TlsSender sender(gateway, *client);
            ASSERT_TRUE(sender.shake());
            sender.reply();
            sender.ask("EHLO there");
            sender.ask("MAIL FROM:<a@example.org>");
            sender.ask("RCPT TO:<b@example.com>");
            sender.send(std::string(by) + "\r\n");
            if (by == "DATA") {
                sender.reply();
            }
            sender.send("Subject: x\r\n");
            switch (cut) {
                case Cut::stream:
                    sender.plain().end_sending();
                    break;
                case Cut::reset:
                    sender.plain().reset();
                    break;
                case Cut::close_notify:
                    sender.close_notify();
                    break;
                case Cut::record:
                    sender.send_raw({"\x17\x03\x03\x00\x40 a part", 12});
                    sender.plain().end_sending();
                    break;
                case Cut::alert:  // in plain text: nobody's who has the keys
                    sender.send_raw({"\x15\x03\x03\x00\x02\x01\x00", 7});
                    break;
            }
            EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }))
                << int(cut) << by;
            EXPECT_TRUE(gateway.world.messages.empty());
            EXPECT_EQ(gateway.world.waiting.size(), 0U);
        }
    }
}

TEST_F(TlsInbound, HoldsNothingOfHandshakesThatCameToNothing) {
    ListenerSettings hurried = settings(Tls::implicit);
    hurried.command_timeout = std::chrono::milliseconds(200);
    Gateway gateway(hurried);
    std::string hello(4000, '\0');
    {
        tls::Session session(*client, {});
        Wire wire{{}, hello};
        session.handshake(wire);
        hello.resize(hello.size() - wire.output.size());
    }
    std::vector<std::unique_ptr<Sender>> senders;
    for (std::size_t i = 0; i < 60; ++i) {
        senders.push_back(std::make_unique<Sender>(gateway));
        senders.back()->send(hello.substr(
            0,
            i < 20   ? 0
            : i < 40 ? hello.size() / 2
                     : hello.size()));
    }
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.clients == 60; }));
    EXPECT_GT(gateway.inbound->held_tls_octets(), 60 * Inbound::tls_session_octets - 1);
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.world.handshakes.size() == 60; }));
    EXPECT_EQ(gateway.world.handshakes, std::vector<Handshake>(60, Handshake::failed));
    senders.clear();
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
    EXPECT_LT(gateway.inbound->held_tls_octets(), Inbound::sealed_octets_max());
    TlsSender good(gateway, *client);
    EXPECT_TRUE(good.shake());
}

/// Answers to new keys that nobody reads: they are given no more room than answers to commands.
TEST_F(TlsInbound, IsNotFilledUpByNewKeys) {
    Gateway gateway(settings(Tls::implicit), 4096);
    Sender sender(gateway, 4096);
    tls::test::Foreign foreign(tls::test::Foreign::Role::client);
    for (int i = 0; i < 3; ++i) {
        SSL_do_handshake(foreign.ssl);
        sender.send(foreign.said());
        for (int turn = 0; turn < 10; ++turn) {
            gateway.turn();
        }
        char buffer[65536];
        const ssize_t count = ::recv(sender.descriptor(), buffer, sizeof buffer, MSG_DONTWAIT);
        foreign.hear({buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0))});
    }
    ASSERT_TRUE(SSL_is_init_finished(foreign.ssl));
    for (int i = 0; i < 500; ++i) {
        SSL_key_update(foreign.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(foreign.ssl);
        sender.send(foreign.said());
    }
    EXPECT_TRUE(gateway.turn_until([&] { return !gateway.world.refusals.empty(); }));
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||421"});
    sender.hang_up();
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
}

}  // namespace
}  // namespace postern::inbound::test

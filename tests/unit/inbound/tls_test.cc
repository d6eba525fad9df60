#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tests/unit/inbound/tls_sender.h"

namespace postern::inbound::test {
namespace {

std::string content(std::size_t lines) {
    std::string text = "Subject: test\r\n\r\n";
    for (std::size_t i = 0; i < lines; ++i) {
        text += "line " + std::to_string(i) + " of a message that is carried through TLS\r\n";
    }
    return text;
}

void send_by_data(TlsSender& sender, const std::string& text) {
    EXPECT_EQ(sender.ask("MAIL FROM:<a@example.org>").substr(0, 3), "250");
    EXPECT_EQ(sender.ask("RCPT TO:<b@example.com>").substr(0, 3), "250");
    EXPECT_EQ(sender.ask("DATA").substr(0, 3), "354");
    EXPECT_EQ(sender.ask(text + ".").substr(0, 3), "250");
}

TEST_F(TlsInbound, SecuresASessionThatIsThenAsNew) {
    Gateway gateway(settings(Tls::starttls));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    EXPECT_EQ(sender.ask("MAIL FROM:<a@example.org>").substr(0, 10), "503 5.5.1 ");
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "503 5.5.1 ");
    EXPECT_EQ(sender.ask("EHLO there").find("STARTTLS"), std::string::npos);
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "503 5.5.1 ");
    send_by_data(sender, content(3));
    ASSERT_EQ(gateway.world.messages.size(), 1U);
    EXPECT_EQ(gateway.world.messages[0].content, content(3));
    EXPECT_NE(gateway.world.received_lines[0].find(" with ESMTPS id "), std::string::npos);
    EXPECT_EQ(sender.ask("QUIT").substr(0, 4), "221 ");
    EXPECT_TRUE(sender.ended_in_order());
    EXPECT_EQ(gateway.world.handshakes, std::vector{Handshake::full});
}

TEST_F(TlsInbound, SpeaksTlsFromTheFirstOctet) {
    Gateway gateway(settings(Tls::implicit));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.shake());
    EXPECT_EQ(sender.reply().substr(0, 4), "220 ");
    EXPECT_EQ(sender.ask("HELO there").substr(0, 4), "250 ");
    send_by_data(sender, content(3));
    EXPECT_NE(gateway.world.received_lines[0].find(" with SMTP id "), std::string::npos);
    EXPECT_EQ(sender.ask("EHLO there").find("STARTTLS"), std::string::npos);
    EXPECT_EQ(sender.ask("QUIT").substr(0, 4), "221 ");
    EXPECT_TRUE(sender.ended_in_order());
}

// --- who the client is, and what it says too early ---------------------------------------------

constexpr std::string_view proxy_header = "PROXY TCP4 192.0.2.9 192.0.2.1 40000 465\r\n";

TEST_F(TlsInbound, AProxysHeaderComesBeforeTheHandshake) {
    for (const std::size_t piece : {1, 7, 100, 20000}) {
        Gateway gateway(settings(Tls::implicit));
        gateway.world.proxy = true;
        TlsSender sender(gateway, *client, piece);
        sender.put_ahead(proxy_header);
        ASSERT_TRUE(sender.shake()) << piece;
        EXPECT_EQ(sender.reply().substr(0, 4), "220 ");
        EXPECT_EQ(gateway.world.moves, std::vector<std::string>{"192.0.2.9"});
        EXPECT_EQ(sender.ask("EHLO there").substr(0, 4), "250-");
        send_by_data(sender, content(3));
        EXPECT_NE(gateway.world.received_lines[0].find("(unknown [192.0.2.9])"), std::string::npos);
        EXPECT_EQ(sender.ask("QUIT").substr(0, 4), "221 ");
        EXPECT_TRUE(sender.ended_in_order());
    }
}

TEST_F(TlsInbound, BehindAProxyNothingIsSaidInPlainText) {
    Gateway gateway(settings(Tls::implicit));
    gateway.world.proxy = true;
    gateway.world.move_refusal = {421, {4, 7, 0}, "too many"};
    Sender refused(gateway);
    refused.send(proxy_header);
    EXPECT_EQ(refused.reply(), "");
    gateway.world.move_refusal = {};
    Sender check(gateway);  // a health check may leave without a word
    check.send("PROXY UNKNOWN\r\n");
    check.end_sending();
    EXPECT_EQ(check.reply(), "");
    EXPECT_TRUE(gateway.world.handshakes.empty());
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>{"||421"});
    Sender waits(gateway);
    gateway.turn_until([&] { return gateway.world.clients == 1; });
    gateway.inbound->shut_down();
    EXPECT_EQ(waits.reply(), "");
}

TEST_F(TlsInbound, TheGreetingIsHeldBackBehindTheHandshake) {
    ListenerSettings pausing = settings(Tls::implicit);
    pausing.greeting_pause = std::chrono::milliseconds(300);
    Gateway gateway(pausing);
    gateway.world.exempt = false;
    for (const std::size_t piece : {1, 20000}) {
        TlsSender sender(gateway, *client, piece);
        ASSERT_TRUE(sender.shake());
        const base::Instant begin = gateway.ring->now();
        EXPECT_EQ(sender.reply().substr(0, 4), "220 ");
        EXPECT_GE(gateway.ring->now() - begin, std::chrono::milliseconds(250));
        EXPECT_EQ(sender.ask("EHLO there").substr(0, 4), "250-");
        EXPECT_EQ(sender.ask("QUIT").substr(0, 4), "221 ");
        EXPECT_TRUE(sender.ended_in_order());
        TlsSender early(gateway, *client, piece);
        ASSERT_TRUE(early.shake());
        EXPECT_EQ(early.ask("EHLO there").substr(0, 10), "554 5.5.1 ");
        EXPECT_TRUE(early.ended_in_order());
        TlsSender leaves(gateway, *client, piece);
        ASSERT_TRUE(leaves.shake());
        leaves.close_notify();
        EXPECT_TRUE(leaves.ended_in_order());
    }
    using Notice = World::Notice;
    EXPECT_EQ(gateway.world.notices, std::vector<Notice>(2, Notice::early_talker));
    EXPECT_EQ(gateway.world.refusals, std::vector<std::string>(2, "||554"));
}

TEST_F(TlsInbound, XclientLeavesTlsAsItIs) {
    ListenerSettings introducing = settings(Tls::starttls);
    introducing.xclient = introducing.xforward = true;
    Gateway gateway(introducing);
    gateway.world.may_introduce = true;
    TlsSender sender(gateway, *client);
    EXPECT_EQ(sender.plain().reply().substr(0, 4), "220 ");
    EXPECT_EQ(sender.plain().ask("EHLO there").substr(0, 4), "250-");
    EXPECT_EQ(sender.plain().ask("XFORWARD IDENT=forged").substr(0, 4), "250 ");
    EXPECT_EQ(sender.plain().ask("STARTTLS").substr(0, 4), "220 ");
    ASSERT_TRUE(sender.shake());
    EXPECT_EQ(sender.ask("EHLO there").substr(0, 4), "250-");
    send_by_data(sender, content(1));
    EXPECT_EQ(sender.ask("XCLIENT ADDR=192.0.2.9").substr(0, 4), "220 ");
    EXPECT_EQ(sender.ask("EHLO there").find("STARTTLS"), std::string::npos);
    send_by_data(sender, content(1));
    EXPECT_EQ(gateway.world.introductions, (std::vector<std::string>{"", ""}));
    for (const std::string& line : gateway.world.received_lines) {
        EXPECT_NE(line.find(" with ESMTPS id "), std::string::npos) << line;
    }
}

TEST_F(TlsInbound, IsRightUnderEverySplit) {
    for (const Tls when : {Tls::starttls, Tls::implicit}) {
        for (const std::size_t piece : {1, 2, 3, 5, 11, 29, 100, 517, 4096, 4097, 20000}) {
            Gateway gateway(settings(when));
            TlsSender sender(gateway, *client, piece);
            if (when == Tls::starttls) {
                ASSERT_TRUE(sender.start());
            } else {
                ASSERT_TRUE(sender.shake());
                ASSERT_EQ(sender.reply().substr(0, 4), "220 ");
            }
            const std::string text = content(piece < 29 ? 5 : 1500);
            sender.send(
                "EHLO there\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT " +
                std::to_string(text.size()) + " LAST\r\n" + text +
                "MAIL FROM:<c@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
            for (const char* code : {"250", "250", "250", "250", "250", "250", "354"}) {
                ASSERT_EQ(sender.reply().substr(0, 3), code) << piece;
            }
            sender.send(text + ".\r\nQUIT\r\n");
            ASSERT_EQ(sender.reply().substr(0, 3), "250");
            ASSERT_EQ(sender.reply().substr(0, 3), "221");
            ASSERT_TRUE(sender.ended_in_order());
            ASSERT_EQ(gateway.world.messages.size(), 2U);
            ASSERT_EQ(gateway.world.messages[0].content, text);
            ASSERT_EQ(gateway.world.messages[1].content, text);
        }
    }
}

TEST_F(TlsInbound, TakesALargeBodyByReference) {
    Gateway gateway(settings(Tls::implicit));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.shake());
    sender.reply();
    sender.ask("EHLO there");
    const std::string text = content(100000);
    const std::uint32_t tails_before = gateway.world.tail_pool.mapped() == 0 ? 0 : 1;
    send_by_data(sender, text);
    ASSERT_EQ(gateway.world.messages.size(), 1U);
    EXPECT_EQ(gateway.world.messages[0].content, text);
    EXPECT_EQ(tails_before, 0U);
    EXPECT_LE(gateway.world.reserved_most, 2 * text.size()) << "slices pin what they hold";
    EXPECT_LE(gateway.world.tail_pool.mapped(), text.size() / 4) << "most of it is not copied";
}

TEST_F(TlsInbound, AnswersManyCommandsOfOneRecord) {
    Gateway gateway(settings(Tls::implicit));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.shake());
    sender.reply();
    std::string text;
    for (int i = 0; i < 2000; ++i) {
        text += "NOOP\r\n";
    }
    sender.send(text);
    for (int i = 0; i < 2000; ++i) {
        ASSERT_EQ(sender.reply(), "250 2.0.0 ok\r\n");
    }
}

TEST_F(TlsInbound, UsesNothingThatCameBehindStarttls) {
    Gateway gateway(settings(Tls::starttls));
    for (const char* cut : {"", "STAR"}) {
        Sender sender(gateway);
        sender.reply();
        sender.ask("EHLO there");
        const std::string all = "STARTTLS\r\nMAIL FROM:<a@example.org>\r\n";
        const std::string first(cut);
        if (!first.empty()) {
            sender.send(first);
            gateway.turn();
            gateway.turn();
        }
        sender.send(all.substr(first.size()));
        EXPECT_EQ(sender.reply().substr(0, 10), "554 5.5.1 ");
        EXPECT_TRUE(sender.closed_by_peer());
    }
    EXPECT_TRUE(gateway.world.handshakes.empty());
    EXPECT_EQ(gateway.world.refusals, (std::vector<std::string>{"STARTTLS||554", "STARTTLS||554"}));
}

TEST_F(TlsInbound, TakesPlainTextBehindStarttlsForNoHandshake) {
    Gateway gateway(settings(Tls::starttls));
    Sender sender(gateway);
    sender.reply();
    sender.ask("EHLO there");
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 4), "220 ");
    sender.send("MAIL FROM:<a@example.org>\r\n");
    const std::string said = sender.reply();
    EXPECT_EQ(said.find("250"), std::string::npos);
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.handshakes, std::vector{Handshake::failed});
}

TEST_F(TlsInbound, KnowsWhenStarttlsIsWrong) {
    Gateway gateway(settings(Tls::starttls));
    Sender sender(gateway);
    sender.reply();
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "503 5.5.1 ");
    sender.ask("EHLO there");
    EXPECT_EQ(sender.ask("STARTTLS now").substr(0, 10), "501 5.5.4 ");
    sender.ask("MAIL FROM:<a@example.org>");
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "503 5.5.1 ");
    EXPECT_EQ(sender.ask("RSET").substr(0, 4), "250 ");
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 4), "220 ");
}

TEST_F(TlsInbound, HasNoStarttlsWithoutACertificate) {
    Gateway gateway;
    Sender sender(gateway);
    sender.reply();
    EXPECT_EQ(sender.ask("EHLO there").find("STARTTLS"), std::string::npos);
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "500 5.5.1 ");
}

TEST_F(TlsInbound, HidesStarttls) {
    ListenerSettings hiding = settings(Tls::starttls);
    hiding.ehlo_hide = {"STARTTLS"};
    Gateway gateway(hiding);
    Sender sender(gateway);
    sender.reply();
    EXPECT_EQ(sender.ask("EHLO there").find("STARTTLS"), std::string::npos);
    EXPECT_EQ(sender.ask("STARTTLS").substr(0, 10), "500 5.5.1 ");
}

TEST_F(TlsInbound, TellsWhoSpeaksInPlainTextThatTlsComesFirst) {
    Gateway gateway(settings(Tls::implicit));
    Sender sender(gateway);
    EXPECT_EQ(sender.ask("EHLO there").substr(0, 10), "554 5.7.0 ");
    EXPECT_TRUE(sender.closed_by_peer());
    EXPECT_EQ(gateway.world.handshakes, std::vector{Handshake::failed});
}

TEST_F(TlsInbound, WaitsForAHandshakeOnlySoLong) {
    for (const Tls when : {Tls::starttls, Tls::implicit}) {
        ListenerSettings hurried = settings(when);
        hurried.command_timeout = std::chrono::milliseconds(100);
        Gateway gateway(hurried);
        TlsSender sender(gateway, *client);
        if (when == Tls::starttls) {
            sender.plain().reply();
            sender.plain().ask("EHLO there");
            sender.plain().ask("STARTTLS");
        }
        // Octets that come, but never all of them: each is no reason to wait anew.
        const base::Instant begin = gateway.ring->now();
        std::string hello(400, '\0');
        Wire wire{{}, hello};
        sender.session.handshake(wire);
        for (std::size_t at = 0; at < 100 && gateway.world.handshakes.empty(); ++at) {
            sender.plain().send({hello.data() + at, 1});
            gateway.turn();
        }
        EXPECT_TRUE(sender.plain().closed_by_peer());
        EXPECT_LT(gateway.ring->now() - begin, std::chrono::seconds(2));
        EXPECT_EQ(gateway.world.handshakes, std::vector{Handshake::failed});
    }
}

TEST_F(TlsInbound, BearsASenderThatGoesInTheHandshake) {
    for (const bool reset : {false, true}) {
        Gateway gateway(settings(Tls::starttls));
        Sender sender(gateway);
        sender.reply();
        sender.ask("EHLO there");
        sender.ask("STARTTLS");
        reset ? sender.reset() : sender.hang_up();
        EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
        EXPECT_EQ(gateway.world.handshakes, std::vector{Handshake::failed});
    }
}

TEST_F(TlsInbound, AnswersADamagedRecordWithAnAlert) {
    Gateway gateway(settings(Tls::implicit));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.shake());
    sender.reply();
    sender.ask("EHLO there");
    sender.send_raw(std::string_view("\x17\x03\x03\x00\x20", 5));
    sender.send_raw(std::string(32, 'x'));
    EXPECT_EQ(sender.reply(), "");
    EXPECT_EQ(sender.last_status(), Status::failed);
    EXPECT_NE(sender.session.failure().find("bad record mac"), std::string::npos);
}

// --- whether the sender is still there -----------------------------------------------------------

struct Leaving : TlsInbound {
    /// A message is whole and has no answer yet; `leave` is what its sender does then. Was it gone?
    template <class Leave>
    bool gone_after(Leave&& leave) {
        Gateway gateway(settings(Tls::implicit));
        gateway.world.answers = false;
        TlsSender sender(gateway, *client);
        EXPECT_TRUE(sender.shake());
        sender.reply();
        sender.ask("EHLO there");
        sender.ask("MAIL FROM:<a@example.org>");
        sender.ask("RCPT TO:<b@example.com>");
        sender.ask("DATA");
        sender.send(content(3) + ".\r\n");
        EXPECT_TRUE(gateway.turn_until([&] { return !gateway.world.waiting.empty(); }));
        leave(sender);
        io::test::turn_for(*gateway.ring, std::chrono::milliseconds(20));
        gateway.world.answers = true;
        gateway.turn_until([&] { return !gateway.world.gone.empty(); });
        return gateway.world.gone.at(0);
    }
};

TEST_F(Leaving, IsSeenByAnEndOrAReset) {
    EXPECT_FALSE(gone_after([](TlsSender&) {}));
    EXPECT_TRUE(gone_after([](TlsSender& sender) { sender.plain().end_sending(); }));
    EXPECT_TRUE(gone_after([](TlsSender& sender) { sender.plain().reset(); }));
    EXPECT_TRUE(gone_after([](TlsSender& sender) {
        sender.close_notify();
        sender.plain().end_sending();
    }));
}

TEST_F(Leaving, IsNoneWhereACommandStandsBehindTheMessage) {
    EXPECT_FALSE(gone_after([](TlsSender& sender) {
        sender.send("QUIT\r\n");
        sender.plain().end_sending();
    }));
    EXPECT_FALSE(gone_after([](TlsSender& sender) {
        sender.send("QUIT\r\n");
        sender.close_notify();
        sender.plain().end_sending();
    }));
}

// --- endings and changes -------------------------------------------------------------------------

TEST_F(TlsInbound, EndsIdleSessionsWithAnAnswerAndInOrder) {
    Gateway gateway(settings(Tls::starttls));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    sender.ask("EHLO there");
    gateway.inbound->shut_down();
    EXPECT_EQ(sender.reply().substr(0, 10), "421 4.3.2 ");
    EXPECT_TRUE(sender.ended_in_order());
}

TEST_F(TlsInbound, TakesCloseNotifyForTheEnd) {
    Gateway gateway(settings(Tls::starttls));
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    sender.ask("EHLO there");
    sender.close_notify();
    EXPECT_TRUE(sender.ended_in_order());
}

TEST_F(TlsInbound, ShowsANewCertificateToWhoComesThen) {
    Gateway gateway(settings(Tls::starttls));
    TlsSender before(gateway, *client);
    ASSERT_TRUE(before.start());
    const auto verifying =
        tls::ClientContext::create(library, {true, authority.ca_file(), nullptr});
    context = context_for("new.example.net");
    gateway.inbound->change_listener(0, settings(Tls::starttls));
    TlsSender after(
        gateway, **verifying, 1 << 20, {.server_name = {}, .verified_name = "new.example.net"});
    EXPECT_TRUE(after.start()) << after.session.failure();
    EXPECT_EQ(before.ask("EHLO there").substr(0, 4), "250-") << "what has begun goes on";
}

TEST_F(TlsInbound, KnowsASenderThatComesAgain) {
    Gateway gateway(settings(Tls::starttls));
    tls::Resumption kept;
    {
        TlsSender first(gateway, *client);
        ASSERT_TRUE(first.start());
        first.ask("EHLO there");
        kept = first.session.take_resumption();
    }
    ASSERT_TRUE(kept);
    TlsSender second(
        gateway, *client, 1 << 20, {.server_name = {}, .verified_name = {}, .resumption = &kept});
    ASSERT_TRUE(second.start());
    EXPECT_EQ(second.ask("EHLO there").substr(0, 4), "250-");
    EXPECT_EQ(gateway.world.handshakes, (std::vector{Handshake::full, Handshake::resumed}));
}

// --- AUTH ----------------------------------------------------------------------------------------

constexpr std::string_view right = "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm";

struct AuthInbound : TlsInbound {
    ListenerSettings with_passwords() const {
        ListenerSettings settings = this->settings(Tls::starttls);
        settings.has_passwords = true;
        return settings;
    }
};

TEST_F(AuthInbound, ASenderAuthenticatesHoweverItsOctetsAreCut) {
    for (const std::size_t piece : {1U, 7U, 100U, 100000U}) {
        Gateway gateway(with_passwords());
        gateway.world.logins["tim"] = "tanstaaftanstaaf";
        TlsSender sender(gateway, *client, piece);
        ASSERT_TRUE(sender.start());
        EXPECT_NE(sender.ask("EHLO there").find("AUTH PLAIN LOGIN\r\n"), std::string::npos);
        EXPECT_EQ(sender.ask("AUTH PLAIN AHRpbQB3cm9uZw==").substr(0, 10), "535 5.7.8 ");
        EXPECT_EQ(sender.ask("AUTH LOGIN dGlt"), "334 UGFzc3dvcmQ6\r\n");
        sender.send("dGFuc3RhYW");
        EXPECT_EQ(sender.ask("Z0YW5zdGFhZg==\r\nNOOP").substr(0, 10), "235 2.7.0 ");
        EXPECT_EQ(sender.reply().substr(0, 10), "250 2.0.0 ");
        send_by_data(sender, content(3));
        EXPECT_NE(gateway.world.received_lines[0].find(" with ESMTPSA id "), std::string::npos);
        EXPECT_EQ(gateway.world.told_logins, (std::vector<std::string>{"tim|535", "tim|235"}));
    }
}

TEST_F(AuthInbound, TheWorldMayRefuseAtOnce) {
    Gateway gateway(with_passwords());
    gateway.world.password_refusal = {454, {4, 7, 0}, "not now"};
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    sender.ask("EHLO there");
    EXPECT_EQ(sender.ask(right), "454 4.7.0 not now\r\n");
    gateway.world.password_refusal = {421, {4, 7, 0}, "go away"};
    EXPECT_EQ(sender.ask(right), "421 4.7.0 go away\r\n");
    EXPECT_TRUE(sender.ended_in_order());
    EXPECT_EQ(gateway.world.refusals, (std::vector<std::string>{"AUTH||454", "AUTH||421"}));
}

TEST_F(AuthInbound, ASenderThatGoesWhileItsPasswordIsLookedAtIsForgotten) {
    Gateway gateway(with_passwords());
    gateway.world.answers = false;
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    sender.ask("EHLO there");
    sender.send(std::string(right) + "\r\n");
    const base::Instant soon = gateway.ring->now() + std::chrono::milliseconds(100);
    gateway.turn_until([&] { return gateway.ring->now() > soon; });
    sender.plain().reset();
    gateway.inbound->cut();
    EXPECT_TRUE(gateway.turn_until([&] { return gateway.inbound->connections() == 0; }));
}

TEST_F(AuthInbound, AnAnswerIsAwaitedWhenItShutsDown) {
    Gateway gateway(with_passwords());
    gateway.world.logins["tim"] = "tanstaaftanstaaf";
    gateway.world.answers = false;
    TlsSender sender(gateway, *client);
    ASSERT_TRUE(sender.start());
    sender.ask("EHLO there");
    sender.send(std::string(right) + "\r\n");
    const base::Instant soon = gateway.ring->now() + std::chrono::milliseconds(100);
    gateway.turn_until([&] { return gateway.ring->now() > soon; });
    gateway.inbound->shut_down();
    gateway.world.answers = true;
    EXPECT_EQ(sender.reply().substr(0, 10), "235 2.7.0 ");
    EXPECT_EQ(sender.reply().substr(0, 10), "421 4.3.2 ");
}

}  // namespace
}  // namespace postern::inbound::test

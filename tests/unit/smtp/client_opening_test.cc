#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <sstream>

#include "host_model.h"

namespace postern::smtp {
namespace {

using namespace std::chrono_literals;
using Ending = ClientSession::Ending;
using Kind = Verdict::Kind;
using Tls = ClientSettings::Tls;
using test::Message;
using test::Pools;

// A dialogue as a list of what the host says, each answered by what the session writes. "TLS" is a
// handshake that goes well.
class ClientOpeningTest : public testing::Test, public ClientOwner {
   protected:
    ClientOpeningTest() {
        settings.helo = "me";
        settings.tls = Tls::offered;
    }

    ~ClientOpeningTest() override { end(); }

    void end() {
        if (session != nullptr) {
            session->ended();
        }
        session.reset();
        waiting.clear();
        messages.clear();
        EXPECT_EQ(pools.partial.used(), 0U);
    }

    void connect() {
        end();
        session = std::make_unique<ClientSession>(settings, pace, *this, pools.partial);
    }

    std::string host(std::string_view said) {
        if (said == "TLS") {
            EXPECT_TRUE(session->starts_tls());
            session->secured(now);
        } else {
            session->received(said, now);
        }
        return written();
    }

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

    Message& add(std::string_view content) {
        messages.push_back(std::make_unique<Message>(
            pools,
            "s" + std::to_string(messages.size()) + "@x",
            std::vector<std::string>{"r@x"},
            content));
        mail::Client& client = messages.back()->made.client;
        client.address = "192.0.2.7";
        client.helo = "client.test";
        client.port = 2525;
        client.esmtp = true;
        waiting.push_back(messages.back().get());
        return *messages.back();
    }

    Transfer* next() override {
        if (waiting.empty()) {
            return nullptr;
        }
        Message* message = waiting.front();
        waiting.pop_front();
        return message;
    }

    bool sender_gone(Transfer&) override { return false; }

    void held(Transfer&) override {}

    void settled(Transfer& transfer, const Verdict& verdict) override {
        auto& message = static_cast<Message&>(transfer);
        message.verdicts.push_back(verdict.kind);
        message.reply = test::text_of(verdict.reply);
    }

    void released(Transfer& transfer) override { ++static_cast<Message&>(transfer).released; }

    Pools pools;
    ClientSettings settings;
    Pace pace;
    base::Instant now{1h};
    std::vector<std::unique_ptr<Message>> messages;
    std::deque<Message*> waiting;
    std::unique_ptr<ClientSession> session;
};

TEST_F(ClientOpeningTest, UnderTlsAllThatWasLearnedBeforeIsForgotten) {
    connect();
    EXPECT_EQ(host("220 h\r\n"), "EHLO me\r\n");
    EXPECT_EQ(
        host("250-h\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 10\r\n250 starttls\r\n"),
        "STARTTLS\r\n");
    EXPECT_FALSE(session->starts_tls());
    EXPECT_EQ(host("220 2.0.0 go\r\n"), "");
    EXPECT_TRUE(session->starts_tls());
    EXPECT_EQ(session->awaited(), ClientSession::Awaited::reply);
    EXPECT_FALSE(session->ready());
    EXPECT_EQ(host("TLS"), "EHLO me\r\n");
    EXPECT_FALSE(session->starts_tls());
    EXPECT_FALSE(session->capabilities().pipelining || session->capabilities().chunking);
    EXPECT_EQ(session->capabilities().size_max, 0U);
    EXPECT_EQ(host("250-h\r\n250-STARTTLS\r\n250 8BITMIME\r\n"), "") << "not a second time";
    EXPECT_TRUE(session->ready());
    EXPECT_TRUE(session->secure());
    EXPECT_TRUE(session->capabilities().eight_bit_mime);
    EXPECT_FALSE(session->capabilities().pipelining);
}

TEST_F(ClientOpeningTest, WhatStandsBehindTheAnswerToSTARTTLSIsNeverUsed) {
    for (const char* behind : {"250 h\r\n", "250-h\r\n250 PIPELINING\r\n", "2", "\r\n", "\x16"}) {
        for (const Tls tls : {Tls::offered, Tls::required}) {
            settings.tls = tls;
            connect();
            host("220 h\r\n");
            host("250-h\r\n250 STARTTLS\r\n");
            EXPECT_EQ(host(std::string("220 go\r\n") + behind), "");
            EXPECT_EQ(session->ending(), Ending::injected);
            EXPECT_FALSE(session->starts_tls());
        }
    }
}

TEST_F(ClientOpeningTest, TlsByWhatIsWantedAndWhatTheHostSays) {
    const struct {
        Tls tls;
        std::vector<std::string_view> said;
        std::string_view written;  // behind the last
        Ending ending;
        std::string_view step;
    } rows[] = {
        {Tls::none, {"250 STARTTLS\r\n"}, "", Ending::none, ""},
        {Tls::offered, {"250 8BITMIME\r\n"}, "", Ending::none, ""},
        {Tls::offered, {"250 STARTTLS\r\n"}, "STARTTLS\r\n", Ending::none, ""},
        {Tls::offered, {"250 STARTTLS\r\n", "454 4.7.0 not now\r\n"}, "", Ending::none, ""},
        {Tls::offered, {"250 STARTTLS\r\n", "554 no\r\n"}, "", Ending::none, ""},
        {Tls::offered, {"250 STARTTLS\r\n", "421 bye\r\n"}, "", Ending::refused, "STARTTLS"},
        {Tls::offered, {"502 what\r\n", "250 h\r\n"}, "", Ending::none, ""},
        {Tls::required, {"250 8BITMIME\r\n"}, "", Ending::no_tls, ""},
        {Tls::required, {"250 STARTTLS\r\n", "454 no\r\n"}, "", Ending::no_tls, "STARTTLS"},
        {Tls::required, {"250 STARTTLS\r\n", "421 bye\r\n"}, "", Ending::no_tls, "STARTTLS"},
        {Tls::required, {"502 what\r\n", "250 h\r\n"}, "", Ending::no_tls, ""},
        {Tls::required,
         {"250 STARTTLS\r\n", "220 a\r\n", "TLS", "554 no\r\n"},
         "",
         Ending::refused,
         "EHLO"},
    };

    for (const auto& row : rows) {
        settings.tls = row.tls;
        connect();
        EXPECT_EQ(host("220 h\r\n"), "EHLO me\r\n");
        std::string last;
        for (const std::string_view said : row.said) {
            ASSERT_EQ(session->ending(), Ending::none);
            last = host(said.starts_with("250 ") ? "250-h\r\n" + std::string(said) : said);
        }
        EXPECT_EQ(last, row.written) << row.said.back();
        EXPECT_EQ(session->ending(), row.ending) << row.said.back();
        EXPECT_EQ(session->refused_step(), row.step);
        EXPECT_EQ(session->ready(), row.ending == Ending::none && row.written.empty());
    }
}

TEST_F(ClientOpeningTest, AHostWhoseStarttlsIsIgnoredDoesNotOfferIt) {
    settings.ehlo_ignore = {"STARTTLS"};
    connect();
    host("220 h\r\n");
    EXPECT_EQ(host("250-h\r\n250 STARTTLS\r\n"), "");
    EXPECT_TRUE(session->ready());
}

TEST_F(ClientOpeningTest, AuthByPlainElseByLogin) {
    settings.auth_user = "postern";
    settings.auth_password = "s\xc3\xa4sam 1";
    const std::string plain = "AUTH PLAIN AHBvc3Rlcm4Ac8Okc2FtIDE=\r\n";
    for (const char* offer :
         {"250 AUTH PLAIN LOGIN\r\n",
          "250 AUTH LOGIN PLAIN\r\n",
          "250 auth=login plain\r\n",
          "250-AUTH CRAM-MD5\r\n250 AUTH=PLAIN\r\n"}) {
        connect();
        host("220 h\r\n");
        host("250-h\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
        host("220 go\r\n");
        host("TLS");
        EXPECT_EQ(host(std::string("250-h\r\n") + offer), plain) << offer;
        EXPECT_FALSE(session->ready());
        host("235 2.7.0 welcome\r\n");
        EXPECT_TRUE(session->ready());
    }
    connect();
    host("220 h\r\n");
    host("250-h\r\n250 STARTTLS\r\n");
    host("220 go\r\n");
    host("TLS");
    EXPECT_EQ(host("250-h\r\n250 AUTH DIGEST-MD5 LOGIN\r\n"), "AUTH LOGIN\r\n");
    EXPECT_EQ(host("334 VXNlcm5hbWU6\r\n"), "cG9zdGVybg==\r\n");
    EXPECT_EQ(host("334 UGFzc3dvcmQ6\r\n"), "c8Okc2FtIDE=\r\n");
    EXPECT_FALSE(session->ready());
    EXPECT_EQ(host("235 ok\r\n"), "");
    EXPECT_TRUE(session->ready());
}

TEST_F(ClientOpeningTest, AuthOnlyUnderTlsUnlessThePoolIsWithoutIt) {
    settings.auth_user = "u";
    settings.auth_password = "p";
    connect();
    host("220 h\r\n");
    EXPECT_EQ(host("250-h\r\n250 AUTH PLAIN\r\n"), "");
    EXPECT_EQ(session->ending(), Ending::no_tls);
    connect();
    host("220 h\r\n");
    host("250-h\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n");
    EXPECT_EQ(host("454 not now\r\n"), "");
    EXPECT_EQ(session->ending(), Ending::no_tls);
    settings.tls = Tls::none;
    connect();
    host("220 h\r\n");
    EXPECT_EQ(host("250-h\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"), "AUTH PLAIN AHUAcA==\r\n");
    host("235 ok\r\n");
    EXPECT_TRUE(session->ready());
}

TEST_F(ClientOpeningTest, ARefusedAuthIsTheHostsTrouble) {
    settings.tls = Tls::none;
    settings.auth_user = "u";
    settings.auth_password = "p";
    const std::vector<std::vector<std::string_view>> rows = {
        {"250 AUTH PLAIN\r\n", "535 5.7.8 no\r\n"},
        {"250 AUTH PLAIN\r\n", "454 4.7.0 later\r\n"},
        {"250 AUTH PLAIN\r\n", "334 \r\n"},
        {"250 AUTH PLAIN\r\n", "421 bye\r\n"},
        {"250 AUTH LOGIN\r\n", "235 too early\r\n"},
        {"250 AUTH LOGIN\r\n", "334 a\r\n", "535 no\r\n"},
        {"250 AUTH LOGIN\r\n", "334 a\r\n", "334 b\r\n", "535 5.7.8 no\r\n"},
        {"250 AUTH CRAM-MD5\r\n"},
        {"250 8BITMIME\r\n"},
    };
    for (const auto& row : rows) {
        connect();
        host("220 h\r\n");
        for (const std::string_view said : row) {
            ASSERT_EQ(session->ending(), Ending::none);
            host(said.starts_with("250") ? "250-h\r\n" + std::string(said) : said);
        }
        EXPECT_EQ(session->ending(), Ending::refused) << row.back();
        EXPECT_EQ(session->refused_step(), "AUTH");
        EXPECT_FALSE(session->refused_said().empty());
    }
}

TEST_F(ClientOpeningTest, TheLongestNameAndPasswordGo) {
    settings.tls = Tls::none;
    settings.auth_user = std::string(255, 'u');
    settings.auth_password = std::string(255, 'p');
    connect();
    host("220 h\r\n");
    const std::string line = host("250-h\r\n250 AUTH PLAIN\r\n");
    EXPECT_EQ(line.size(), 11 + 684 + 2U);
    EXPECT_TRUE(line.ends_with("cHA=\r\n")) << line;
}

// The opening, its octets in any two parts or one by one: the same octets written.
TEST_F(ClientOpeningTest, AnOpeningIsTheSameAtEverySplit) {
    settings.auth_user = "u";
    settings.auth_password = "p";
    settings.xforward = true;
    const std::vector<std::string> said = {
        "220-h\r\n220 h\r\n",
        "250-h\r\n250-CHUNKING\r\n250 STARTTLS\r\n",
        "220 2.0.0 go\r\n",
        "TLS",
        "250-h\r\n250-PIPELINING\r\n250-XFORWARD NAME ADDR PORT PROTO HELO\r\n250 AUTH LOGIN\r\n",
        "334 a\r\n",
        "334 b\r\n",
        "235-2.7.0 wel\r\n235 2.7.0 come\r\n",
        "250 x\r\n550 x\r\n250 m\r\n250 r\r\n354 go\r\n"};
    const auto run = [&](auto&& give) {
        connect();
        add("m\r\n");
        std::string all;
        for (const std::string& part : said) {
            if (part == "TLS") {
                all += host(part);
                continue;
            }
            give(part, [&](std::string_view piece) { all += host(piece); });
        }
        return all;
    };
    const std::string whole = run([](std::string_view part, auto&& take) { take(part); });
    EXPECT_TRUE(whole.ends_with("DATA\r\nm\r\n.\r\n")) << whole;
    for (std::size_t at = 1; at < 100; ++at) {
        EXPECT_EQ(
            run([at](std::string_view part, auto&& take) {
                if (part.size() <= at) {
                    take(part);
                    return;
                }
                take(part.substr(0, at));
                take(part.substr(at));
            }),
            whole)
            << at;
    }
    EXPECT_EQ(
        run([](std::string_view part, auto&& take) {
            for (std::size_t i = 0; i < part.size(); ++i) {
                take(part.substr(i, 1));
            }
        }),
        whole);
}

class XforwardTest : public ClientOpeningTest {
   protected:
    void open(std::string_view words, std::string_view more = "250-PIPELINING\r\n") {
        settings.tls = Tls::none;
        settings.xforward = true;
        connect();
        host("220 h\r\n");
        host("250-h\r\n" + std::string(more) + "250 XFORWARD" + std::string(words) + "\r\n");
        ASSERT_TRUE(session->ready());
    }
};

TEST_F(XforwardTest, GoesInTheSameFlightAsMail) {
    open(" NAME ADDR PORT PROTO HELO IDENT SOURCE");
    add("a\r\n");
    const std::string told =
        "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=2525\r\n"
        "XFORWARD PROTO=ESMTP HELO=client.test IDENT=[UNAVAILABLE] SOURCE=REMOTE\r\n";
    EXPECT_EQ(written(), told + "MAIL FROM:<s0@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    add("b\r\n");
    EXPECT_EQ(
        host("250 x\r\n250 x\r\n250 m\r\n250 r\r\n354 go\r\n"),
        "a\r\n.\r\nRSET\r\n" + told + "MAIL FROM:<s1@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    EXPECT_EQ(
        host("250 b\r\n250 s\r\n250 x\r\n250 x\r\n250 m\r\n250 r\r\n354 go\r\n"), "b\r\n.\r\n");
    host("250 b\r\n");
    for (const auto& message : messages) {
        EXPECT_EQ(message->verdicts, std::vector<Kind>{Kind::accepted});
    }
}

TEST_F(XforwardTest, WithoutPipeliningOneStepAtATime) {
    open(" HELO ADDR", "");
    add("a\r\n");
    EXPECT_EQ(written(), "XFORWARD ADDR=192.0.2.7\r\n");
    EXPECT_EQ(host("250 x\r\n"), "XFORWARD HELO=client.test\r\n");
    EXPECT_EQ(host("250 x\r\n"), "MAIL FROM:<s0@x>\r\n");
}

TEST_F(XforwardTest, OnlyTheWordsThatTheHostNamed) {
    const struct {
        const char* words;
        const char* told;
    } rows[] = {
        {"", ""},
        {" SOURCE IDENT", "XFORWARD IDENT=[UNAVAILABLE] SOURCE=REMOTE\r\n"},
        {" DESTADDR", ""},
        {" port", "XFORWARD PORT=2525\r\n"},
        {" PROTO", "XFORWARD PROTO=ESMTP\r\n"},
        {" NAME HELO", "XFORWARD NAME=[UNAVAILABLE]\r\nXFORWARD HELO=client.test\r\n"},
    };

    for (const auto& row : rows) {
        open(row.words);
        add("a\r\n");
        EXPECT_EQ(
            written(), std::string(row.told) + "MAIL FROM:<s0@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    }
    settings.xforward = false;
    settings.tls = Tls::none;
    connect();
    host("220 h\r\n");
    host("250-h\r\n250 XFORWARD ADDR\r\n");
    add("a\r\n");
    EXPECT_EQ(written(), "MAIL FROM:<s0@x>\r\n");
}

TEST_F(XforwardTest, ValuesAreXtext) {
    open(" ADDR PORT PROTO HELO");
    mail::Client& client = add("a\r\n").made.client;
    client.address = "2001:db8::7";
    client.helo = "a+b=c \xc3\xa4\r\n";
    client.port = 0;
    client.esmtp = false;
    EXPECT_TRUE(
        written().starts_with("XFORWARD ADDR=IPV6:2001:db8::7 PORT=[UNAVAILABLE]\r\n"
                              "XFORWARD PROTO=SMTP HELO=a+2Bb+3Dc+20+C3+A4+0D+0A\r\nMAIL "));
    open(" PROTO HELO");
    add("a\r\n").made.client.helo = "";  // a kept message's
    EXPECT_TRUE(written().starts_with("XFORWARD PROTO=[UNAVAILABLE] HELO=[UNAVAILABLE]\r\nMAIL "));
    open(" HELO");
    const std::string longest(255, 'h');
    const std::string too_long = std::string(254, 'h') + "+";
    add("a\r\n").made.client.helo = longest;
    add("b\r\n").made.client.helo = too_long;
    add("c\r\n").made.client.helo = "";
    EXPECT_TRUE(written().starts_with("XFORWARD HELO=" + longest + "\r\nMAIL "));
    EXPECT_NE(
        host("250 x\r\n250 m\r\n250 r\r\n354 go\r\n").find("XFORWARD HELO=[UNAVAILABLE]\r\n"),
        std::string::npos);
    EXPECT_NE(
        host("250 b\r\n250 s\r\n250 x\r\n250 m\r\n250 r\r\n354 go\r\n")
            .find("XFORWARD HELO=[UNAVAILABLE]\r\n"),
        std::string::npos);
}

TEST_F(XforwardTest, WhatTheClientSaidOfTheMessageGoesOn) {
    open(" NAME ADDR PORT PROTO HELO IDENT SOURCE");
    mail::Forwarded said;
    said.name = "mail.example.org";
    said.address = "2001:db8::9";
    said.protocol = "ESMTP";
    said.ident = "4Bxyz";
    mail::Client& client = add("a\r\n").made.client;
    client.forwarded = &said;
    client.name = "filter.test";
    EXPECT_TRUE(written().starts_with(
        "XFORWARD NAME=mail.example.org ADDR=IPV6:2001:db8::9 PORT=[UNAVAILABLE]\r\n"
        "XFORWARD PROTO=ESMTP HELO=[UNAVAILABLE] IDENT=4Bxyz SOURCE=[UNAVAILABLE]\r\nMAIL "));
}

TEST_F(XforwardTest, AnUnknownAddressIsNotToldAndNoCommandIsLong) {
    open(" NAME ADDR PORT PROTO HELO IDENT SOURCE");
    const std::string name(255, 'n');
    const std::string helo(255, 'h');
    mail::Forwarded said;
    said.name = said.helo = said.ident = said.protocol = said.source = helo;
    said.address = "2001:db8:1111:2222:3333:4444:5555:6666";
    mail::Client& client = add("a\r\n").made.client;
    client.name = name;
    client.address = mail::unknown_address;
    client.port = 0;
    EXPECT_TRUE(written().starts_with(
        "XFORWARD NAME=" + name + " ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]\r\n"));
    add("b\r\n").made.client.forwarded = &said;
    const std::string second = host("250 x\r\n250 x\r\n250 m\r\n250 r\r\n354 go\r\n");
    EXPECT_NE(second.find("XFORWARD PROTO=[UNAVAILABLE] HELO=" + helo), std::string::npos);
    std::istringstream lines(second);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size() + 1, 512U);
    }
}

TEST_F(XforwardTest, ItsRefusalDoesNotHarmTheMessage) {
    for (const char* refusal : {"550 5.7.0 not you", "503 no", "501 5.5.4 what", "450 later"}) {
        open(" ADDR");
        Message& first = add("a\r\n");
        written();
        EXPECT_EQ(host(std::string(refusal) + "\r\n250 m\r\n250 r\r\n354 go\r\n"), "a\r\n.\r\n");
        host("250 2.0.0 ok\r\n");
        EXPECT_EQ(first.verdicts, std::vector<Kind>{Kind::accepted});
        add("b\r\n");
        EXPECT_EQ(written().find("XFORWARD") == std::string::npos, refusal[0] == '5')
            << "for good, it is not told again";
        end();
    }
    open(" ADDR");
    Message& closed = add("a\r\n");
    written();
    host("421 4.3.2 bye\r\n");
    EXPECT_EQ(session->ending(), Ending::host_closing);
    session->ended();
    EXPECT_EQ(closed.verdicts, std::vector<Kind>{Kind::again});
    open(" ADDR");
    add("a\r\n");
    written();
    host("354 what\r\n");
    EXPECT_EQ(session->ending(), Ending::unexpected);
}

}  // namespace
}  // namespace postern::smtp

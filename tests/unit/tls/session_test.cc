#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>

#include "tests/unit/tls/pair.h"

namespace postern::tls::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string octets(std::size_t count) {
    std::string text(count, '\0');
    for (std::size_t i = 0; i < count; ++i) {
        text[i] = static_cast<char>((i * 2654435761u) >> 24);
    }
    return text;
}

struct Sessions : ::testing::Test {
    Sessions() {
        const Files files = authority.issue({"mx.example", "192.0.2.1"}, Kind::ecdsa);
        auto pair = KeyPair::load(files.chain, files.key);
        EXPECT_TRUE(pair.ok());
        auto made = ServerContext::create(library, tickets, {{*pair}});
        EXPECT_TRUE(made.ok()) << made.error().text;
        server = std::move(*made);
        client = client_with({});
    }

    std::unique_ptr<const ClientContext> client_with(const ClientSettings& settings) {
        auto made = ClientContext::create(library, settings);
        EXPECT_TRUE(made.ok()) << made.error().text;
        return std::move(*made);
    }

    Authority authority;
    Library library;
    TicketKeys tickets{a_secret(1)};
    std::unique_ptr<const ServerContext> server;
    std::unique_ptr<const ClientContext> client;
};

// --- right under every split ---------------------------------------------------------------------

TEST_F(Sessions, CarriesOctetsBothWaysHoweverTheyAreCut) {
    const std::string text = octets(70000);
    for (const std::size_t octets_max : {1, 2, 3, 5, 7, 64, 1000, 16384, 1 << 20}) {
        for (const std::size_t room_max : {512, 700, 5000, 16384 + 128, 1 << 16}) {
            Pair pair(*server, *client, {});
            pair.shake(octets_max, room_max);
            ASSERT_TRUE(pair.server.established() && pair.client.established())
                << octets_max << " " << room_max << pair.server.failure() << pair.client.failure();
            ASSERT_EQ(pair.carry(pair.client, pair.server, text, octets_max, room_max), text);
            ASSERT_EQ(pair.carry(pair.server, pair.client, text, octets_max, room_max), text);
        }
    }
}

TEST_F(Sessions, ShakesHandsWithHardlyAnyRoom) {
    for (const std::size_t room_max : {1, 2, 3, 17}) {
        Pair pair(*server, *client, {});
        pair.shake(1, room_max);
        EXPECT_TRUE(pair.server.established() && pair.client.established());
    }
}

TEST_F(Sessions, CutsTheHandshakeAtEveryOctet) {
    Pair whole(*server, *client, {});
    std::string hello;
    call(whole.to_client, hello, 0, 1 << 16, [&](Wire& wire) {
        return whole.client.handshake(wire);
    });
    for (std::size_t cut = 0; cut <= hello.size(); ++cut) {
        Session end(*server);
        std::string first = hello.substr(0, cut);
        std::string second = hello.substr(cut);
        std::string said;
        Status status =
            call(first, said, 1 << 20, 1 << 16, [&](Wire& wire) { return end.handshake(wire); });
        ASSERT_EQ(status, Status::input) << cut;
        ASSERT_TRUE(first.empty());
        if (cut < hello.size()) {
            ASSERT_TRUE(said.empty()) << "an answer to a part of a hello";
        }
        status =
            call(second, said, 1 << 20, 1 << 16, [&](Wire& wire) { return end.handshake(wire); });
        ASSERT_EQ(status, Status::input);
        ASSERT_FALSE(said.empty());
    }
}

TEST_F(Sessions, WritesNothingItHasNoRoomFor) {
    Pair pair(*server, *client, {});
    pair.shake();
    std::string_view text = "250 ok\r\n";
    Wire none{};
    EXPECT_EQ(pair.server.write(none, text), Status::room);
    EXPECT_EQ(text.size(), 8U);
    std::string nothing;
    EXPECT_EQ(pair.carry(pair.server, pair.client, text), "250 ok\r\n");
}

TEST_F(Sessions, ReadsNoMoreThanFits) {
    Pair pair(*server, *client, {});
    pair.shake();
    std::string_view text = "EHLO there\r\n";
    call(pair.to_client, pair.to_server, 0, 1 << 16, [&](Wire& wire) {
        return pair.client.write(wire, text);
    });
    std::string into(4, '\0');
    std::string arrived;
    std::size_t count = 0;
    for (Status status = Status::done; status == Status::done;) {
        status = call(pair.to_server, pair.to_client, 1 << 20, 1 << 16, [&](Wire& wire) {
            return pair.server.read(wire, into, count);
        });
        EXPECT_LE(count, into.size());
        arrived.append(into, 0, count);
    }
    EXPECT_EQ(arrived, "EHLO there\r\n");
}

// --- versions and endings ------------------------------------------------------------------------

TEST_F(Sessions, SaysWhatWasAgreedOn) {
    Pair pair(*server, *client, {.server_name = "mx.example", .verified_name = {}});
    pair.shake();
    EXPECT_STREQ(pair.server.version(), "TLSv1.3");
    EXPECT_STREQ(pair.server.cipher(), "TLS_AES_128_GCM_SHA256");
    EXPECT_STREQ(pair.client.cipher(), pair.server.cipher());
    EXPECT_EQ(pair.server.server_name(), "mx.example");
    EXPECT_FALSE(pair.server.resumed());
}

TEST_F(Sessions, SpeaksTls12AndNothingOlder) {
    for (const int version : {TLS1_2_VERSION, TLS1_1_VERSION}) {
        Foreign old(Foreign::Role::client);
        SSL_set_security_level(old.ssl, 0);
        SSL_set_max_proto_version(old.ssl, version);
        Session end(*server);
        old.shake(end);
        EXPECT_EQ(end.established(), version == TLS1_2_VERSION);
        EXPECT_EQ(end.failure(), version == TLS1_2_VERSION ? "" : "unsupported protocol");
    }
}

TEST_F(Sessions, KnowsAClientOfTls12ThatComesAgain) {
    Foreign first(Foreign::Role::client);
    SSL_set_max_proto_version(first.ssl, TLS1_2_VERSION);
    Session end(*server);
    first.shake(end);
    ASSERT_TRUE(end.established());
    EXPECT_STREQ(end.version(), "TLSv1.2");
    EXPECT_STREQ(end.cipher(), "ECDHE-ECDSA-AES128-GCM-SHA256");

    Foreign second(Foreign::Role::client);
    SSL_set_max_proto_version(second.ssl, TLS1_2_VERSION);
    SSL_set_session(second.ssl, SSL_get_session(first.ssl));
    Session again(*server);
    second.shake(again);
    EXPECT_TRUE(again.established() && again.resumed());
}

TEST_F(Sessions, DoesNotBeginAnew) {
    Foreign other(Foreign::Role::client);
    SSL_set_max_proto_version(other.ssl, TLS1_2_VERSION);
    Session end(*server);
    other.shake(end);
    ASSERT_TRUE(end.established());
    SSL_renegotiate(other.ssl);
    SSL_do_handshake(other.ssl);
    std::string from = other.said();
    std::string to;
    std::string into(100, '\0');
    std::size_t count = 0;
    const Status status =
        call(from, to, 1 << 20, 1 << 16, [&](Wire& wire) { return end.read(wire, into, count); });
    EXPECT_EQ(count, 0U);
    EXPECT_EQ(status, Status::input) << "a warning, and the session goes on";
    other.hear(to);
    EXPECT_EQ(SSL_do_handshake(other.ssl), -1);
    EXPECT_STREQ(ERR_reason_error_string(ERR_peek_error()), "no renegotiation");
}

TEST_F(Sessions, EndsInOrder) {
    Pair pair(*server, *client, {});
    pair.shake();
    call(pair.to_client, pair.to_server, 0, 1 << 16, [&](Wire& wire) {
        return pair.client.close(wire);
    });
    std::string into(100, '\0');
    std::size_t count = 0;
    EXPECT_EQ(
        call(
            pair.to_server,
            pair.to_client,
            1 << 20,
            1 << 16,
            [&](Wire& wire) { return pair.server.read(wire, into, count); }),
        Status::ended);
    EXPECT_EQ(count, 0U);
    // The other direction still stands.
    std::string_view text = "221 goodbye\r\n";
    EXPECT_EQ(
        call(
            pair.to_server,
            pair.to_client,
            1 << 20,
            1 << 16,
            [&](Wire& wire) { return pair.server.write(wire, text); }),
        Status::done);
    EXPECT_EQ(
        call(
            pair.to_client,
            pair.to_server,
            1 << 20,
            1 << 16,
            [&](Wire& wire) { return pair.client.read(wire, into, count); }),
        Status::input);
    EXPECT_EQ(into.substr(0, count), "221 goodbye\r\n");
}

TEST_F(Sessions, ClosesAgainWhereThereWasNoRoom) {
    Pair pair(*server, *client, {});
    pair.shake();
    const auto close = [&](Wire& wire) { return pair.client.close(wire); };
    EXPECT_EQ(call(pair.to_client, pair.to_server, 0, 3, close), Status::room);
    EXPECT_EQ(call(pair.to_client, pair.to_server, 0, 1 << 16, close), Status::done);
    std::string into(100, '\0');
    std::size_t count = 0;
    EXPECT_EQ(
        call(
            pair.to_server,
            pair.to_client,
            1 << 20,
            1 << 16,
            [&](Wire& wire) { return pair.server.read(wire, into, count); }),
        Status::ended);
}

TEST_F(Sessions, FailsOnWhatIsNoTls) {
    for (const std::string& said :
         {std::string("EHLO there\r\n"), std::string("GET / HTTP/1.1\r\n\r\n"), octets(600)}) {
        Session end(*server);
        std::string from = said;
        std::string to;
        const auto handshake = [&](Wire& wire) { return end.handshake(wire); };
        EXPECT_EQ(call(from, to, 1 << 20, 1 << 16, handshake), Status::failed) << said;
        EXPECT_FALSE(end.failure().empty());
        EXPECT_EQ(call(from, to, 1 << 20, 1 << 16, handshake), Status::failed);
    }
}

TEST_F(Sessions, FailsOnADamagedRecord) {
    Pair pair(*server, *client, {});
    pair.shake();
    std::string_view text = "EHLO there\r\n";
    call(pair.to_client, pair.to_server, 0, 1 << 16, [&](Wire& wire) {
        return pair.client.write(wire, text);
    });
    pair.to_server.back() = static_cast<char>(pair.to_server.back() ^ 1);
    std::string into(100, '\0');
    std::size_t count = 0;
    EXPECT_EQ(
        call(
            pair.to_server,
            pair.to_client,
            1 << 20,
            1 << 16,
            [&](Wire& wire) { return pair.server.read(wire, into, count); }),
        Status::failed);
    EXPECT_EQ(count, 0U);
    EXPECT_FALSE(pair.to_client.empty()) << "an alert";
    std::string_view more = "250 ok\r\n";
    Wire wire{};
    EXPECT_EQ(pair.server.write(wire, more), Status::failed);
}

// --- whom the client trusts ----------------------------------------------------------------------

struct Verifying : Sessions {
    Verifying() { client = client_with({true, authority.ca_file(), nullptr}); }

    std::string failure_of(const std::string& name) {
        Pair pair(*server, *client, {.server_name = {}, .verified_name = name});
        pair.shake();
        EXPECT_EQ(pair.client.established(), pair.client.failure().empty());
        EXPECT_EQ(pair.server.established(), pair.client.established());
        return pair.client.failure();
    }
};

TEST_F(Verifying, TakesTheNameThatTheCertificateHolds) {
    EXPECT_EQ(failure_of("mx.example"), "");
    EXPECT_EQ(failure_of("MX.Example"), "");
    EXPECT_EQ(failure_of("192.0.2.1"), "");
    EXPECT_EQ(failure_of("other.example"), "certificate verify failed: hostname mismatch");
    EXPECT_EQ(failure_of("192.0.2.2"), "certificate verify failed: IP address mismatch");
}

TEST_F(Verifying, RefusesAnotherAuthority) {
    Authority other;
    client = client_with({true, other.ca_file(), nullptr});
    EXPECT_THAT(failure_of("mx.example"), HasSubstr("certificate verify failed: self"));
}

TEST_F(Verifying, RefusesACertificateWhoseTimeIsOver) {
    const Files files = authority.issue({"mx.example"}, Kind::rsa, -1);
    auto old = KeyPair::load(files.chain, files.key);
    ASSERT_TRUE(old.ok());
    server = std::move(*ServerContext::create(library, tickets, {{*old}}));
    EXPECT_EQ(failure_of("mx.example"), "certificate verify failed: certificate has expired");
}

TEST_F(Sessions, TrustsAnybodyWhereItDoesNotVerify) {
    Pair pair(*server, *client, {.server_name = "x.example", .verified_name = "y.example"});
    pair.shake();
    EXPECT_TRUE(pair.client.established());
}

// --- coming again --------------------------------------------------------------------------------

/// What the server gave comes with the first octets behind the handshake.
Resumption resumption_of(Pair& pair) {
    pair.carry(pair.server, pair.client, "250 ok\r\n");
    return pair.client.take_resumption();
}

TEST_F(Sessions, KnowsAClientThatComesAgain) {
    Pair first(*server, *client, {});
    first.shake();
    const Resumption kept = resumption_of(first);
    ASSERT_TRUE(kept);
    EXPECT_FALSE(first.client.take_resumption()) << "it is given once";

    Pair second(*server, *client, {.server_name = {}, .verified_name = {}, .resumption = &kept});
    second.shake();
    EXPECT_TRUE(second.server.established() && second.server.resumed());
    EXPECT_TRUE(second.client.resumed());
    EXPECT_TRUE(resumption_of(second)) << "and a new one for the time after";
}

TEST_F(Sessions, KnowsItAfterAReloadAndFromAnotherWorker) {
    Pair first(*server, *client, {});
    first.shake();
    const Resumption kept = resumption_of(first);
    const Files files = authority.issue({"mx.example"}, Kind::ecdsa);
    const Library another;
    const auto reloaded =
        ServerContext::create(another, tickets, {{*KeyPair::load(files.chain, files.key)}});
    ASSERT_TRUE(reloaded.ok());

    Pair second(**reloaded, *client, {.server_name = {}, .verified_name = {}, .resumption = &kept});
    second.shake();
    EXPECT_TRUE(second.server.resumed());
}

TEST_F(Sessions, ForgetsTicketsWhoseKeyIsTwoRotationsOld) {
    Pair first(*server, *client, {});
    first.shake();
    const Resumption kept = resumption_of(first);
    for (const bool known : {true, false}) {
        tickets.rotate(a_secret(known ? 2 : 3));
        Pair again(*server, *client, {.server_name = {}, .verified_name = {}, .resumption = &kept});
        again.shake();
        EXPECT_TRUE(again.server.established());
        EXPECT_EQ(again.server.resumed(), known);
    }
}

TEST_F(Sessions, ResumesAfterAnEndThatWasNotInOrder) {
    Resumption kept;
    {
        Pair first(*server, *client, {});
        first.shake();
        kept = resumption_of(first);
    }  // no close_notify
    Pair second(*server, *client, {.server_name = {}, .verified_name = {}, .resumption = &kept});
    second.shake();
    EXPECT_TRUE(second.client.resumed());
}

TEST_F(Sessions, ShowsItsOwnCertificateToAServerThatAsks) {
    const Files files = authority.issue({"gw.example"}, Kind::ecdsa);
    auto pair = KeyPair::load(files.chain, files.key);
    ASSERT_TRUE(pair.ok());
    client = client_with({false, "", *pair});
    EXPECT_EQ(shown_to_asker(*client), "gw.example");
    client = client_with({});
    EXPECT_EQ(shown_to_asker(*client), "");
}

}  // namespace
}  // namespace postern::tls::test

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "tests/unit/tls/forger.h"
#include "tests/unit/tls/pair.h"

/// What a peer may do that means no good: with a session's own keys, or before there are any.
namespace postern::tls::test {
namespace {

const std::string key_update_requested("\x18\x00\x00\x01\x01", 5);
const std::string key_update("\x18\x00\x00\x01\x00", 5);

/// A forger, and what the session makes of its octets, given whole, with so much room for what it
/// says.
struct Forging : Forger {
    explicit Forging(const ServerContext& context) : Forger(context) {
        EXPECT_TRUE(session.established()) << session.failure();
    }

    /// One after the other.
    std::string records(std::initializer_list<std::pair<Content, std::string>> all) {
        std::string made;
        for (const auto& [content, plain] : all) {
            made += record(content, plain);
        }
        return made;
    }

    struct Taken {
        Status status;
        std::string plain;
        std::string said;
    };

    Taken give(std::string octets, std::size_t room = 1 << 16) {
        Taken taken{};
        std::string into(100000, '\0');
        std::size_t count = 0;
        taken.status = call(octets, taken.said, 1 << 24, room, [&](Wire& wire) {
            return session.read(wire, into, count);
        });
        taken.plain = into.substr(0, count);
        return taken;
    }
};

struct Hostile : ::testing::Test {
    Hostile() {
        const Files files = authority.issue({"mx.example"}, Kind::ecdsa);
        auto pair = KeyPair::load(files.chain, files.key);
        EXPECT_TRUE(pair.ok());
        server = std::move(*ServerContext::create(library, tickets, {{*pair}}));
    }

    Authority authority;
    Library library;
    TicketKeys tickets{a_secret(1)};
    std::unique_ptr<const ServerContext> server;
};

TEST_F(Hostile, TheForgerIsUnderstood) {
    Forging forger(*server);
    const Forging::Taken taken =
        forger.give(forger.records({{Content::data, "EHLO "}, {Content::data, "there\r\n"}}));
    EXPECT_EQ(taken.plain, "EHLO there\r\n");
    EXPECT_EQ(taken.status, Status::input);
}

TEST_F(Hostile, RecordsOfOneOctetAreOctets) {
    Forging forger(*server);
    std::string records;
    for (int i = 0; i < 5000; ++i) {
        records += forger.record(Content::data, "x");
    }
    const Forging::Taken taken = forger.give(records);
    EXPECT_EQ(taken.plain, std::string(5000, 'x'));
    EXPECT_EQ(taken.status, Status::input);
}

TEST_F(Hostile, ManyRecordsOfNothingAreTheEnd) {
    for (const int count : {20, 100}) {
        Forging forger(*server);
        std::string records;
        for (int i = 0; i < count; ++i) {
            records += forger.record(Content::data, "");
        }
        records += forger.record(Content::data, "x");
        const Forging::Taken taken = forger.give(records);
        EXPECT_EQ(taken.plain, count == 20 ? "x" : "");
        EXPECT_EQ(taken.status, count == 20 ? Status::input : Status::failed);
    }
}

TEST_F(Hostile, NewKeysAreTakenAndAnswered) {
    Forging forger(*server);
    std::string records = forger.updated(key_update);
    records += forger.record(Content::data, "a");
    records += forger.updated(key_update_requested);
    records += forger.record(Content::data, "b");
    const Forging::Taken taken = forger.give(records);
    EXPECT_EQ(taken.plain, "ab");
    EXPECT_EQ(taken.status, Status::input);
    std::string room(Session::room_min, '\0');
    std::string_view text = "250 ok\r\n";
    Wire wire{{}, room};
    EXPECT_EQ(forger.session.write(wire, text), Status::done);
    EXPECT_EQ(
        taken.said.size() + room.size() - wire.output.size(), (5U + 5 + 1 + 16) + (5U + 8 + 1 + 16))
        << "new keys of ours, for who asked for them, and the text";
}

/// Each costs us more than it costs who sends it (RFC 8446, section 4.6.3 has no use for many).
TEST_F(Hostile, ManyNewKeysAreTheEnd) {
    for (const std::string& message : {key_update, key_update_requested}) {
        Forging forger(*server);
        std::string records;
        for (int i = 0; i < 1000; ++i) {
            records += forger.updated(message);
        }
        const Forging::Taken taken = forger.give(records);
        EXPECT_EQ(taken.status, Status::failed);
        EXPECT_EQ(forger.session.failure(), "too many key updates");
        EXPECT_LT(taken.said.size(), 4096U);
        EXPECT_EQ(forger.give(forger.record(Content::data, "x")).plain, "");
    }
}

TEST_F(Hostile, AnswersToNewKeysWaitForRoom) {
    Forging forger(*server);
    std::string records = forger.updated(key_update_requested);
    records += forger.updated(key_update_requested);
    records += forger.record(Content::data, "a");
    std::string said;
    std::string into(100, '\0');
    std::size_t count = 0;
    std::string plain;
    Status status = Status::room;
    for (int i = 0; i < 100 && status == Status::room; ++i) {
        status = call(records, said, 1 << 20, 7, [&](Wire& wire) {
            return forger.session.read(wire, into, count);
        });
        plain += into.substr(0, count);
    }
    EXPECT_EQ(status, Status::input);
    EXPECT_EQ(plain, "a");
    EXPECT_LE(said.size(), 2 * (5U + 5 + 1 + 16));
}

TEST_F(Hostile, AlertsEndItOrAreWithoutMeaning) {
    const std::string close_notify("\x01\x00", 2);
    const std::string fatal("\x02\x28", 2);            // handshake_failure
    const std::string canceled("\x01\x5a", 2);         // user_canceled
    const std::string unknown_warning("\x01\x70", 2);  // in TLS 1.3 an error whatever its level
    for (const auto& [said, status] :
         {std::pair{close_notify, Status::ended},
          std::pair{fatal, Status::failed},
          std::pair{canceled, Status::input},
          std::pair{unknown_warning, Status::failed}}) {
        Forging forger(*server);
        const Forging::Taken taken =
            forger.give(forger.records({{Content::data, "a"}, {Content::alert, said}}));
        EXPECT_EQ(taken.plain, "a");
        EXPECT_EQ(taken.status, status);
        EXPECT_EQ(
            forger.give(forger.record(Content::data, "b")).plain,
            status == Status::input ? "b" : "")
            << "behind the end nothing is heard";
    }
}

TEST_F(Hostile, ManyWarningsAreTheEnd) {
    Forging forger(*server);
    std::string records;
    for (int i = 0; i < 100; ++i) {
        records += forger.record(Content::alert, std::string("\x01\x5a", 2));
    }
    EXPECT_EQ(forger.give(records).status, Status::failed);
}

TEST_F(Hostile, WhatIsNoRecordIsNoText) {
    for (const auto& [content, plain] :
         {std::pair{
              Content::handshake, std::string("\x01\x00\x00\x02hi", 6)},      // another ClientHello
          std::pair{Content::handshake, std::string("\x0b\x00\x00\x00", 4)},  // a certificate
          std::pair{Content::handshake, std::string()},
          std::pair{Content::alert, std::string()},
          std::pair{static_cast<Content>(0), std::string("\x00\x00", 2)},  // padding alone
          std::pair{static_cast<Content>(20), std::string("\x01")},        // change_cipher_spec
          std::pair{static_cast<Content>(99), std::string("text")}}) {
        Forging forger(*server);
        const Forging::Taken taken =
            forger.give(forger.records({{content, plain}, {Content::data, "b"}}));
        EXPECT_EQ(taken.status, Status::failed) << int(content);
        EXPECT_EQ(taken.plain, "");
    }
}

TEST_F(Hostile, ARecordThatIsTooLongIsTheEnd) {
    for (const std::size_t size : {std::size_t{16384}, std::size_t{16385}}) {
        Forging forger(*server);
        const Forging::Taken taken =
            forger.give(forger.record(Content::data, std::string(size, 'x')));
        EXPECT_EQ(taken.plain.size(), size == 16384 ? size : 0);
        EXPECT_EQ(taken.status, size == 16384 ? Status::input : Status::failed);
    }
    Forging forger(*server);
    EXPECT_EQ(forger.give(std::string("\x17\x03\x03\xff\xff", 5)).status, Status::failed)
        << "it is not waited for";
}

TEST_F(Hostile, ARecordIsTakenOnce) {
    Forging forger(*server);
    const std::string record = forger.record(Content::data, "NOOP\r\n");
    EXPECT_EQ(forger.give(record).plain, "NOOP\r\n");
    const Forging::Taken again = forger.give(record);
    EXPECT_EQ(again.plain, "");
    EXPECT_EQ(again.status, Status::failed);
}

// --- before there are keys -----------------------------------------------------------------------

/// A record of the handshake in plain text.
std::string plain_record(std::string_view text) {
    std::string made{
        '\x16',
        '\x03',
        '\x01',
        static_cast<char>(text.size() >> 8),
        static_cast<char>(text.size())};
    made += text;
    return made;
}

Status status_of_hello(const ServerContext& context, std::string octets, std::string& said) {
    Session end(context);
    return call(octets, said, 1 << 24, 1 << 16, [&](Wire& wire) { return end.handshake(wire); });
}

Status heard_in_pieces(Session& end, std::string octets, std::size_t piece) {
    Status status = Status::input;
    for (std::string said; !octets.empty() && status == Status::input;) {
        status =
            call(octets, said, piece, 1 << 16, [&](Wire& wire) { return end.handshake(wire); });
    }
    return status;
}

TEST_F(Hostile, AHelloMayComeInManyRecords) {
    Foreign client(Foreign::Role::client);
    SSL_do_handshake(client.ssl);
    const std::string hello = client.said().substr(5);
    std::string records;
    for (const char octet : hello) {
        records += plain_record({&octet, 1});
    }
    std::string said;
    EXPECT_EQ(status_of_hello(*server, records, said), Status::input);
    EXPECT_FALSE(said.empty());
}

/// OpenSSL takes memory for as much as a hello says it has, to 128 KiB.
TEST_F(Hostile, AHugeHelloIsNotWaitedFor) {
    for (const auto& [size, status] :
         {std::pair{std::string("\x00\x40\x00", 3), Status::input},
          std::pair{std::string("\x00\x40\x01", 3), Status::failed},
          std::pair{std::string("\x01\xff\xff", 3), Status::failed},
          std::pair{std::string("\xff\xff\xff", 3), Status::failed}}) {
        const std::string begin = "\x01" + size;
        std::string records = plain_record(begin + "part");
        std::string cut;
        for (const char octet : begin) {
            cut += plain_record({&octet, 1});
        }
        for (const std::string& hello : {records, cut}) {
            for (const std::size_t piece : {1, 2, 7, 100}) {
                Session end(*server);
                EXPECT_EQ(heard_in_pieces(end, hello, piece), status);
                EXPECT_EQ(end.failure(), status == Status::failed ? "the hello is too long" : "");
            }
        }
    }
}

/// Of the second one, behind a HelloRetryRequest (RFC 8446, section 4.1.4), too; with or without
/// the change_cipher_spec that may stand before it (appendix D.4).
TEST_F(Hostile, AHugeSecondHelloIsNotWaitedFor) {
    const std::string change_cipher_spec("\x14\x03\x03\x00\x01\x01", 6);
    for (const std::string& before : {std::string(), change_cipher_spec}) {
        Foreign client(Foreign::Role::client);
        SSL_set1_groups_list(client.ssl, "P-521:P-256");  // a share of the first alone
        SSL_do_handshake(client.ssl);
        Session end(*server);
        ASSERT_EQ(heard_in_pieces(end, client.said(), 1000), Status::input) << end.failure();
        const std::string huge = plain_record(std::string("\x01\x01\xff\xff", 4));
        EXPECT_EQ(heard_in_pieces(end, before + huge, 1000), Status::failed);
        EXPECT_EQ(end.failure(), "the hello is too long");
    }
    Foreign client(Foreign::Role::client);
    SSL_set1_groups_list(client.ssl, "P-521:P-256");
    Session end(*server);
    client.shake(end);
    EXPECT_TRUE(end.established()) << "who means well";
}

/// What TLS 1.2 seals stands in records of the handshake, too, and may begin with any octets.
TEST_F(Hostile, WhatIsSealedIsTakenForNoHello) {
    Foreign client(Foreign::Role::client);
    SSL_set_max_proto_version(client.ssl, TLS1_2_VERSION);
    {
        Session end(*server);
        client.shake(end);
        ASSERT_TRUE(end.established()) << end.failure();
    }
    Foreign again(Foreign::Role::client);
    SSL_set_max_proto_version(again.ssl, TLS1_2_VERSION);
    SSL_set_session(again.ssl, SSL_get0_session(client.ssl));
    SSL_do_handshake(again.ssl);
    Session end(*server);
    ASSERT_EQ(heard_in_pieces(end, again.said(), 1000), Status::input) << end.failure();
    std::string records("\x14\x03\x03\x00\x01\x01", 6);
    std::string sealed = plain_record("\x01\xff\xff\xff" + std::string(36, 'x'));
    sealed[2] = '\x03';
    EXPECT_EQ(heard_in_pieces(end, records + sealed, 1000), Status::failed);
    EXPECT_EQ(end.failure(), "decryption failed or bad record mac");
}

TEST_F(Hostile, WhatComesBeforeAHelloIsTheEnd) {
    for (const std::string& first :
         {std::string("\x15\x03\x01\x00\x02\x01\x00", 7),  // close_notify
          std::string("\x17\x03\x03\x00\x01x", 6),         // data
          std::string("\x16\x03\x01\x00\x00", 5),          // nothing
          std::string("\x14\x03\x03\x00\x01\x01", 6),      // change_cipher_spec
          plain_record(std::string("\x14\x00\x00\x0c", 4) + std::string(12, 'x'))}) {  // finished
        std::string said;
        EXPECT_EQ(status_of_hello(*server, first + std::string(20, 'x'), said), Status::failed);
    }
}

}  // namespace
}  // namespace postern::tls::test

#include <gtest/gtest.h>

#include "relay_fixture.h"
#include "tests/unit/tls/authority.h"

namespace postern::relay {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using test::Dialogue;
using test::Ended;
using test::Peer;
using test::RelayTest;

constexpr const char* offer = "250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n";
constexpr const char* under_tls = "250-peer\r\n250-8BITMIME\r\n250 PIPELINING\r\n";

const tls::Library& library() {
    static const tls::Library one;
    return one;
}

class RelayTlsTest : public RelayTest {
   protected:
    RelayTlsTest() : tickets(std::as_bytes(std::span<const char, 80>(secret))) {
        offer_certificate({"mx.test", "127.0.0.1"});
        use(Tls::required);
    }

    ~RelayTlsTest() override { stop(); }

    void offer_certificate(const std::vector<std::string>& names, int days = 30) {
        const tls::test::Files files = authority.issue(names, tls::test::Kind::ecdsa, days);
        tls::ServerSettings of_server;
        of_server.pairs.push_back(*tls::KeyPair::load(files.chain, files.key));
        auto made = tls::ServerContext::create(library(), tickets, of_server);
        ASSERT_TRUE(made) << made.error().text;
        server = std::move(*made);
    }

    void use(Tls how) {
        settings.tls = how;
        auto made = tls::ClientContext::create(
            library(), {.verify = how == Tls::verify, .ca_file = authority.ca_file(), .pair = {}});
        ASSERT_TRUE(made) << made.error().text;
        context = std::move(*made);
    }

    /// To the end of the connection, answering as it should be.
    static void serve(Dialogue& d, std::vector<std::string>* bodies = nullptr) {
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            if (line == "DATA") {
                d.say("354 go\r\n");
                const std::string body = d.data();
                if (bodies != nullptr) {
                    bodies->push_back(body);
                }
                d.say("250 2.0.0 queued\r\n");
            } else if (line.starts_with("BDAT ")) {
                const std::string body = d.octets(std::stoul(line.substr(5)));
                if (bodies != nullptr) {
                    bodies->push_back(body);
                }
                d.say("250 2.0.0 queued\r\n");
            } else if (line == "QUIT") {
                d.say("221 bye\r\n");
                return;
            } else {
                d.say("250 ok\r\n");
            }
        }
    }

    /// STARTTLS and the handshake as it should be, up to the second EHLO's answer.
    bool secure(Dialogue& d, std::string_view capabilities = under_tls) {
        d.open(offer);
        if (!d.secure(*server)) {
            return false;
        }
        EXPECT_EQ(d.line(), "EHLO gw");
        d.say(capabilities);
        return true;
    }

    template <metrics::Metric metric>
    std::uint64_t count(const Peer& peer) {
        return counted.worker(0).host("pool", peer.address.text(), false).value<metric>();
    }

    char secret[80] = "not so secret";
    tls::test::Authority authority;
    tls::TicketKeys tickets;
    std::unique_ptr<const tls::ServerContext> server;
};

TEST_F(RelayTlsTest, AMessageGoesUnderTls) {
    std::vector<std::string> bodies;
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        EXPECT_EQ(std::string_view(d.session().version()), "TLSv1.3");
        EXPECT_EQ(d.session().server_name(), "") << "an address is no name";
        serve(d, &bodies);
    });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n.b\r\n")).kind, Kind::accepted);
    EXPECT_EQ(wait_for(submit("c\r\n")).reply, "250 2.0.0 queued");
    EXPECT_EQ(peer.connections(), 1);
    EXPECT_EQ(count<metrics::Metric::host_tls_connections>(peer), 1U);
    EXPECT_EQ(count<metrics::Metric::host_tls_failures>(peer), 0U);
    relay->shut_down();
    EXPECT_TRUE(turn_until([&] { return relay->idle(); }));
    peer.finish();
    EXPECT_EQ(bodies, (std::vector<std::string>{"a\r\n.b\r\n", "c\r\n"}));
    EXPECT_TRUE(troubles.empty()) << troubles[0];
}

TEST_F(RelayTlsTest, ALargeMessageArrivesOctetForOctetByDataAndByBdat) {
    std::string content;
    for (int i = 0; content.size() < (3U << 20); ++i) {
        content += std::string(i % 7 == 0 ? "." : "") + "line " + std::to_string(i) +
                   std::string(static_cast<std::size_t>(i % 300), 'x') + "\r\n";
    }
    for (const char* capabilities :
         {under_tls, "250-peer\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 PIPELINING\r\n"}) {
        settings.connections_max = 1;
        timeouts.busy = 10s;
        std::vector<std::string> bodies;
        Peer peer([&](Dialogue& d) {
            ASSERT_TRUE(secure(d, capabilities));
            serve(d, &bodies);
        });
        start(peer.address);
        smtp::test::Message& first = submit(content);
        smtp::test::Message& second = submit("small\r\n");
        EXPECT_EQ(wait_for(first).kind, Kind::accepted);
        EXPECT_EQ(wait_for(second).kind, Kind::accepted);
        stop();
        peer.finish();
        ASSERT_EQ(bodies.size(), 2U);
        EXPECT_TRUE(bodies[0] == content || bodies[1] == content);
    }
}

TEST_F(RelayTlsTest, TheNextConnectionResumesTheSession) {
    std::vector<bool> resumed;
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        resumed.push_back(d.session().resumed());
        serve(d);
    });
    settings.idle = 100ms;
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    turn_for(300ms);
    EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::accepted);
    stop();
    peer.finish();
    EXPECT_EQ(resumed, (std::vector<bool>{false, true}));
}

TEST_F(RelayTlsTest, WhereTlsIsRequiredAndNotToBeHadNothingGoes) {
    using Script = std::function<void(Dialogue&)>;

    const struct {
        Script script;
        std::string_view trouble;
    } rows[] = {
        {[](Dialogue& d) {
             d.open("250-peer\r\n250 PIPELINING\r\n");
             d.ended();
         },
         "it does not offer STARTTLS"},
        {[](Dialogue& d) {
             d.open(offer);
             d.line();
             d.say("454 4.7.0 not now\r\n");
             d.ended();
         },
         "STARTTLS was refused: 454 4.7.0 not now"},
        {[](Dialogue& d) {
             d.open(offer);
             d.line();
             d.say("220 go\r\n250 PIPELINING\r\n");
             d.ended();
         },
         "it said more behind its answer to STARTTLS"},
        {[](Dialogue& d) {
             d.open(offer);
             d.line();
             d.say("220 go\r\n");
             d.more();
             d.say("what is this?\r\n");
             d.ended();
         },
         "TLS failed: "},
        {[](Dialogue& d) {
             d.open(offer);
             d.line();
             d.say("220 go\r\n");
             d.more();
         },
         "the TLS handshake came to nothing: it closed the connection"},
        {[](Dialogue& d) {
             d.open(offer);
             d.line();
             d.say("220 go\r\n");
             d.ended();
         },
         "the TLS handshake came to nothing: no answer in time"},
    };

    timeouts.connect = timeouts.reply = 300ms;
    for (const auto& row : rows) {
        troubles.clear();
        Peer peer(row.script);
        start(peer.address);
        EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::untrusted) << row.trouble;
        ASSERT_FALSE(troubles.empty());
        EXPECT_NE(troubles[0].find(row.trouble), std::string::npos) << troubles[0];
        EXPECT_GE(count<metrics::Metric::host_tls_failures>(peer), 1U);
        stop();
    }
}

TEST_F(RelayTlsTest, WhatIsSaidBehindTheAnswerToSTARTTLSIsNotUsedWhereTlsIsOpportunisticEither) {
    use(Tls::opportunistic);
    Peer peer([](Dialogue& d) {
        d.open(offer);
        d.line();
        d.say("220 go\r\n250-x\r\n250 PIPELINING\r\n");
        EXPECT_EQ(d.line(), "");
    });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::unreachable);
}

TEST_F(RelayTlsTest, OpportunisticGoesOnInPlainTextAndRemembers) {
    use(Tls::opportunistic);
    settings.idle = 100ms;
    std::vector<std::string> behind_ehlo;
    Peer peer([&](Dialogue& d) {
        d.open(offer);
        const std::string line = d.line();
        behind_ehlo.push_back(line);
        if (line == "STARTTLS") {
            d.say("220 go\r\n");
            d.more();
            d.say("what is this?\r\n");
            return;
        }
        d.say("250 m\r\n");
        serve(d);
    });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    turn_for(300ms);
    EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::accepted);
    EXPECT_EQ(
        behind_ehlo,
        (std::vector<std::string>{"STARTTLS", "MAIL FROM:<s0@x>", "MAIL FROM:<s1@x>"}));
    ASSERT_EQ(troubles.size(), 1U);
    EXPECT_NE(troubles[0].find("plain text for the next 5 min"), std::string::npos) << troubles[0];
    EXPECT_EQ(count<metrics::Metric::host_tls_failures>(peer), 1U);
    EXPECT_EQ(count<metrics::Metric::host_aside>(peer), 0U);
}

TEST_F(RelayTlsTest, OpportunisticUsesTlsWhereItIsOfferedAndAnyCertificate) {
    use(Tls::opportunistic);
    offer_certificate({"somebody.else"}, -1);
    Peer secured([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        serve(d);
    });
    start(secured.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    stop();
    Peer plain([&](Dialogue& d) {
        d.open("250-peer\r\n250 PIPELINING\r\n");
        serve(d);
    });
    start(plain.address);
    EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::accepted);
    stop();
    Peer refusing([&](Dialogue& d) {
        d.open(offer);
        EXPECT_EQ(d.line(), "STARTTLS");
        d.say("454 4.7.0 not now\r\n");
        serve(d);
    });
    start(refusing.address);
    EXPECT_EQ(wait_for(submit("c\r\n")).kind, Kind::accepted);
    EXPECT_EQ(refusing.connections(), 1);
}

TEST_F(RelayTlsTest, VerifyLooksAtNameAndTimeAndIssuer) {
    const struct {
        std::vector<std::string> names;
        int days;
        const char* wanted;
        Kind kind;
        std::string_view trouble;
    } rows[] = {
        {{"mx.test"}, 30, "mx.test", Kind::accepted, ""},
        {{"*.mail.test"}, 30, "mx.mail.test", Kind::accepted, ""},
        {{"127.0.0.1"}, 30, "", Kind::accepted, ""},
        {{"mx.test"}, 30, "", Kind::untrusted, "IP address mismatch"},
        {{"other.test"}, 30, "mx.test", Kind::untrusted, "ostname mismatch"},
        {{"mx.test"}, -1, "mx.test", Kind::untrusted, "certificate has expired"},
    };

    use(Tls::verify);
    for (const auto& row : rows) {
        troubles.clear();
        offer_certificate(row.names, row.days);
        settings.tls_name = row.wanted;
        Peer peer([&](Dialogue& d) {
            if (secure(d)) {
                EXPECT_EQ(d.session().server_name(), row.wanted);
                serve(d);
            }
        });
        start(peer.address);
        EXPECT_EQ(wait_for(submit("a\r\n")).kind, row.kind) << row.names[0] << " " << row.wanted;
        if (!row.trouble.empty()) {
            ASSERT_FALSE(troubles.empty());
            EXPECT_NE(troubles[0].find(row.trouble), std::string::npos) << troubles[0];
        }
        stop();
        peer.finish();
    }
    tls::test::Authority stranger;
    const tls::test::Files files = stranger.issue({"mx.test"}, tls::test::Kind::ecdsa);
    tls::ServerSettings of_server;
    of_server.pairs.push_back(*tls::KeyPair::load(files.chain, files.key));
    auto made = tls::ServerContext::create(library(), tickets, of_server);
    ASSERT_TRUE(made);
    server = std::move(*made);
    settings.tls_name = "mx.test";
    Peer peer([&](Dialogue& d) { EXPECT_FALSE(secure(d)); });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::untrusted);
}

TEST_F(RelayTlsTest, TheNameThatAHostWasFoundByIsVerified) {
    use(Tls::verify);
    offer_certificate({"mx.test"});
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        EXPECT_EQ(d.session().server_name(), "mx.test");
        serve(d);
    });
    settings.hosts = {{.name = "mx.test", .port = peer.address.port()}};
    start();
    const HostAddress found{peer.address, "mx.test", 0};
    relay->set_hosts(0, {&found, 1});
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
}

TEST_F(RelayTlsTest, AuthUnderTlsAndARefusalIsTheHostsTrouble) {
    use(Tls::opportunistic);
    settings.auth_user = "u";
    settings.auth_password = "p";
    bool right = true;
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d, "250-peer\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n"));
        EXPECT_EQ(d.line(), "AUTH PLAIN AHUAcA==");
        d.say(right ? "235 ok\r\n" : "535 5.7.8 who?\r\n");
        serve(d);
    });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    stop();
    right = false;
    start(peer.address);
    EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::unreachable);
    ASSERT_FALSE(troubles.empty());
    EXPECT_EQ(troubles[0], "AUTH was refused: 535 5.7.8 who?");
    stop();
    Peer plain([](Dialogue& d) {
        d.open("250-peer\r\n250 AUTH PLAIN\r\n");
        EXPECT_EQ(d.line(), "") << "no password in plain text";
    });
    start(plain.address);
    EXPECT_EQ(wait_for(submit("c\r\n")).kind, Kind::untrusted);
}

TEST_F(RelayTlsTest, AHostThatEndsAnIdleConnectionIsNoticed) {
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        EXPECT_TRUE(d.line().starts_with("MAIL"));
        d.line();
        d.line();
        d.say("250 ok\r\n250 ok\r\n354 go\r\n");
        d.data();
        d.say("250 ok\r\n");
        if (d.number == 0) {
            d.end_tls();
            EXPECT_EQ(d.line(), "");
        }
    });
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    turn_for(100ms);
    EXPECT_EQ(wait_for(submit("b\r\n")).kind, Kind::accepted);
    EXPECT_EQ(peer.connections(), 2);
    EXPECT_TRUE(troubles.empty()) << troubles[0];
}

TEST_F(RelayTlsTest, AnAnswerMayComeInARecordForEachOctet) {
    Peer peer([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        const auto say = [&d](std::string_view text) {
            for (const char& octet : text) {
                d.say({&octet, 1});
            }
        };
        for (int i = 0; i < 2; ++i) {
            d.line();
            d.line();
            d.line();
            say("250 ok\r\n250 ok\r\n354 go\r\n");
            d.data();
            say("250-2.0.0 queued\r\n250 2.0.0 slowly\r\n");
        }
        d.line();
    });
    settings.connections_max = 1;
    start(peer.address);
    EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    stop();
}

/// Who can cut the wire, or put octets on it, can not answer.
TEST_F(RelayTlsTest, AnAnswerThatIsCutOrForgedIsNone) {
    const std::vector<std::function<void(Dialogue&)>> endings{
        [](Dialogue& d) { d.say("250 2.0.0 que"); },  // and the stream ends
        [](Dialogue& d) {
            d.say("250 2.0.0 que");
            d.end_tls();
        },
        [](Dialogue& d) {
            d.say("250 2.0.0 que");
            d.reset();
        },
        [](Dialogue& d) { d.send("250 2.0.0 queued\r\n"); },  // in plain text
        [](Dialogue& d) {
            d.send({"\x15\x03\x03\x00\x02\x02\x28", 7});
        },  // an alert
        [](Dialogue& d) { d.send(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x')); },
        [](Dialogue& d) {
            d.send({"\x17\x03\x03\x00\x00", 5});
        },
    };
    settings.connections_max = 1;
    for (const auto& ending : endings) {
        Peer peer([&](Dialogue& d) {
            ASSERT_TRUE(secure(d));
            d.line();
            d.line();
            d.line();
            d.say("250 ok\r\n250 ok\r\n354 go\r\n");
            d.data();
            ending(d);
        });
        start(peer.address);
        EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::unknown) << &ending - endings.data();
        stop();
    }
}

TEST_F(RelayTlsTest, AnotherHostTakesTheMailOfOneWithoutTls) {
    Peer without([](Dialogue& d) {
        d.open("250-peer\r\n250 PIPELINING\r\n");
        d.ended();
    });
    Peer with([&](Dialogue& d) {
        ASSERT_TRUE(secure(d));
        serve(d);
    });
    settings.hosts = {{.address = without.address}, {.address = with.address}};
    start();
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(wait_for(submit("a\r\n")).kind, Kind::accepted);
    }
}

}  // namespace
}  // namespace postern::relay

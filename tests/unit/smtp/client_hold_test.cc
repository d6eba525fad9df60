// Messages that wait for what other hosts say: the body goes, or nothing does, when that is known.

#include "client_session_fixture.h"

namespace postern::smtp {
namespace {

using Ending = ClientSession::Ending;
using Kind = Verdict::Kind;
using test::bdat_host;
using test::ClientSessionTest;
using test::data_host;
using test::Message;

TEST_F(ClientSessionTest, ABodyThatWaitsGoesWhenItIsTold) {
    for (const bool chunked : {false, true}) {
        SCOPED_TRACE(chunked);
        open(chunked ? bdat_host : data_host);
        Message& message = add("a\r\n");
        message.made.waits = true;
        Message& behind = add("b\r\n");
        const std::string said = written();
        EXPECT_TRUE(said.starts_with("MAIL FROM:<")) << said;
        EXPECT_TRUE(said.ends_with("RCPT TO:<r@x>\r\n")) << "not in one flight: " << said;
        for (const char octet : std::string_view("250 ok\r\n250 ok\r\n")) {
            EXPECT_EQ(message.held_times, 0);
            host({&octet, 1});
        }
        EXPECT_EQ(message.held_times, 1);
        EXPECT_TRUE(message.held());
        EXPECT_EQ(written(), "") << "nothing goes behind it";
        EXPECT_EQ(session->awaited(), ClientSession::Awaited::nothing);
        EXPECT_FALSE(session->idle());
        ClientSession::go_on(message);
        EXPECT_FALSE(message.held());
        if (chunked) {
            EXPECT_TRUE(written().starts_with("BDAT 3 LAST\r\na\r\nRSET\r\n"));
        } else {
            EXPECT_EQ(written(), "DATA\r\n");
            host("354 go\r\n");
            EXPECT_TRUE(written().starts_with("a\r\n.\r\nRSET\r\n"));
        }
        host("250 2.0.0 taken\r\n");
        EXPECT_EQ(verdict(message), Kind::accepted);
        EXPECT_EQ(message.released, 1);
        session->ended();
        EXPECT_EQ(behind.released, 1);
        messages.clear();
    }
}

TEST_F(ClientSessionTest, ABodyThatWaitsAndIsGivenUpIsResetAndTheConnectionGoesOn) {
    for (const char* const said : {data_host, bdat_host, "220 h\r\n250-h\r\n250 CHUNKING\r\n"}) {
        SCOPED_TRACE(said);
        open(said);
        Message& message = add("a\r\n", {"r@x", "q@x"});
        message.made.waits = true;
        message.made.divide = mail::Divide::always;
        for (std::string asked = written(); !asked.empty(); asked = written()) {
            for (std::size_t at = 0; (at = asked.find("\r\n", at)) != std::string::npos; at += 2) {
                const bool refused = asked.substr(0, at).ends_with("RCPT TO:<q@x>");
                host(refused ? "550 5.1.1 no\r\n" : "250 ok\r\n");
            }
        }
        EXPECT_TRUE(message.held());
        EXPECT_EQ(message.made.envelope.first_recipient->answer.code, 250);
        EXPECT_EQ(message.made.envelope.last_recipient->answer.code, 550);
        EXPECT_FALSE(session->give_up(message));
        EXPECT_FALSE(message.held());
        EXPECT_EQ(written(), "RSET\r\n");
        EXPECT_EQ(message.released, 1);
        EXPECT_TRUE(message.verdicts.empty());
        host("250 ok\r\n");
        EXPECT_TRUE(session->idle());
        session->ended();
        messages.clear();
    }
}

TEST_F(ClientSessionTest, NobodyIsWaitedForWhereNoneIsAccepted) {
    open(bdat_host);
    Message& message = add("a\r\n");
    message.made.waits = true;
    written();
    host("250 ok\r\n550 5.1.1 no\r\n");
    EXPECT_EQ(message.held_times, 0);
    EXPECT_EQ(verdict(message), Kind::refused);
}

TEST_F(ClientSessionTest, AConnectionThatEndsWhileABodyWaitsHasNotHadIt) {
    for (const bool said : {false, true}) {
        open(bdat_host);
        Message& message = add("a\r\n");
        message.made.waits = true;
        written();
        host("250 ok\r\n250 ok\r\n");
        EXPECT_TRUE(message.held());
        if (said) {
            host("421 4.4.2 too long\r\n");
            EXPECT_EQ(session->ending(), Ending::host_closing);
        }
        session->ended();
        EXPECT_FALSE(message.held());
        EXPECT_EQ(verdict(message), Kind::again);
        EXPECT_FALSE(stale);
        EXPECT_EQ(message.made.envelope.first_recipient->answer.code, 0);
        messages.clear();
    }
}

TEST_F(ClientSessionTest, OneThatWaitsRidesBehindABody) {
    open(bdat_host);
    Message& first = add("a\r\n");
    Message& second = add("b\r\n");
    second.made.waits = true;
    EXPECT_EQ(
        written(),
        "MAIL FROM:<s0@x> SIZE=3\r\nRCPT TO:<r@x>\r\nBDAT 3 LAST\r\na\r\n"
        "RSET\r\nMAIL FROM:<s1@x> SIZE=3\r\nRCPT TO:<r@x>\r\n");
    host("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_EQ(verdict(first), Kind::accepted);
    EXPECT_TRUE(second.held());
    ClientSession::go_on(second);
    EXPECT_EQ(written(), "BDAT 3 LAST\r\nb\r\n");
    host("250 ok\r\n");
    EXPECT_EQ(verdict(second), Kind::accepted);
}

}  // namespace
}  // namespace postern::smtp

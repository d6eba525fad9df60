#include "postern/smtp/client_session.h"

#include <gtest/gtest.h>

#include "client_session_fixture.h"
#include "postern/smtp/xtext.h"

namespace postern::smtp {
namespace {

using namespace std::chrono_literals;
using Ending = ClientSession::Ending;
using Kind = Verdict::Kind;
using test::bdat_host;
using test::ClientSessionTest;
using test::data_host;
using test::Message;
using test::plain_host;
using test::Pools;
using test::text_of;

TEST_F(ClientSessionTest, WithPipeliningTheNextCommandsRideBehindTheFinalDot) {
    open(data_host);
    Message& first = add("a\r\n.b\r\n");
    Message& second = add("no end");
    EXPECT_EQ(written(), "MAIL FROM:<s0@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    EXPECT_EQ(written(), "");
    host("250 ok\r\n250 ok\r\n354 go\r\n");
    EXPECT_EQ(written(), "a\r\n..b\r\n.\r\nRSET\r\nMAIL FROM:<s1@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    EXPECT_EQ(first.verdicts.size(), 0U);
    host("250 2.0.0 one\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    EXPECT_EQ(verdict(first), Kind::accepted);
    EXPECT_EQ(first.reply, "250 2.0.0 one");
    EXPECT_EQ(first.released, 1);
    EXPECT_EQ(written(), "no end\r\n.\r\n");
    host("550 5.7.1 spam\r\n");
    EXPECT_EQ(verdict(second), Kind::refused);
    EXPECT_EQ(second.reply, "550 5.7.1 spam");
    EXPECT_TRUE(session->idle());
    session->quit();
    EXPECT_EQ(written(), "QUIT\r\n");
    host("221 bye\r\n");
    EXPECT_EQ(session->ending(), Ending::quit);
}

TEST_F(ClientSessionTest, WithChunkingMessagesFollowOneAnotherUpToTheDepth) {
    settings.pipeline_max = 3;
    open(bdat_host);
    for (int i = 0; i < 4; ++i) {
        add("." + std::to_string(i));
    }
    EXPECT_EQ(
        written(),
        "MAIL FROM:<s0@x> SIZE=2\r\nRCPT TO:<r@x>\r\nBDAT 2 LAST\r\n.0"
        "RSET\r\nMAIL FROM:<s1@x> SIZE=2\r\nRCPT TO:<r@x>\r\nBDAT 2 LAST\r\n.1"
        "RSET\r\nMAIL FROM:<s2@x> SIZE=2\r\nRCPT TO:<r@x>\r\nBDAT 2 LAST\r\n.2");
    host("250 m\r\n250 r\r\n250 b\r\n250 s\r\n250 m\r\n450 4.2.1 r\r\n503 b\r\n");
    EXPECT_EQ(verdict(*messages[0]), Kind::accepted);
    EXPECT_EQ(verdict(*messages[1]), Kind::refused);
    EXPECT_EQ(messages[1]->reply, "450 4.2.1 r") << "its first refused step";
    EXPECT_TRUE(messages[2]->verdicts.empty());
    EXPECT_EQ(written(), "RSET\r\nMAIL FROM:<s3@x> SIZE=2\r\nRCPT TO:<r@x>\r\nBDAT 2 LAST\r\n.3");
    host("250 s\r\n550 m\r\n503 r\r\n503 b\r\n");
    EXPECT_EQ(verdict(*messages[2]), Kind::refused);
    EXPECT_EQ(messages[2]->reply, "550 5.0.0 m");
    host("250 s\r\n250 m\r\n250 r\r\n452 4.3.1 b\r\n");
    EXPECT_EQ(messages[3]->reply, "452 4.3.1 b");
    EXPECT_EQ(written(), "RSET\r\n") << "a transaction that came to nothing is not left open";
    EXPECT_FALSE(session->idle());
    host("250 s\r\n");
    EXPECT_TRUE(session->idle());
}

TEST_F(ClientSessionTest, WithoutPipeliningOneStepAtATime) {
    connect();
    host("220 h\r\n");
    EXPECT_EQ(written(), "EHLO me\r\n");
    host("502 what\r\n");
    EXPECT_EQ(written(), "HELO me\r\n");
    host("250 h\r\n");
    Message& first = add("a\r\n", {"r@x", "q@x"});
    Message& second = add("b\r\n");
    for (const auto& [command, answer] : std::vector<std::pair<std::string, std::string>>{
             {"MAIL FROM:<s0@x>\r\n", "250 ok\r\n"},
             {"RCPT TO:<r@x>\r\n", "250 ok\r\n"},
             {"RCPT TO:<q@x>\r\n", "251 ok\r\n"},
             {"DATA\r\n", "354 go\r\n"},
             {"a\r\n.\r\n", "250 ok\r\n"},
             {"RSET\r\n", "250 ok\r\n"},
             {"MAIL FROM:<s1@x>\r\n", "250 ok\r\n"},
             {"RCPT TO:<r@x>\r\n", "550 no\r\n"},
             {"RSET\r\n", "250 ok\r\n"}}) {
        EXPECT_EQ(written(), command);
        EXPECT_EQ(written(), "");
        host(answer);
    }
    EXPECT_EQ(verdict(first), Kind::accepted);
    EXPECT_EQ(verdict(second), Kind::refused);
    EXPECT_TRUE(session->idle());
}

TEST_F(ClientSessionTest, WithSeveralRecipientsTheBodyWaitsForTheirAnswers) {
    for (const char* capabilities : {data_host, bdat_host}) {
        open(capabilities);
        const bool chunking = session->capabilities().chunking;
        Message& message = add("a\r\n", {"r@x", "q@x"});
        EXPECT_EQ(
            written(),
            "MAIL FROM:<s" + std::to_string(messages.size() - 1) + "@x>" +
                (chunking ? " SIZE=3" : "") + "\r\nRCPT TO:<r@x>\r\nRCPT TO:<q@x>\r\n");
        host("250 ok\r\n250 ok\r\n");
        EXPECT_EQ(written(), "");
        host("250 ok\r\n");
        if (chunking) {
            EXPECT_EQ(written(), "BDAT 3 LAST\r\na\r\n");
        } else {
            EXPECT_EQ(written(), "DATA\r\n");
            host("354 go\r\n");
            EXPECT_EQ(written(), "a\r\n.\r\n");
        }
        host("250 ok\r\n");
        EXPECT_EQ(verdict(message), Kind::accepted);
    }
}

TEST_F(ClientSessionTest, DividedAnswersSendNothing) {
    open(bdat_host);
    Message& message = add("a\r\n", {"r@x", "q@x", "p@x"});
    add("b\r\n");
    written();
    host("250 ok\r\n250 2.1.5 yes\r\n552 5.2.2 full\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n");
    EXPECT_EQ(verdict(message), Kind::divided);
    const mail::Recipient* r = message.made.envelope.first_recipient;
    EXPECT_EQ(text_of(r->answer), "250 2.0.0 ");
    EXPECT_EQ(text_of(r->next->answer), "452 4.0.0 full");
    EXPECT_EQ(text_of(r->next->next->answer), "550 5.1.1 no\nsuch user");
    EXPECT_EQ(
        written(), "RSET\r\nMAIL FROM:<s1@x> SIZE=3\r\nRCPT TO:<r@x>\r\nBDAT 3 LAST\r\nb\r\n");
}

TEST_F(ClientSessionTest, AMessageThatMayDivideGoesToThoseAccepted) {
    for (const char* hello : {bdat_host, data_host}) {
        SCOPED_TRACE(hello);
        open(hello);
        const bool chunking = session->capabilities().chunking;
        for (const char* said : {"250 ok\r\n", "554 5.7.1 no such content\r\n"}) {
            Message& message = add("a\r\n", {"r@x", "q@x", "p@x"});
            message.made.divide = mail::Divide::always;
            written();
            host(session->mail_count() > 1 ? "250 ok\r\n" : "");  // RSET
            host("250 ok\r\n450 4.2.1 later\r\n250 2.1.5 yes\r\n550 5.1.1 no\r\n");
            EXPECT_EQ(written(), chunking ? "BDAT 3 LAST\r\na\r\n" : "DATA\r\n");
            if (!chunking) {
                host("354 go\r\n");
                EXPECT_EQ(written(), "a\r\n.\r\n");
            }
            host(said);
            EXPECT_EQ(verdict(message), said[0] == '2' ? Kind::accepted : Kind::refused);
            const mail::Recipient* r = message.made.envelope.first_recipient;
            EXPECT_EQ(text_of(r->answer), "450 4.2.1 later");
            EXPECT_EQ(text_of(r->next->answer), "250 2.0.0 ");
            EXPECT_EQ(text_of(r->next->next->answer), "550 5.1.1 no");
        }
    }
}

TEST_F(ClientSessionTest, WhereEachRefusalIsTemporaryAMessageMayGoToThoseAccepted) {
    open(bdat_host);
    for (const char* refusal : {"450 4.2.1 later", "552 5.2.2 full", "550 5.1.1 no"}) {
        SCOPED_TRACE(refusal);
        Message& message = add("a\r\n", {"r@x", "q@x", "p@x"});
        message.made.divide = mail::Divide::when_temporary;
        written();
        host(session->mail_count() > 1 ? "250 ok\r\n" : "");  // RSET
        host("250 ok\r\n451 4.3.0 not now\r\n250 ok\r\n" + std::string(refusal) + "\r\n");
        if (refusal[2] == '0' && refusal[0] == '5') {
            EXPECT_EQ(verdict(message), Kind::divided);
            continue;
        }
        EXPECT_EQ(written(), "BDAT 3 LAST\r\na\r\n");
        host("250 ok\r\n");
        EXPECT_EQ(verdict(message), Kind::accepted);
    }
}

TEST_F(ClientSessionTest, EachRecipientHasItsOwnAnswerWhereverItsHostGaveOne) {
    for (const mail::Divide divide :
         {mail::Divide::never, mail::Divide::when_temporary, mail::Divide::always}) {
        open(bdat_host);
        const auto answers = [](const Message& message) {
            std::string all;
            for (const mail::Recipient* r = message.made.envelope.first_recipient; r != nullptr;
                 r = r->next) {
                all += std::to_string(r->answer.code) + ":" + std::string(r->answer.text) + " ";
            }
            return all;
        };

        struct Case {
            std::vector<std::string> to;
            std::string said;
            Kind kind;
            std::string answers;
        };

        for (const Case& c : std::vector<Case>{
                 {{"r@x"}, "250 m\r\n250 r\r\n250 b\r\n", Kind::accepted, "250: "},
                 {{"r@x"}, "250 m\r\n550 r\r\n503 b\r\n", Kind::refused, "550:r "},
                 {{"r@x"}, "250 m\r\n250 r\r\n550 b\r\n", Kind::refused, "250: "},
                 {{"r@x"}, "550 m\r\n503 r\r\n503 b\r\n", Kind::refused, "0: "},
                 {{"r@x"}, "250 m\r\n530 r\r\n503 b\r\n", Kind::host_trouble, "0: "},
                 {{"r@x", "q@x"}, "250 m\r\n550 r\r\n450 q\r\n", Kind::refused, "550:r 450:q "},
                 {{"r@x", "q@x"}, "250 m\r\n250 r\r\n530 q\r\n", Kind::host_trouble, "0: 0: "},
                 {{"r@x", "q@x"}, "250 m\r\n550 r\r\n421 q\r\n", Kind::refused, "550:r 0: "},
             }) {
            SCOPED_TRACE(c.said);
            Message& message = add("a\r\n", c.to);
            message.made.divide = divide;
            written();
            host(session->mail_count() > 1 ? "250 ok\r\n" : "");  // RSET
            host(c.said);
            EXPECT_EQ(verdict(message), c.kind);
            EXPECT_EQ(answers(message), c.answers);
        }
    }
}

TEST_F(ClientSessionTest, WhereNoneIsAcceptedTheFirst4xxSpeaksElseTheFirst) {
    open(data_host);
    Message& mixed = add("a\r\n", {"a@x", "b@x", "c@x"});
    written();
    host("250 ok\r\n550 5.1.1 a\r\n450 4.2.1 b\r\n451 4.3.0 c\r\n");
    EXPECT_EQ(verdict(mixed), Kind::refused);
    EXPECT_EQ(mixed.reply, "450 4.2.1 b");
    Message& never = add("a\r\n", {"a@x", "b@x"});
    EXPECT_EQ(written(), "RSET\r\nMAIL FROM:<s1@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n");
    host("250 ok\r\n250 ok\r\n550 5.1.1 a\r\n553 5.1.3 b\r\n");
    EXPECT_EQ(verdict(never), Kind::refused);
    EXPECT_EQ(never.reply, "550 5.1.1 a");
}

TEST_F(ClientSessionTest, BehindADATAThatNobodyShallHaveALoneDot) {
    open(data_host);
    Message& message = add("a\r\n");
    add("b\r\n");
    written();
    host("250 ok\r\n550 5.1.1 no\r\n354 go\r\n");
    EXPECT_EQ(verdict(message), Kind::refused);
    EXPECT_EQ(written(), ".\r\nRSET\r\nMAIL FROM:<s1@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    host("250 fooled\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    EXPECT_EQ(written(), "b\r\n.\r\n");
}

TEST_F(ClientSessionTest, ALoneDotNeverGoesWhereItWouldDeliverAnEmptyMessage) {
    open(data_host);
    Message& message = add("a\r\n");
    written();
    host("250 ok\r\n250 ok\r\n");
    message.given_up = true;
    EXPECT_FALSE(session->give_up(message));
    host("354 go\r\n");
    EXPECT_EQ(session->ending(), Ending::dropped);
    EXPECT_EQ(written(), "");
}

TEST_F(ClientSessionTest, WhatIsGivenUpBeforeItsBodyCostsNoConnection) {
    open(bdat_host);
    Message& message = add("a\r\n", {"r@x", "q@x"});
    written();
    host("250 ok\r\n250 ok\r\n");
    EXPECT_FALSE(session->give_up(message));
    host("250 ok\r\n");
    EXPECT_EQ(written(), "RSET\r\n");
    EXPECT_EQ(message.released, 1);
    EXPECT_TRUE(message.verdicts.empty());
    host("250 ok\r\n");
    Message& whole = add("b\r\n");
    written();
    EXPECT_TRUE(session->give_up(whole));
    host("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_EQ(whole.released, 1);
    EXPECT_TRUE(session->idle());
}

TEST_F(ClientSessionTest, TheSenderIsLookedForBeforeTheWriteThatCompletesAMessage) {
    open(bdat_host);
    Message& gone = add("a\r\n");
    add("b\r\n");
    gone.gone = true;
    EXPECT_EQ(
        written(),
        "MAIL FROM:<s0@x> SIZE=3\r\nRCPT TO:<r@x>\r\n"
        "RSET\r\nMAIL FROM:<s1@x> SIZE=3\r\nRCPT TO:<r@x>\r\nBDAT 3 LAST\r\nb\r\n");
    EXPECT_EQ(verdict(gone), Kind::dropped);
    host("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_EQ(verdict(*messages[1]), Kind::accepted);
    EXPECT_TRUE(session->idle());
}

TEST_F(ClientSessionTest, MailParametersAsTheMessageNeedsAndTheHostHas) {
    open(
        "220 h\r\n250-h\r\n250-SIZE 100\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 "
        "PIPELINING\r\n");
    Message& bounce = add("\xe4\r\n");
    bounce.made.envelope.reverse_path = "";
    bounce.made.envelope.smtputf8 = true;
    EXPECT_EQ(
        written(), "MAIL FROM:<> SIZE=3 BODY=8BITMIME\r\nRCPT TO:<r@x>\r\nBDAT 3 LAST\r\n\xe4\r\n");
    host("250 ok\r\n250 ok\r\n250 ok\r\n");
    Message& utf8 = add("x\r\n", {"\xc3\xa4@x"});
    utf8.made.envelope.smtputf8 = true;
    EXPECT_EQ(
        written(),
        "RSET\r\nMAIL FROM:<s1@x> SIZE=3 SMTPUTF8\r\nRCPT TO:<\xc3\xa4@x>\r\nBDAT 3 LAST\r\nx\r\n");
    host("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    Message& header = add("x\r\n");
    header.made.envelope.smtputf8 = header.made.has_utf8_header = true;
    header.made.envelope.first_recipient->outgoing = "other@y";
    EXPECT_EQ(
        written(),
        "RSET\r\nMAIL FROM:<s2@x> SIZE=3 SMTPUTF8\r\nRCPT TO:<other@y>\r\nBDAT 3 LAST\r\nx\r\n");
}

TEST_F(ClientSessionTest, WhatTheSenderAskedForGoesToAHostThatHasDsn) {
    using enum mail::Notify;
    const auto ask = [](Message& message) {
        mail::Envelope& envelope = message.made.envelope;
        envelope.returned = mail::Returned::headers;
        envelope.envelope_id = "Q+2B1";
        mail::Recipient& first = *envelope.first_recipient;
        first.notify = set_of(success) | set_of(delay);
        first.original_recipient = "rfc822;o+2Bp@x";
        first.outgoing = "other@y";
        first.next->notify = set_of(never);
        first.next->original_recipient = "utf-8;\xc3\xa4@x";
    };
    open("220 h\r\n250-h\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 dsn\r\n");
    ask(add("x\r\n", {"a@x", "b@x"}));
    EXPECT_EQ(
        written(),
        "MAIL FROM:<s0@x> RET=HDRS ENVID=Q+2B1\r\n"
        "RCPT TO:<other@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bp@x\r\n"
        "RCPT TO:<b@x> NOTIFY=NEVER ORCPT=utf-8;\\x{E4}@x\r\n");
    host("250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_EQ(written(), "DATA\r\n");
    host("354 go\r\n");
    EXPECT_EQ(written(), "x\r\n.\r\n");
    host("250 ok\r\n");

    Message& rewritten = add("x\r\n");
    rewritten.made.envelope.returned = mail::Returned::full;
    rewritten.made.envelope.first_recipient->outgoing = "r@y";
    EXPECT_EQ(
        written(),
        "RSET\r\nMAIL FROM:<s1@x> RET=FULL\r\nRCPT TO:<r@y> ORCPT=rfc822;r@x\r\nDATA\r\n");
    host("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    EXPECT_EQ(written(), "x\r\n.\r\n");
    host("250 ok\r\n");

    Message& question = add("");
    question.made.is_question = true;
    question.made.envelope.first_recipient->outgoing = "r@y";
    EXPECT_EQ(written(), "RSET\r\nMAIL FROM:<s2@x>\r\nRCPT TO:<r@y>\r\n");
}

TEST_F(ClientSessionTest, AHostWithoutDsnIsToldNothingOfNotifications) {
    open(data_host);
    Message& message = add("x\r\n");
    message.made.envelope.returned = mail::Returned::full;
    message.made.envelope.envelope_id = "Q";
    mail::Recipient& recipient = *message.made.envelope.first_recipient;
    recipient.notify = set_of(mail::Notify::success);
    recipient.original_recipient = "rfc822;o@x";
    recipient.outgoing = "other@y";
    EXPECT_EQ(written(), "MAIL FROM:<s0@x>\r\nRCPT TO:<other@y>\r\nDATA\r\n");
}

TEST_F(ClientSessionTest, TheLongestRcptFitsTheLeastRoom) {
    open("220 h\r\n250-h\r\n250-PIPELINING\r\n250 DSN\r\n");
    const std::string longest = std::string(ClientSession::address_octets_max - 2, 'r') + "@x";
    const std::string original = "rfc822;" + std::string(original_recipient_octets_max - 7, 'o');
    Message& message = add("x\r\n", {longest});
    message.made.envelope.reverse_path = longest;
    message.made.envelope.returned = mail::Returned::full;
    const std::string id(envelope_id_octets_max, 'i');
    message.made.envelope.envelope_id = id;
    mail::Recipient& recipient = *message.made.envelope.first_recipient;
    recipient.notify =
        set_of(mail::Notify::success) | set_of(mail::Notify::failure) | set_of(mail::Notify::delay);
    recipient.original_recipient = original;
    std::string text;
    for (int i = 0; i < 3; ++i) {
        std::array<iovec, ClientSession::pieces_min> pieces;
        std::array<char, ClientSession::command_octets_max> room;
        Output output(pieces, room);
        session->write(output, now);
        for (const iovec& piece : output.pieces()) {
            text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
        }
        session->sent(now);
    }
    EXPECT_EQ(
        text,
        "MAIL FROM:<" + longest + "> RET=FULL ENVID=" + id + "\r\nRCPT TO:<" + longest +
            "> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=" + original + "\r\nDATA\r\n");
}

TEST_F(ClientSessionTest, WhatALesserHostLacksIsToldWithoutAsking) {
    settings.recipients_max = 3;
    open("220 h\r\n250-h\r\n250-SIZE 10\r\n250 LIMITS RCPTMAX=2 RCPTDOMAINMAX=1\r\n");
    Message& large = add("12345678901");
    Message& eight = add("\xe4");
    Message& many = add("x", {"a@x", "b@x", "c@x"});
    Message& domains = add("x", {"a@x", "b@y"});
    Message& local = add("x", {"\xc3\xa4@x"});
    Message& header = add("x");
    header.made.envelope.smtputf8 = header.made.has_utf8_header = true;
    Message& path = add("x");
    path.made.envelope.reverse_path = "\xc3\xa4@x";
    Message& longest = add("x", {std::string(999, 'a') + "@x"});
    Message& domain =
        add("x",
            {"r@b\xc3\xbc"
             "cher"});
    domain.made.envelope.first_recipient->domain_key = "xn--bcher-kva";
    EXPECT_EQ(written(), "MAIL FROM:<s8@x> SIZE=1\r\n");
    EXPECT_EQ(large.reply, "552 5.3.4 message is too large for the next host");
    EXPECT_EQ(eight.reply, "554 5.6.3 the next host takes no 8-bit content");
    EXPECT_EQ(verdict(many), Kind::too_many);
    EXPECT_EQ(verdict(domains), Kind::too_many);
    for (const Message* message : {&local, &header, &path}) {
        EXPECT_EQ(message->reply, "554 5.6.9 the next host takes no internationalized mail");
        EXPECT_EQ(verdict(*message), Kind::refused);
        EXPECT_EQ(message->released, 1);
    }
    EXPECT_EQ(longest.reply, "553 5.1.3 address is too long for the next host");
    host("250 ok\r\n");
    EXPECT_EQ(written(), "RCPT TO:<r@xn--bcher-kva>\r\n");
}

TEST_F(ClientSessionTest, EightBitContentGoesAnywhereWhereTheOperatorSaysSo) {
    settings.send_8bit = true;
    settings.ehlo_ignore = {"CHUNKING", "8BITMIME"};
    open(bdat_host);
    add("\xe4");
    EXPECT_EQ(written(), "MAIL FROM:<s0@x> SIZE=1\r\nRCPT TO:<r@x>\r\nDATA\r\n");
    host("250 ok\r\n250 ok\r\n354 go\r\n");
    EXPECT_EQ(written(), "\xe4\r\n.\r\n");
}

TEST_F(ClientSessionTest, OneConnectionTakesNoMoreThanMailmax) {
    open("220 h\r\n250-h\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 LIMITS MAILMAX=1\r\n");
    add("a");
    add("b");
    EXPECT_EQ(written(), "MAIL FROM:<s0@x>\r\nRCPT TO:<r@x>\r\nBDAT 1 LAST\r\na");
    host("250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_EQ(written(), "");
    EXPECT_FALSE(session->may_take(now));
    EXPECT_EQ(waiting.size(), 1U);
}

TEST_F(ClientSessionTest, RefusedOpeningsEndTheConnection) {
    const struct {
        std::vector<std::string_view> said;
        Ending ending;
        std::string_view step;
    } rows[] = {
        {{"554 no\r\n"}, Ending::refused, "connection"},
        {{"421 no\r\n"}, Ending::refused, "connection"},
        {{"220 h\r\n", "421 no\r\n"}, Ending::refused, "EHLO"},
        {{"220 h\r\n", "521 no\r\n"}, Ending::refused, "EHLO"},
        {{"220 h\r\n", "451 no\r\n"}, Ending::refused, "EHLO"},
        {{"220 h\r\n", "502 no\r\n", "502 no\r\n"}, Ending::refused, "HELO"},
        {{"220 h\r\n250 h\r\n"}, Ending::unexpected, ""},
        {{"SSH-2.0\r\n"}, Ending::malformed, ""},
    };

    for (const auto& row : rows) {
        connect();
        for (const std::string_view said : row.said) {
            EXPECT_EQ(session->ending(), Ending::none);
            host(said);
            written();
        }
        EXPECT_EQ(session->ending(), row.ending) << row.said[0];
        EXPECT_EQ(session->refused_step(), row.step);
    }
}

TEST_F(ClientSessionTest, A421AnswersOneAndSendsTheRestElsewhere) {
    const struct {
        const char* said;
        Kind first;
        Kind second;
    } rows[] = {
        {"421 bye\r\n", Kind::refused, Kind::again},
        {"250 m\r\n250 r\r\n421 bye\r\n", Kind::refused, Kind::again},
        {"250 m\r\n250 r\r\n250 b\r\n421 bye\r\n", Kind::accepted, Kind::again},
        {"250 m\r\n250 r\r\n250 b\r\n250 s\r\n421 bye\r\n250 r\r\n250 b\r\n",
         Kind::accepted,
         Kind::again},
    };

    for (const auto& row : rows) {
        open(bdat_host);
        Message& first = add("a");
        Message& second = add("b");
        written();
        host(row.said);
        EXPECT_EQ(session->ending(), Ending::host_closing);
        session->ended();
        EXPECT_EQ(verdict(first), row.first);
        EXPECT_EQ(verdict(second), row.second);
        EXPECT_EQ(first.released + second.released, 2);
        if (row.first == Kind::refused) {
            EXPECT_EQ(first.reply, "451 4.0.0 bye");
        }
    }
}

TEST_F(ClientSessionTest, NothingBehindAnAnswerThatIsNoneCountsAsAnswered) {
    for (const char* said :
         {"hello\r\n250 r\r\n250 b\r\n",
          "354 go\r\n250 r\r\n250 b\r\n",
          "250 m\r\n354 r\r\n250 b\r\n",
          "250 m\r\n250 r\r\n354 b\r\n250 b\r\n",
          "250-m\r\n251 m\r\n250 r\r\n250 b\r\n",
          "250 m\n250 r\r\n250 b\r\n",
          "550 m\r\n250 r\r\n250 b\r\n"}) {
        open(bdat_host);
        Message& message = add("a");
        written();
        host(said);
        EXPECT_NE(session->ending(), Ending::none) << said;
        session->ended();
        EXPECT_EQ(verdict(message), said[0] == '5' ? Kind::refused : Kind::unknown) << said;
    }
    open(bdat_host);
    host("250 nobody asked\r\n");
    EXPECT_EQ(session->ending(), Ending::unexpected);
}

TEST_F(ClientSessionTest, WhatWasNotGivenOutWholeGoesAgainAndWhatWasIsUnknown) {
    open(data_host);
    Message& message = add("a\r\n");
    written();
    host("250 ok\r\n250 ok\r\n354 go\r\n");
    session->ended();
    EXPECT_EQ(verdict(message), Kind::again);
    EXPECT_FALSE(stale);

    open(bdat_host);
    add("a");
    written();
    host("250 ok\r\n250 ok\r\n250 ok\r\n");
    Message& whole = add("b");
    Message& tail = add("c");
    // One output of both, which fails: its last octet, the second one's, has not gone.
    std::array<iovec, 64> pieces;
    std::array<char, 16384> room;
    Output output(pieces, room);
    session->write(output, now);
    session->send_failed();
    session->ended();
    EXPECT_EQ(verdict(whole), Kind::unknown);
    EXPECT_EQ(verdict(tail), Kind::again);
}

TEST_F(ClientSessionTest, AnEarlyAnswerToABodyEndsTheConnection) {
    const std::string large(1000000, 'x');  // more than two outputs have pieces for
    for (const char* capabilities : {data_host, bdat_host}) {
        for (const char* said : {"552 5.3.4 too much\r\n", "250 ok\r\n"}) {
            open(capabilities);
            messages.push_back(
                std::make_unique<Message>(pools, "s@x", std::vector<std::string>{"r@x"}, large));
            Message& message = *messages.back();
            waiting.push_back(&message);
            written();
            host(
                session->capabilities().chunking ? "250 ok\r\n250 ok\r\n"
                                                 : "250 ok\r\n250 ok\r\n354 go\r\n");
            written();
            host(said);
            EXPECT_EQ(session->ending(), Ending::unexpected);
            EXPECT_EQ(written(), "");
            session->ended();
            EXPECT_EQ(verdict(message), said[0] == '5' ? Kind::refused : Kind::again);
        }
    }
}

TEST_F(ClientSessionTest, ALongBodyGoesOutInPartsThatASlowHostIsSeenToTake) {
    constexpr std::size_t part = std::size_t{2} << 20;
    constexpr std::size_t block = 65536;
    Pools blocks(block);
    std::string large;
    while (large.size() < 5 * part / 2) {
        large += std::string(998, 'x') + "\r\n";
    }
    for (const char* capabilities : {data_host, bdat_host}) {
        open(capabilities);
        messages.push_back(
            std::make_unique<Message>(blocks, "s@x", std::vector<std::string>{"r@x"}, large));
        Message& message = *messages.back();
        waiting.push_back(&message);
        std::string all;
        const auto write_all = [&] {
            for (std::string text = written(); !text.empty(); text = written()) {
                EXPECT_LE(text.size(), part + block + 1000);
                all += text;
            }
        };
        write_all();
        host(
            session->capabilities().chunking ? "250 ok\r\n250 ok\r\n"
                                             : "250 ok\r\n250 ok\r\n354 go\r\n");
        write_all();
        EXPECT_EQ(
            all.substr(all.size() - large.size() - 3),
            session->capabilities().chunking ? all.substr(all.size() - large.size() - 3, 3) + large
                                             : large + ".\r\n");
        host("250 ok\r\n");
        EXPECT_EQ(verdict(message), Kind::accepted);
        session->ended();
        session.reset();
        messages.clear();
    }
}

TEST_F(ClientSessionTest, NothingIsPutBehindAnAnswerThatIsLate) {
    open(bdat_host);
    add("a");
    written();
    add("b");
    now += 200ms;
    EXPECT_EQ(written(), "");
    host("250 ok\r\n");
    EXPECT_NE(written(), "");
    host("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
    EXPECT_TRUE(session->idle());
    pace.usual = 400ms;
    add("c");
    written();
    add("d");
    now += 800ms;
    EXPECT_NE(written(), "") << "no later than is usual for it";
}

TEST_F(ClientSessionTest, OnAConnectionLongIdleTheBodyWaitsForASignOfLife) {
    open(bdat_host);
    add("a");
    written();
    host("250 ok\r\n250 ok\r\n250 ok\r\n");
    now += 10s;
    Message& message = add("b");
    EXPECT_EQ(written(), "RSET\r\nMAIL FROM:<s1@x> SIZE=1\r\nRCPT TO:<r@x>\r\n");
    session->ended();
    EXPECT_EQ(verdict(message), Kind::again);
    EXPECT_TRUE(stale);
}

// The same dialogue, its octets in any two parts or one by one: the same octets written, the same
// verdicts.
TEST_F(ClientSessionTest, ADialogueIsTheSameAtEverySplit) {
    const std::string said =
        "250 m\r\n250-r\r\n250 r\r\n354 go\r\n250 2.0.0 b\r\n250 s\r\n450 4.1.1 m\r\n503 r\r\n503 "
        "d\r\n"
        "250 s\r\n250 m\r\n550 r\r\n354 go\r\n554 b\r\n250 s\r\n250 m\r\n250 r\r\n421-4.3.2 "
        "bye\r\n421 bye\r\n";
    const auto run = [&](const std::vector<std::size_t>& parts) {
        messages.clear();
        waiting.clear();
        open(data_host);
        for (int i = 0; i < 5; ++i) {
            add("m" + std::to_string(i) + "\r\n.x\r\n");
        }
        std::string all = written();
        std::size_t begin = 0;
        for (const std::size_t end : parts) {
            // Answers are heard only when asked for: line by line, with the session writing
            // between.
            while (begin < end) {
                const std::size_t line = std::min(said.find('\n', begin) + 1, end);
                host(said.substr(begin, line - begin));
                all += written();
                begin = line;
            }
        }
        session->ended();
        for (const auto& message : messages) {
            all += std::to_string(message->verdicts.size()) + message->reply;
            all += std::to_string(
                message->verdicts.empty() ? -1 : static_cast<int>(message->verdicts[0]));
        }
        session.reset();
        return all;
    };
    const std::string whole = run({said.size()});
    for (std::size_t at = 1; at < said.size(); ++at) {
        EXPECT_EQ(run({at, said.size()}), whole) << at;
    }
    std::vector<std::size_t> octets;
    for (std::size_t at = 1; at <= said.size(); ++at) {
        octets.push_back(at);
    }
    EXPECT_EQ(run(octets), whole);
}

TEST(ClientSessionDeathTest, AnAddressNeverEndsItsCommand) {
    const auto run = [](std::string_view path) {
        Pools pools;
        ClientSettings settings;
        settings.helo = "me";
        Pace pace;
        struct Owner final : ClientOwner {
            Transfer* next() override { return std::exchange(message, nullptr); }
            bool sender_gone(Transfer&) override { return false; }

            void held(Transfer&) override {}
            void settled(Transfer&, const Verdict&) override {}
            void released(Transfer&) override {}
            Message* message = nullptr;
        } owner;
        Message message(pools, path, {"r@x"}, "x");
        owner.message = &message;
        ClientSession session(settings, pace, owner, pools.partial);
        std::array<iovec, 64> pieces;
        std::array<char, 16384> room;
        session.received("220 h\r\n", {});
        Output first(pieces, room);
        session.write(first, {});
        session.sent({});
        session.received("250 h\r\n", {});
        Output second(pieces, room);
        session.write(second, {});
    };
    EXPECT_DEATH(run("a@x>\r\nDATA"), "what would end its command");
}

}  // namespace
}  // namespace postern::smtp

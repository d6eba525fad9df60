#include "bench/load/sender.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postern::bench {
namespace {

using Verdict = Sender::Verdict;

constexpr std::string_view all_extensions =
    "250-host\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 CHUNKING\r\n";

/// A sender whose peer is the test: what it sends is compared as text, the identity in MAIL
/// shortened to ID.
class SenderTest : public testing::Test {
   protected:
    SenderTest() {
        message.head = "Subject: x\r\n\r\n";
        message.body = "body\r\n.\r\n";
        message.sums.size = 18;
        plan_options.pattern = "r%i@b.example";
        options.helo = "me";
        options.from_domain = "a.example";
        remake();
    }

    void remake() {
        plan.emplace(plan_options);
        options.recipients = &*plan;
        sender.emplace(options, answers);
        sender->connected();
    }

    std::string sent() {
        Outgoing out;
        std::vector<iovec> pieces;
        sender->produce(out);
        out.pieces(pieces);
        std::string text;
        for (const iovec& piece : pieces) {
            text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
        }
        EXPECT_EQ(text.size(), out.size());
        const std::size_t id = text.find("<b-");
        if (id != std::string::npos) {
            text.replace(id + 1, text.find('@') - id - 1, "ID");
        }
        return text;
    }

    /// Octet by octet: a reply may be cut anywhere.
    bool hears(std::string_view text) {
        for (const char c : text) {
            if (!sender->consume(std::string_view(&c, 1))) {
                return false;
            }
        }
        return true;
    }

    void greet(std::string_view ehlo_answer = all_extensions) {
        EXPECT_EQ(sent(), "");
        EXPECT_TRUE(hears("220-host\r\n220 ready\r\n"));
        EXPECT_EQ(sent(), "EHLO me\r\n");
        EXPECT_FALSE(sender->ready());
        EXPECT_TRUE(hears(ehlo_answer));
        EXPECT_EQ(sent(), "");
        EXPECT_TRUE(sender->ready());
    }

    void expect_end(Verdict verdict) {
        EXPECT_EQ(sent(), "");
        EXPECT_TRUE(sender->finished());
        EXPECT_EQ(sender->verdict(), verdict);
        sender->forget();
        EXPECT_TRUE(sender->ready());
    }

    Message message;
    RecipientOptions plan_options;
    SenderOptions options;
    std::optional<RecipientPlan> plan;
    AnswerCounts answers;
    std::optional<Sender> sender;
};

TEST_F(SenderTest, PipelinesByData) {
    greet();
    for (int i = 0; i < 2; ++i) {
        sender->begin(message, 1);
        EXPECT_EQ(sent(), "MAIL FROM:<ID@a.example> SIZE=18\r\nRCPT TO:<r0@b.example>\r\nDATA\r\n");
        EXPECT_EQ(sent(), "");
        EXPECT_TRUE(hears("250 ok\r\n250 ok\r\n"));
        EXPECT_EQ(sent(), "");
        EXPECT_TRUE(hears("354 go\r\n"));
        EXPECT_EQ(sender->verdict(), Verdict::unsent);
        EXPECT_EQ(sent(), "Subject: x\r\n\r\nbody\r\n.\r\n");
        EXPECT_EQ(sender->verdict(), Verdict::unknown);
        EXPECT_TRUE(hears("250 ok\r\n"));
        expect_end(Verdict::accepted);
    }
    EXPECT_EQ(answers.at(Step::body, 250), 2U);
    sender->quit();
    EXPECT_EQ(sent(), "QUIT\r\n");
    EXPECT_TRUE(hears("221 bye\r\n"));
    EXPECT_TRUE(sender->over());
}

TEST_F(SenderTest, AsksForTlsAndSaysEverythingAnew) {
    options.starttls = true;
    remake();
    EXPECT_TRUE(hears("220 ready\r\n"));
    EXPECT_EQ(sent(), "EHLO me\r\n");
    EXPECT_TRUE(hears("250-host\r\n250-PIPELINING\r\n250 STARTTLS\r\n"));
    EXPECT_FALSE(sender->ready());
    EXPECT_EQ(sent(), "STARTTLS\r\n");
    EXPECT_FALSE(sender->wants_tls());
    EXPECT_TRUE(hears("220 go on\r\n"));
    EXPECT_TRUE(sender->wants_tls());
    EXPECT_FALSE(sender->ready());
    EXPECT_EQ(sent(), "");
    sender->secured();
    EXPECT_FALSE(sender->wants_tls());
    EXPECT_EQ(sent(), "EHLO me\r\n");
    EXPECT_TRUE(hears("250 host\r\n"));
    EXPECT_TRUE(sender->ready());
    sender->begin(message, 1);
    EXPECT_EQ(sent(), "MAIL FROM:<ID@a.example>\r\n") << "what was offered before counts no more";
}

TEST_F(SenderTest, GivesUpWhereTlsIsNotToBeHad) {
    options.starttls = true;
    for (const bool offered : {false, true}) {
        remake();
        EXPECT_TRUE(hears("220 ready\r\n"));
        EXPECT_EQ(sent(), "EHLO me\r\n");
        EXPECT_TRUE(hears(offered ? "250 STARTTLS\r\n" : "250 host\r\n"));
        EXPECT_EQ(sender->over(), offered ? false : true);
        if (offered) {
            EXPECT_EQ(sent(), "STARTTLS\r\n");
            EXPECT_TRUE(hears("454 not now\r\n"));
            EXPECT_TRUE(sender->over());
        }
    }
}

TEST_F(SenderTest, WaitsForEachAnswerWithoutPipelining) {
    plan_options.per_message = 2;
    remake();
    greet("250 host\r\n");
    message.eight_bit = true;
    sender->begin(message, 1);
    EXPECT_EQ(sent(), "MAIL FROM:<ID@a.example>\r\n");
    EXPECT_TRUE(hears("250 ok\r\n"));
    EXPECT_EQ(sent(), "RCPT TO:<r0@b.example>\r\n");
    EXPECT_TRUE(hears("450 no\r\n"));
    EXPECT_EQ(sent(), "RCPT TO:<r1@b.example>\r\n");
    EXPECT_TRUE(hears("250 ok\r\n"));
    EXPECT_EQ(sent(), "DATA\r\n");
    EXPECT_TRUE(hears("354 go\r\n"));
    EXPECT_EQ(sent(), "Subject: x\r\n\r\nbody\r\n.\r\n");
    EXPECT_TRUE(hears("250 ok\r\n"));
    EXPECT_EQ(sender->refused_recipients(), std::vector<unsigned>{0});
    expect_end(Verdict::accepted);
}

TEST_F(SenderTest, SendsChunksOfEachSize) {
    const std::string content = "Subject: x\r\n\r\nbody\r\n";
    message.body = "body\r\n";
    options.bdat = true;
    for (std::size_t size = 1; size <= content.size() + 1; ++size) {
        options.chunk_size = size;
        remake();
        greet();
        message.eight_bit = true;
        sender->begin(message, 1);
        std::string expected =
            "MAIL FROM:<ID@a.example> SIZE=18 BODY=8BITMIME\r\nRCPT TO:<r0@b.example>\r\n";
        std::string replies = "250 ok\r\n250 ok\r\n";
        for (std::size_t at = 0; at < content.size(); at += size) {
            const std::string chunk = content.substr(at, size);
            expected += "BDAT " + std::to_string(chunk.size()) +
                        (at + size >= content.size() ? " LAST" : "") + "\r\n" + chunk;
            replies += "250 ok\r\n";
        }
        EXPECT_EQ(sent(), expected);
        EXPECT_TRUE(hears(replies));
        expect_end(Verdict::accepted);
    }
}

TEST_F(SenderTest, ResetsAfterARefusal) {
    greet();
    sender->begin(message, 1);
    sent();
    EXPECT_TRUE(hears("250 ok\r\n550 no\r\n503 no\r\n"));
    expect_end(Verdict::refused);
    sender->begin(message, 2);
    EXPECT_EQ(
        sent(), "RSET\r\nMAIL FROM:<ID@a.example> SIZE=18\r\nRCPT TO:<r0@b.example>\r\nDATA\r\n");
    EXPECT_TRUE(hears("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"));
    sent();
    EXPECT_TRUE(hears("554 no\r\n"));
    expect_end(Verdict::refused);
    sender->begin(message, 3);
    EXPECT_EQ(sent().substr(0, 4), "MAIL") << "the refused data ended the transaction";
}

TEST_F(SenderTest, SendsALoneDotWhereAllWasRefusedAndDataIsAskedFor) {
    greet();
    sender->begin(message, 1);
    sent();
    EXPECT_TRUE(hears("250 ok\r\n550 no\r\n354 go\r\n"));
    EXPECT_EQ(sent(), ".\r\n");
    EXPECT_EQ(sender->verdict(), Verdict::refused);
    EXPECT_TRUE(hears("554 no recipients\r\n"));
    expect_end(Verdict::refused);
}

TEST_F(SenderTest, StopsAtARefusedChunk) {
    options.bdat = true;
    options.chunk_size = 5;
    options.pipelining = false;
    remake();
    greet();
    message.body = "body\r\n";
    sender->begin(message, 1);
    for (const char* answer : {"250 ok\r\n", "250 ok\r\n", "452 no\r\n"}) {
        EXPECT_NE(sent(), "");
        EXPECT_TRUE(hears(answer));
    }
    expect_end(Verdict::refused);
    sender->begin(message, 2);
    EXPECT_EQ(sent(), "RSET\r\n");
}

TEST_F(SenderTest, IsOverWhereTheSessionIsRefused) {
    EXPECT_TRUE(hears("554 no\r\n"));
    EXPECT_TRUE(sender->over());
    EXPECT_EQ(sent(), "");

    options.bdat = true;
    remake();
    EXPECT_TRUE(hears("220 ready\r\n"));
    sent();
    EXPECT_TRUE(hears("250 host\r\n")) << "without CHUNKING";
    EXPECT_TRUE(sender->over());
}

TEST_F(SenderTest, RefusesWhatIsNoSmtp) {
    for (const char* text :
         {"HTTP/1.1 200 OK\r\n", "22\r\n", "220 x\n", "220x\r\n", "120 x\r\n", "600 x\r\n"}) {
        remake();
        EXPECT_FALSE(hears(text)) << text;
    }
    remake();
    EXPECT_FALSE(sender->consume("220 " + std::string(5000, 'x')));
    remake();
    greet();
    EXPECT_FALSE(hears("250 for nothing\r\n"));
}

}  // namespace
}  // namespace postern::bench

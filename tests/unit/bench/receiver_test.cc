#include "bench/load/receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postern::bench {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Heard {
    std::string codes;  // of the answers' last lines, a blank between two
    std::vector<std::string> violations;
    SinkCounters counters;
    std::size_t taken = 0;
    bool over = false;
};

Heard hear(const ReceiverOptions& options, const std::vector<std::string>& pieces, Ledger& ledger) {
    Receiver receiver(options, ledger);
    receiver.connected(1);
    std::string out;
    Heard heard;
    receiver.consume({}, out);
    for (const std::string& piece : pieces) {
        std::string_view rest = piece;
        for (;;) {
            const std::size_t taken = receiver.consume(rest, out);
            heard.taken += taken;
            rest.remove_prefix(taken);
            if (receiver.pause().count() == 0) {
                break;
            }
            receiver.resume(out);
        }
    }
    while (!out.empty()) {
        const std::size_t end = out.find("\r\n");
        if (out[3] == ' ') {
            heard.codes += (heard.codes.empty() ? "" : " ") + out.substr(0, 3);
        }
        out.erase(0, end + 2);
    }
    for (const auto& [kind, seen] : ledger.violations) {
        heard.violations.push_back(kind);
    }
    heard.counters = ledger.counters;
    heard.over = receiver.over();
    return heard;
}

/// EHLO, and when it is answered, `text` in one piece.
Heard hear_after_ehlo(const ReceiverOptions& options, const std::string& text) {
    Ledger ledger;
    return hear(options, {"EHLO me\r\n", text}, ledger);
}

std::string mail(std::string_view content, std::string_view declared = {}) {
    std::string text = "MAIL FROM:<";
    append_local_part(text, {7, 3, sums_of(declared.empty() ? content : declared)});
    return text + "@a.example>\r\nRCPT TO:<r@b.example>\r\n";
}

const std::string content = "Subject: x\r\n\r\nbody\r\n.dot\r\n";
const std::string received = "Received: from a\r\n\tby b\r\n";

TEST(Receiver, TakesMailAtEverySplit) {
    ReceiverOptions options;
    options.received_lines = 1;
    const std::string whole = received + content;
    const std::string text = "EHLO me\r\n" + mail(content) + "DATA\r\n" + as_data(whole) +
                             mail(content) + "BDAT 10\r\n" + whole.substr(0, 10) + "BDAT " +
                             std::to_string(whole.size() - 10) + " LAST\r\n" + whole.substr(10) +
                             mail(content) + "BDAT " + std::to_string(whole.size()) + "\r\n" +
                             whole + "BDAT 0 LAST\r\nRSET\r\nNOOP\r\nQUIT\r\n";
    for (std::size_t split = 0; split <= text.size(); ++split) {
        Ledger ledger;
        const Heard heard = hear(options, {text.substr(0, split), text.substr(split)}, ledger);
        EXPECT_EQ(
            heard.codes, "220 250 250 250 354 250 250 250 250 250 250 250 250 250 250 250 221")
            << split;
        EXPECT_EQ(heard.counters.messages, 3U);
        EXPECT_EQ(heard.counters.octets, 3 * whole.size());
        EXPECT_EQ(
            heard.counters.header_changed + heard.counters.body_changed + heard.counters.foreign,
            0U)
            << split;
        EXPECT_EQ(heard.taken, text.size());
        EXPECT_TRUE(heard.over);
        std::vector<Delivery> deliveries;
        ASSERT_TRUE(read_deliveries(ledger.deliveries.of_run(7), deliveries));
        ASSERT_EQ(deliveries.size(), 3U);
        EXPECT_EQ(deliveries[0].number, 3U);
        EXPECT_THAT(deliveries[2].recipients, ElementsAre(recipient_sum("r@b.example")));
    }
}

TEST(Receiver, NoticesWhatWasChanged) {
    const std::string other_header = "Subject: y\r\n\r\nbody\r\n.dot\r\n";
    const std::string other_body = "Subject: x\r\n\r\nBody\r\n.dot\r\n";
    const std::string cut = "Subject: x\r\n\r\nbody\r\n";
    for (const std::string& came : {other_header, other_body, cut, received + content}) {
        const Heard heard = hear_after_ehlo({}, mail(came, content) + "DATA\r\n" + as_data(came));
        const bool header = came == other_header || came == received + content;
        EXPECT_EQ(heard.counters.header_changed, header ? 1U : 0U) << came;
        EXPECT_EQ(heard.counters.body_changed, header ? 0U : 1U) << came;
    }
}

TEST(Receiver, CountsWhatAClientMayNotDo) {
    struct Case {
        std::string text;
        std::string violation;
    };

    const std::string hello = "EHLO me\r\n";
    const std::string sender = "MAIL FROM:<a@b.example>";
    const std::string recipient = "RCPT TO:<a@b.example>\r\n";
    const std::vector<Case> cases = {
        {sender + "\r\n", "MAIL at the wrong time"},
        {hello + sender + "\r\n" + sender + "\r\n", "MAIL at the wrong time"},
        {hello + recipient, "RCPT at the wrong time"},
        {hello + "DATA\r\n", "DATA at the wrong time"},
        {hello + sender + "\r\nDATA\r\n", "DATA at the wrong time"},
        {hello + sender + "\r\nBDAT 1 LAST\r\nx", "BDAT at the wrong time"},
        {hello + sender + "\r\n" + recipient + "BDAT 1\r\nxDATA\r\n", "DATA at the wrong time"},
        {hello + sender + "\r\n" + recipient + "BDAT x\r\n", "malformed BDAT"},
        {hello + sender + "\r\n" + recipient + "BDAT 1 LUST\r\nx", "malformed BDAT"},
        {hello + "MAIL FROM: <a@b.example>\r\n", "malformed MAIL"},
        {hello + "MAIL FROM:a@b.example\r\n", "malformed MAIL"},
        {hello + sender + "\r\nRCPT TO:<>\r\n", "malformed RCPT"},
        {hello + sender + " FOO=1\r\n", "parameter that was not offered"},
        {hello + sender + " SIZE=1\r\n", "parameter that was not offered"},
        {hello + "FROB\r\n", "unknown command"},
        {hello + "NOOP\n", "bare CR or LF in a command"},
        {hello + "NOOP a\rb\r\n", "bare CR or LF in a command"},
        {"EHLO me\r\nNOOP\r\n", "pipelined where it may not be"},
        {hello + "RSET " + std::string(5000, 'x'), "command line too long"},
        {hello + sender + "\r\n" + recipient + "DATA\r\na\rb\r\n.\r\n", "bare CR in content"},
        {hello + sender + "\r\n" + recipient + "BDAT 3 LAST\r\na\nb", "bare LF in content"},
    };
    for (const Case& c : cases) {
        // Line by line, so that nothing is pipelined but where a line says so.
        std::vector<std::string> lines;
        for (std::size_t at = 0; at < c.text.size();) {
            const std::size_t end = std::min(c.text.find("\r\n", at), c.text.size() - 2) + 2;
            lines.push_back(c.text.substr(at, end - at));
            at = end;
        }
        if (c.violation == "pipelined where it may not be") {
            lines = {c.text};
        }
        Ledger ledger;
        EXPECT_THAT(hear({}, lines, ledger).violations, ElementsAre(c.violation)) << c.text;
    }
}

TEST(Receiver, DoesNotBlameAClientForWhatFollowsItsRefusals) {
    ReceiverOptions options;
    options.rejections = {{"*@no.example", 550}};
    const Heard heard = hear_after_ehlo(
        options,
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<x@no.example>\r\nBDAT 2 LAST\r\nhi"
        "RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@yes.example>\r\nBDAT 4 LAST\r\nhi\r\n");
    EXPECT_EQ(heard.codes, "220 250 250 550 503 250 250 250 250");
    EXPECT_THAT(heard.violations, IsEmpty());
    EXPECT_EQ(heard.counters.messages, 1U);
    EXPECT_EQ(heard.counters.foreign, 1U);
}

TEST(Receiver, HoldsItsSize) {
    ReceiverOptions options;
    options.size_max = 20;
    const Heard heard = hear_after_ehlo(
        options,
        "MAIL FROM:<> SIZE=21\r\nMAIL FROM:<> SIZE=20\r\nRCPT TO:<a@b.example>\r\nBDAT 21 "
        "LAST\r\n" +
            std::string(21, 'x'));
    EXPECT_EQ(heard.codes, "220 250 552 250 250 552");
    EXPECT_EQ(heard.counters.messages, 0U);
}

TEST(Receiver, MisbehavesAsTold) {
    const std::string text = mail(content) + "DATA\r\n";
    const auto with = [](std::string_view failure) {
        ReceiverOptions options;
        options.faults.push_back(*parse_failure(failure));
        return options;
    };
    EXPECT_EQ(hear_after_ehlo(with("greeting:554"), "QUIT\r\n").codes, "554 503 221");
    EXPECT_EQ(hear_after_ehlo(with("greeting:silent"), text).codes, "");
    EXPECT_EQ(hear_after_ehlo(with("ehlo:421"), text).codes, "220 421");
    EXPECT_EQ(hear_after_ehlo(with("mail:450"), text).codes, "220 250 450 503 503");
    EXPECT_THAT(hear_after_ehlo(with("mail:450"), text).violations, IsEmpty());
    EXPECT_EQ(hear_after_ehlo(with("rcpt:450"), text).codes, "220 250 250 450 503");
    EXPECT_EQ(
        hear_after_ehlo(with("data:450"), text + "RSET\r\n").codes, "220 250 250 250 450 250");
    const Heard closed = hear_after_ehlo(with("body:close"), text + as_data(content) + "QUIT\r\n");
    EXPECT_EQ(closed.codes, "220 250 250 250 354");
    EXPECT_TRUE(closed.over);
    EXPECT_EQ(closed.counters.unanswered, 1U);
    EXPECT_EQ(closed.counters.messages, 0U);
    EXPECT_EQ(closed.taken, ("EHLO me\r\n" + text + as_data(content)).size());
}

TEST(Receiver, BreaksChunking) {
    ReceiverOptions options;
    options.break_chunking = true;
    const Heard heard =
        hear_after_ehlo(options, mail(content) + "BDAT 26 LAST\r\n" + content + "QUIT\r\n");
    EXPECT_EQ(heard.codes, "220 250 250 250 500 500 500 500 500 221");
    EXPECT_EQ(heard.counters.messages, 0U);
}

TEST(Receiver, PausesBeforeADelayedAnswer) {
    ReceiverOptions options;
    options.faults.push_back(*parse_delay("mail:250"));
    Ledger ledger;
    Receiver receiver(options, ledger);
    receiver.connected(1);
    std::string out;
    const std::string first = "EHLO me\r\nMAIL FROM:<>\r\n";
    EXPECT_EQ(receiver.consume(first + "NOOP\r\n", out), first.size());
    EXPECT_EQ(receiver.pause(), std::chrono::milliseconds(250));
    EXPECT_EQ(out.find("2.1.0"), std::string::npos);
    EXPECT_EQ(receiver.consume("NOOP\r\n", out), 0U);
    receiver.resume(out);
    EXPECT_NE(out.find("2.1.0"), std::string::npos);
    EXPECT_EQ(receiver.pause().count(), 0);
    EXPECT_EQ(receiver.consume("NOOP\r\n", out), 6U);
}

TEST(Receiver, BeginsAnewBehindStarttls) {
    ReceiverOptions options;
    options.starttls = true;
    Ledger ledger;
    Receiver receiver(options, ledger);
    receiver.connected(1);
    std::string out;
    receiver.consume("EHLO me\r\n", out);
    EXPECT_NE(out.find("250-STARTTLS\r\n"), std::string::npos);
    out.clear();
    EXPECT_EQ(receiver.consume("STARTTLS\r\n", out), 10U);
    EXPECT_EQ(out, "220 2.0.0 go on\r\n");
    EXPECT_TRUE(receiver.wants_tls());
    receiver.secured();
    EXPECT_FALSE(receiver.wants_tls());
    out.clear();
    receiver.consume("EHLO me\r\n", out);
    EXPECT_EQ(out.find("STARTTLS"), std::string::npos);
    EXPECT_THAT(ledger.violations, IsEmpty());
    out.clear();
    receiver.consume("STARTTLS\r\n", out);
    EXPECT_EQ(out, "503 5.5.1 not now\r\n");
    EXPECT_EQ(ledger.violations.count("STARTTLS at the wrong time"), 1U);
}

TEST(Receiver, TakesNothingBehindStarttlsInPlainText) {
    ReceiverOptions options;
    options.starttls = true;
    Ledger ledger;
    Receiver receiver(options, ledger);
    receiver.connected(1);
    std::string out;
    receiver.consume("EHLO me\r\n", out);
    EXPECT_EQ(receiver.consume("STARTTLS\r\nNOOP\r\n", out), 10U);
    EXPECT_EQ(ledger.violations.count("pipelined where it may not be"), 1U);
}

}  // namespace
}  // namespace postern::bench

#include "postern/notify/notification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace postern::notify {
namespace {

using namespace std::chrono;

constexpr base::WallTime arrived = sys_days{November / 22 / 2026} + 9h + 5min + 3s;

/// A report whose parts may be replaced.
struct Sample {
    Sample() {
        envelope.reverse_path = "anna@example.org";
        recipients.resize(1);
        recipients[0].address = "bert@example.com";
        recipients[0].reply = {550, {5, 1, 1}, "no such user"};
        recipients[0].host = "mx1.internal:25";
        recipients[0].last_attempt = arrived + 2s;
    }

    Report report() const {
        return {
            .action = action,
            .hostname = "gw.example.net",
            .id = id,
            .date = arrived + 1h,
            .envelope = envelope,
            .message_id = "0123ABC",
            .arrived = arrived,
            .content = content,
            .content_size = content.size(),
            .recipients = recipients};
    }

    std::string text() const { return compose(report()).content; }

    Action action = Action::failed;
    std::string id = "0123ABD";
    mail::Envelope envelope;
    std::string content = "Subject: hello\r\nX: y\r\n\r\nthe body\r\n";
    std::vector<RecipientReport> recipients;
};

bool has(const std::string& text, std::string_view what) {
    return text.find(what) != std::string::npos;
}

TEST(IsWanted, AsTheSenderAsked) {
    using enum mail::Notify;
    using enum Action;
    mail::Envelope envelope;
    envelope.reverse_path = "a@x";

    struct Row {
        mail::NotifySet notify;
        bool failed, delayed, relayed;
    };

    const auto all =
        static_cast<mail::NotifySet>(set_of(success) | set_of(failure) | set_of(delay));
    for (const Row& row :
         {Row{0, true, false, false},
          Row{set_of(never), false, false, false},
          Row{set_of(failure), true, false, false},
          Row{set_of(delay), false, true, false},
          Row{set_of(success), false, false, true},
          Row{all, true, true, true}}) {
        EXPECT_EQ(is_wanted(envelope, row.notify, Action::failed), row.failed);
        EXPECT_EQ(is_wanted(envelope, row.notify, delayed), row.delayed);
        EXPECT_EQ(is_wanted(envelope, row.notify, relayed), row.relayed);
    }
    envelope.reverse_path = "";
    for (const Action action : {Action::failed, delayed, relayed}) {
        EXPECT_FALSE(is_wanted(envelope, all, action)) << "there is nobody to tell";
    }
}

TEST(Notification, OfFailure) {
    Sample sample;
    sample.envelope.envelope_id = "Q+2B1+20x";
    sample.recipients[0].original_recipient = "rfc822;bert+2Bold@example.com";
    const Notification notification = compose(sample.report());
    EXPECT_FALSE(notification.has_eight_bit);
    EXPECT_FALSE(notification.has_utf8_header);
    EXPECT_EQ(
        notification.content,
        "From: Mail Delivery System <MAILER-DAEMON@gw.example.net>\r\n"
        "To: <anna@example.org>\r\n"
        "Subject: Undelivered mail: returned to sender\r\n"
        "Date: Sun, 22 Nov 2026 10:05:03 +0000\r\n"
        "Message-ID: <0123ABD@gw.example.net>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"=_0123ABD\"\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "This is a delivery status notification in MIME format.\r\n"
        "\r\n"
        "--=_0123ABD\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "This is the mail gateway gw.example.net.\r\n"
        "\r\n"
        "Your message could not be delivered to the recipients below, and will not be\r\n"
        "tried again.\r\n"
        "\r\n"
        "<bert@example.com>\r\n"
        "  The last answer, from mx1.internal:25:\r\n"
        "    550 5.1.1 no such user\r\n"
        "\r\n"
        "The message's ID here is 0123ABC. Its header is returned below.\r\n"
        "\r\n"
        "--=_0123ABD\r\n"
        "Content-Type: message/delivery-status\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "Original-Envelope-Id: Q+1 x\r\n"
        "Reporting-MTA: dns; gw.example.net\r\n"
        "X-Postern-ID: 0123ABC\r\n"
        "Arrival-Date: Sun, 22 Nov 2026 09:05:03 +0000\r\n"
        "\r\n"
        "Original-Recipient: rfc822; bert+old@example.com\r\n"
        "Final-Recipient: rfc822; bert@example.com\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns; mx1.internal\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
        "Last-Attempt-Date: Sun, 22 Nov 2026 09:05:05 +0000\r\n"
        "\r\n"
        "--=_0123ABD\r\n"
        "Content-Type: text/rfc822-headers\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "Subject: hello\r\n"
        "X: y\r\n"
        "\r\n"
        "--=_0123ABD--\r\n");
}

TEST(Notification, OfDelay) {
    Sample sample;
    sample.action = Action::delayed;
    sample.envelope.returned = mail::Returned::full;
    sample.recipients[0].reply = {451, {4, 4, 1}, "no host reachable"};
    sample.recipients[0].host = "";
    sample.recipients[0].retried_until = arrived + 120h;
    const std::string text = sample.text();
    EXPECT_TRUE(has(text, "Subject: Delayed mail: still being tried\r\n"));
    EXPECT_TRUE(has(text, "  It will be tried until Fri, 27 Nov 2026 09:05:03 +0000.\r\n"));
    EXPECT_TRUE(
        has(text,
            "  The last answer, from this gateway itself:\r\n    451 4.4.1 no host reachable\r\n"));
    EXPECT_TRUE(
        has(text,
            "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Postern; 451 4.4.1 no host "
            "reachable\r\n"
            "Last-Attempt-Date: Sun, 22 Nov 2026 09:05:05 +0000\r\n"
            "Will-Retry-Until: Fri, 27 Nov 2026 09:05:03 +0000\r\n"));
    EXPECT_FALSE(has(text, "Remote-MTA"));
    EXPECT_FALSE(has(text, "the body")) << "RET=FULL is of failure only";
    sample.recipients[0].host = std::nullopt;
    EXPECT_TRUE(has(sample.text(), "  The last answer:\r\n    451 4.4.1 no host reachable\r\n"));
    EXPECT_TRUE(has(sample.text(), "Diagnostic-Code: smtp; 451 4.4.1 no host reachable\r\n"));
    EXPECT_FALSE(has(sample.text(), "Remote-MTA"));
}

TEST(Notification, OfWhatWasRelayed) {
    Sample sample;
    sample.action = Action::relayed;
    sample.recipients[0].reply = {250, {}, "ok"};
    const std::string text = sample.text();
    EXPECT_TRUE(has(text, "Action: relayed\r\nStatus: 2.0.0\r\n"));
    EXPECT_TRUE(has(text, "Diagnostic-Code: smtp; 250 ok\r\n"));
}

TEST(Notification, AStatusIsThatOfTheAnswerWhereItCanBe) {
    struct Row {
        Action action;
        mail::Reply reply;
        std::string_view status;
    };

    for (const Row& row :
         {Row{Action::failed, {550, {5, 7, 1}, ""}, "5.7.1"},
          Row{Action::failed, {550, {}, ""}, "5.0.0"},
          Row{Action::failed, {450, {4, 2, 1}, ""}, "4.2.1"},
          Row{Action::failed, {450, {}, ""}, "4.0.0"},
          Row{Action::failed, {450, {2, 0, 0}, ""}, "4.0.0"},
          Row{Action::failed, {550, {5, 1000, 1}, ""}, "5.0.0"},
          Row{Action::failed, {0, {}, ""}, "5.0.0"},
          Row{Action::delayed, {0, {}, ""}, "4.0.0"},
          Row{Action::delayed, {550, {5, 1, 1}, ""}, "4.0.0"},
          Row{Action::relayed, {250, {2, 1, 5}, ""}, "2.1.5"},
          Row{Action::relayed, {450, {4, 1, 1}, ""}, "2.0.0"}}) {
        Sample sample;
        sample.action = row.action;
        sample.recipients[0].reply = row.reply;
        EXPECT_TRUE(has(sample.text(), "Status: " + std::string(row.status) + "\r\n"))
            << row.status;
    }
}

TEST(Notification, TellsOfMailThatHasExpired) {
    Sample sample;
    EXPECT_FALSE(has(sample.text(), "as long as mail is kept"));
    sample.recipients[0].reply = {450, {4, 2, 1}, "later"};
    EXPECT_TRUE(has(sample.text(), "  It was tried for as long as mail is kept here.\r\n"));
}

TEST(Notification, ReturnsTheMessageWhereThatWasAskedForAndIsSmall) {
    Sample sample;
    EXPECT_FALSE(has(sample.text(), "the body"));
    sample.envelope.returned = mail::Returned::headers;
    EXPECT_FALSE(has(sample.text(), "the body"));
    sample.envelope.returned = mail::Returned::full;
    EXPECT_TRUE(
        has(sample.text(),
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" +
                sample.content + "\r\n--=_0123ABD--\r\n"));
    EXPECT_TRUE(has(sample.text(), "The message is returned below.\r\n"));

    sample.content += std::string("\xff") + "\r\n";
    EXPECT_TRUE(compose(sample.report()).has_eight_bit);
    EXPECT_TRUE(
        has(sample.text(), "message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject"));

    Report part = sample.report();
    ++part.content_size;
    EXPECT_FALSE(has(compose(part).content, "the body")) << "not all of it is at hand";
    const std::string small = sample.content;
    for (const std::string& more :
         {std::string(999, 'x'), std::string("a\nb"), std::string(1, '\0')}) {
        sample.content = small + more;
        EXPECT_FALSE(has(sample.text(), "the body"));
    }
    sample.content = small;
    while (sample.content.size() <= content_octets_max) {
        sample.content += std::string(76, 'x') + "\r\n";
    }
    EXPECT_FALSE(has(sample.text(), "the body"));
    EXPECT_TRUE(has(sample.text(), "Subject: hello\r\n"));
}

TEST(Notification, OctetsOver127NeedSmtputf8InAHeader) {
    Sample sample;
    sample.content = "Subject: h\xc3\xa4llo\r\n\r\n";
    EXPECT_TRUE(
        has(sample.text(),
            "text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: h??llo\r\n"));
    EXPECT_FALSE(compose(sample.report()).has_eight_bit);
    sample.envelope.smtputf8 = true;
    EXPECT_TRUE(
        has(sample.text(),
            "message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: "
            "h\xc3\xa4llo\r\n"));
    EXPECT_TRUE(has(sample.text(), "report-type=delivery-status;"));
    EXPECT_TRUE(compose(sample.report()).has_eight_bit);
    EXPECT_FALSE(compose(sample.report()).has_utf8_header);
    sample.envelope.returned = mail::Returned::full;
    EXPECT_TRUE(has(sample.text(), "message/global\r\n"));
}

TEST(Notification, OfInternationalizedAddresses) {
    Sample sample;
    sample.envelope.smtputf8 = true;
    sample.envelope.reverse_path = "\xc3\xa4nna@example.org";
    sample.recipients[0].address = "b\xc3\xa9rt@example.com";
    sample.recipients[0].original_recipient = "utf-8;\\x{E9}\\x{2B}\xc3\xa9@example.com";
    const Notification notification = compose(sample.report());
    EXPECT_TRUE(notification.has_eight_bit);
    EXPECT_TRUE(notification.has_utf8_header);
    const std::string& text = notification.content;
    EXPECT_TRUE(has(text, "To: <\xc3\xa4nna@example.org>\r\n"));
    EXPECT_TRUE(has(text, "report-type=global-delivery-status;"));
    EXPECT_TRUE(has(text, "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"));
    EXPECT_TRUE(has(text, "message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
    EXPECT_TRUE(has(text, "Original-Recipient: utf-8; \xc3\xa9+\xc3\xa9@example.com\r\n"));
    EXPECT_TRUE(has(text, "Final-Recipient: utf-8; b\xc3\xa9rt@example.com\r\n"));

    sample.envelope.reverse_path =
        "anna@b\xc3\xbc"
        "cher.example";
    sample.envelope.reverse_path_a_label = "anna@xn--bcher-kva.example";
    EXPECT_TRUE(has(sample.text(), "To: <anna@xn--bcher-kva.example>\r\n"));
    EXPECT_FALSE(compose(sample.report()).has_utf8_header);
}

TEST(Notification, ShortenedItIsAsIfTheHeaderHadBeenAskedFor) {
    Sample sample;
    sample.recipients[0].reply.text =
        "The message is returned below.\nContent-Type: a\n--=_0123ABD";
    const std::vector<std::string> contents = {
        "Subject: h\xe9llo\r\nX: y\r\n\r\nb\xf6"
        "dy\r\n",
        "Subject: hello\r\n\r\n\r\n\r\nthe body\r\n--=_0123ABD--\r\n",
        "Subject: text/rfc822-headers\r\n\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n",
        "Subject: no body\r\n",
        "\r\n\xff",
        ""};
    for (const std::string& content : contents) {
        sample.content = content;
        sample.envelope.returned = mail::Returned::full;
        const std::string whole = sample.text();
        EXPECT_TRUE(has(whole, "message/rfc822\r\n"));
        const std::optional<std::string> out = shortened(whole);
        ASSERT_TRUE(out.has_value());
        EXPECT_FALSE(shortened(*out).has_value()) << "there is no more to leave out";
        // But for the boundary, which the body may have made another.
        const std::size_t begin = whole.find("boundary=\"") + 10;
        const std::string boundary = whole.substr(begin, whole.find('"', begin) - begin);
        sample.id = boundary.substr(2);
        sample.envelope.returned = mail::Returned::headers;
        std::string wanted = sample.text();
        wanted.replace(wanted.find('<' + sample.id + '@') + 1, sample.id.size(), "0123ABD");
        sample.id = "0123ABD";
        EXPECT_EQ(*out, wanted);
    }
    EXPECT_FALSE(shortened("Subject: none of ours\r\n").has_value());
}

TEST(Notification, ShortenedItIsAscii) {
    Sample sample;
    sample.envelope.smtputf8 = true;
    sample.content = "Subject: h\xc3\xa4llo\r\n\r\n";
    for (const mail::Returned returned : {mail::Returned::full, mail::Returned::headers}) {
        sample.envelope.returned = returned;
        const std::optional<std::string> out = shortened(sample.text());
        ASSERT_TRUE(out.has_value());
        EXPECT_TRUE(has(
            *out,
            "text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: h??llo\r\n"));
        EXPECT_FALSE(has(*out, "8bit"));
    }
    sample.recipients[0].address = "b\xc3\xa9rt@example.com";
    EXPECT_FALSE(shortened(sample.text()).has_value());
    sample.recipients[0].address = "bert@example.com";
    sample.envelope.reverse_path = "\xc3\xa4nna@example.org";
    EXPECT_FALSE(shortened(sample.text()).has_value());
}

TEST(Notification, NamesAHostWithoutItsPort) {
    Sample sample;
    for (const auto& [host, name] : std::vector<std::pair<std::string, std::string>>{
             {"192.0.2.7:25", "[192.0.2.7]"},
             {"192.0.2.7", "[192.0.2.7]"},
             {"[2001:db8::7]:2525", "[IPv6:2001:db8::7]"},
             {"mx1.internal:25", "mx1.internal"},
             {"mx1.internal", "mx1.internal"}}) {
        sample.recipients[0].host = host;
        EXPECT_TRUE(has(sample.text(), "Remote-MTA: dns; " + name + "\r\n")) << host;
        EXPECT_TRUE(has(sample.text(), "  The last answer, from " + host + ":\r\n"));
    }
}

TEST(Notification, AnAnswerOfManyLinesIsOneField) {
    Sample sample;
    sample.recipients[0].reply.text = "first\n\n  \nsecond";
    EXPECT_TRUE(has(sample.text(), "    550 5.1.1 first\r\n    second\r\n"));
    EXPECT_TRUE(has(sample.text(), "Diagnostic-Code: smtp; 550 5.1.1 first\r\n second\r\nLast"));
}

TEST(Notification, ABoundaryStandsInNoPart) {
    Sample sample;
    sample.envelope.returned = mail::Returned::full;
    sample.content += "--=_0123ABD--\r\n--=_0123ABD_0\r\n";
    EXPECT_TRUE(has(sample.text(), "boundary=\"=_0123ABD_1\"\r\n"));
    sample.id = std::string(200, '"');
    EXPECT_TRUE(has(sample.text(), "boundary=\"=_" + std::string(40, '_') + "\"\r\n"));
}

// --- what peers may say --------------------------------------------------------------------------

struct Random {
    std::uint64_t state;

    std::uint64_t next() {  // splitmix64
        std::uint64_t z = (state += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    std::size_t below(std::size_t bound) { return next() % bound; }
};

/// Whatever could end a line, a part or a field, and be too long.
std::string hostile(Random& random) {
    static const std::vector<std::string> parts = {
        "\r\n",
        "\r",
        "\n",
        std::string(1, '\0'),
        "--",
        "=_0123ABD",
        "\r\n--=_0123ABD--\r\n",
        "\r\n\r\n",
        "\r\nBcc: x@y\r\n",
        "a",
        "@",
        "<",
        ">",
        "+",
        "+0D+0A",
        "+00",
        "\\x{0A}",
        "\\x{E4}",
        ";",
        "utf-8;",
        "rfc822;",
        " ",
        "\t",
        "\x1b[2J",
        "\xc3\xa4",
        "\xc3",
        "\xff",
        "\xe2\x80\xa8",
        "\xed\xa0\x80",
        "\x7f",
        ".\r\n",
        "Status: 2.0.0",
        ": ",
        std::string(1100, 'x'),
        std::string(700, '\xc3')};
    std::string text;
    for (std::size_t n = random.below(12); n > 0; --n) {
        text += parts[random.below(parts.size())];
    }
    return text;
}

/// `text` in lines, as the shape of a notification asks for.
std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find("\r\n", at);
        if (end == std::string::npos) {
            ADD_FAILURE() << "it does not end in CRLF";
            break;
        }
        lines.push_back(text.substr(at, end - at));
        EXPECT_LE(lines.back().size(), 998U);
        EXPECT_EQ(lines.back().find_first_of(std::string("\r\n\0", 3)), std::string::npos);
        at = end + 2;
    }
    return lines;
}

std::size_t count(const std::vector<std::string>& lines, std::string_view begin) {
    return static_cast<std::size_t>(
        std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
            return line.starts_with(begin);
        }));
}

TEST(Notification, KeepsItsShapeWhateverPeersSay) {
    for (std::uint64_t seed = 0; seed < 3000; ++seed) {
        Random random{seed};
        std::vector<std::string> texts;
        for (int i = 0; i < 16; ++i) {
            texts.push_back(hostile(random));
        }
        mail::Envelope envelope;
        texts[0] += "a";  // it has a sender
        envelope.reverse_path = texts[0];
        envelope.envelope_id = texts[1];
        envelope.smtputf8 = random.below(2) == 0;
        envelope.returned = random.below(2) == 0 ? mail::Returned::full : mail::Returned::unstated;
        std::vector<RecipientReport> recipients(2);
        for (std::size_t i = 0; i < 2; ++i) {
            recipients[i].address = texts[2 + i];
            recipients[i].original_recipient = texts[4 + i];
            recipients[i].host = texts[6 + i];
            recipients[i].reply = {
                static_cast<std::uint16_t>(random.below(2) == 0 ? 550 : random.next()),
                {static_cast<std::uint16_t>(random.next()),
                 static_cast<std::uint16_t>(random.next()),
                 1},
                texts[8 + i]};
        }
        const auto action = static_cast<Action>(random.below(3));
        const Notification notification = compose(
            {.action = action,
             .hostname = texts[10],
             .id = random.below(2) == 0 ? "0123ABD" : texts[11],
             .date = arrived,
             .envelope = envelope,
             .message_id = texts[12],
             .arrived = arrived,
             .content = texts[13],
             .content_size = texts[13].size(),
             .recipients = recipients});
        SCOPED_TRACE("seed " + std::to_string(seed));
        const std::string& text = notification.content;
        const std::vector<std::string> lines = lines_of(text);
        const std::size_t at = text.find("boundary=\"") + 10;
        const std::string boundary = text.substr(at, text.find('"', at) - at);
        ASSERT_LE(boundary.size(), 70U);
        EXPECT_EQ(count(lines, "--" + boundary), 4U);
        EXPECT_EQ(lines.back(), "--" + boundary + "--");

        const bool ascii =
            std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
        EXPECT_EQ(notification.has_eight_bit, !ascii);
        const auto header_end = std::find(lines.begin(), lines.end(), "");
        const std::vector<std::string> header(lines.begin(), header_end);
        EXPECT_EQ(header.size(), 10U);
        EXPECT_EQ(count(header, "To: <"), 1U);

        // The second part: a block for the message, and one for each recipient.
        std::size_t part = text.find("\r\n--" + boundary, at);
        part = text.find("\r\n--" + boundary, part + 2);
        const std::size_t begin = text.find("\r\n\r\n", part) + 4;
        const std::size_t end = text.find("\r\n--" + boundary, begin);
        const std::vector<std::string> fields = lines_of(text.substr(begin, end - begin));
        EXPECT_EQ(count(fields, "Reporting-MTA: dns; "), 1U);
        EXPECT_EQ(count(fields, "Final-Recipient: "), 2U);
        EXPECT_EQ(count(fields, "Action: "), 2U);
        EXPECT_EQ(count(fields, "Status: "), 2U);
        EXPECT_EQ(std::count(fields.begin(), fields.end(), ""), 2);
        EXPECT_EQ(count(fields, "Bcc"), 0U);
    }
}

}  // namespace
}  // namespace postern::notify

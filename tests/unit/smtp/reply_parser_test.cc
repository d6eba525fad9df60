#include "postern/smtp/reply_parser.h"

#include <gtest/gtest.h>

#include <array>

namespace postern::smtp {
namespace {

using Status = ReplyParser::Status;

ReplyParser::Result parse(std::string_view bytes) {
    ReplyParser parser;
    return parser.parse(bytes);
}

HostReply reply(std::string_view bytes) {
    const auto result = parse(bytes);
    EXPECT_EQ(result.status, Status::consumed) << bytes;
    return result.reply;
}

TEST(ReplyParser, FindsTheEndOfAReplyAndNoMore) {
    const struct {
        std::string_view bytes;
        std::size_t consumed;
        int code;
    } replies[] = {
        {"250 ok\r\n", 8, 250},
        {"250\r\n", 5, 250},
        {"250 \r\n", 6, 250},
        {"250-a\r\n250-b\r\n250 c\r\n421 behind\r\n", 21, 250},
        {"354 go\r\n354 go\r\n", 8, 354},
        {"599-\r\n599\r\n", 11, 599},
        {"250 bare \r inside\r\n", 19, 250},
    };

    for (const auto& expected : replies) {
        const auto result = parse(expected.bytes);
        EXPECT_EQ(result.status, Status::consumed) << expected.bytes;
        EXPECT_EQ(result.consumed, expected.consumed) << expected.bytes;
        EXPECT_EQ(result.reply.code, expected.code);
        EXPECT_EQ(result.reply.bytes, expected.bytes.substr(0, expected.consumed));
    }
}

TEST(ReplyParser, RefusesWhatIsNoReply) {
    for (const std::string_view bytes :
         {"\r\n",
          "hello\r\n",
          "25 ok\r\n",
          "2500 ok\r\n",
          "250_ok\r\n",
          "150 ok\r\n",
          "650 ok\r\n",
          " 250 ok\r\n",
          "250 ok\n",
          "250-a\n250 b\r\n",
          "250-a\r\n251 b\r\n",
          "250-a\r\nb\r\n",
          "\n250 ok\r\n",
          "25\x80 ok\r\n",
          "\x16\x03\x01\x02\r\n"}) {
        EXPECT_EQ(parse(bytes).status, Status::error) << bytes;
    }
}

TEST(ReplyParser, HasBounds) {
    const auto line = [](std::size_t octets) {
        return "250-" + std::string(octets - 6, 'x') + "\r\n";
    };
    EXPECT_EQ(parse(line(ReplyParser::line_octets_max)).status, Status::partial);
    EXPECT_EQ(parse(line(ReplyParser::line_octets_max + 1)).status, Status::error);
    EXPECT_EQ(parse(std::string(ReplyParser::line_octets_max - 1, '2')).status, Status::partial);
    EXPECT_EQ(parse(std::string(ReplyParser::line_octets_max, '2')).status, Status::error);

    std::string lines;
    for (std::size_t i = 1; i < ReplyParser::lines_max; ++i) {
        lines += "250-x\r\n";
    }
    EXPECT_EQ(parse(lines + "250 x\r\n").status, Status::consumed);
    EXPECT_EQ(parse(lines + "250-x\r\n250 x\r\n").status, Status::error);

    std::string octets;
    while (octets.size() < ReplyParser::octets_max - 1000) {
        octets += line(1000);
    }
    const std::size_t rest = ReplyParser::octets_max - octets.size();
    EXPECT_EQ(
        parse(octets + "250 " + std::string(rest - 6, 'x') + "\r\n").status, Status::consumed);
    EXPECT_EQ(parse(octets + "250 " + std::string(rest - 5, 'x') + "\r\n").status, Status::error);
    EXPECT_EQ(parse(octets + "250 " + std::string(rest - 4, 'x')).status, Status::error);
}

TEST(ReplyParser, SaysTheSameHoweverTheOctetsCome) {
    for (const std::string_view bytes :
         {"250-a\r\n250-b\r\n250 c\r\n", "421 bye\r\n", "250-a\r\n251 b\r\n", "250 ok\n"}) {
        const auto whole = parse(bytes);
        for (std::size_t first = 0; first <= bytes.size(); ++first) {
            for (std::size_t second = first; second <= bytes.size(); ++second) {
                ReplyParser parser;
                auto result = parser.parse(bytes.substr(0, first));
                if (result.status == Status::partial) {
                    result = parser.parse(bytes.substr(0, second));
                }
                if (result.status == Status::partial) {
                    result = parser.parse(bytes);
                }
                EXPECT_EQ(result.status, whole.status) << bytes;
                EXPECT_EQ(result.consumed, whole.consumed);
                EXPECT_EQ(result.reply.code, whole.reply.code);
            }
        }
    }
}

TEST(Capabilities, AreReadInAnyCaseAndIgnoredWhereAsked) {
    const HostReply ehlo = reply(
        "250-PIPELINING is only a greeting\r\n250-chunking\r\n250-Size 1000\r\n250-8bitmime\r\n"
        "250-SMTPUTF8 \r\n250-LIMITS RCPTMAX=7 MAILMAX=20 OTHER=1 "
        "RCPTDOMAINMAX=1\r\n250-AUTH=LOGIN\r\n"
        "250 PIPELININGX\r\n");
    const Capabilities all = parse_capabilities(ehlo, {});
    EXPECT_FALSE(all.pipelining);
    EXPECT_TRUE(all.chunking);
    EXPECT_TRUE(all.eight_bit_mime);
    EXPECT_TRUE(all.smtputf8);
    EXPECT_TRUE(all.size);
    EXPECT_EQ(all.size_max, 1000U);
    EXPECT_EQ(all.mail_max, 20U);
    EXPECT_EQ(all.recipients_max, 7U);
    EXPECT_EQ(all.recipient_domains_max, 1U);
    const std::vector<std::string> ignored = {"CHUNKING", "LIMITS"};
    const Capabilities some = parse_capabilities(ehlo, ignored);
    EXPECT_FALSE(some.chunking);
    EXPECT_EQ(some.mail_max, 0U);
    EXPECT_EQ(some.size_max, 1000U);
    const Capabilities odd = parse_capabilities(
        reply("250-x\r\n250-SIZE\r\n250-LIMITS RCPTMAX=-1 MAILMAX=9x RCPTDOMAINMAX\r\n250 "
              "PIPELINING\r\n"),
        {});
    EXPECT_TRUE(odd.size);
    EXPECT_EQ(odd.size_max, 0U);
    EXPECT_EQ(odd.recipients_max + odd.mail_max + odd.recipient_domains_max, 0U);
    EXPECT_TRUE(odd.pipelining);
    const Capabilities more = parse_capabilities(
        reply(
            "250-x\r\n250-StartTLS\r\n250-AUTH CRAM-MD5 login\r\n250-AUTH=PLAIN X\r\n250-XFORWARD "
            "NAME helo SOURCE\r\n250 AUTHOR PLAIN\r\n"),
        {});
    EXPECT_TRUE(more.starttls);
    EXPECT_TRUE(more.auth_login);
    EXPECT_TRUE(more.auth_plain);
    EXPECT_EQ(
        more.xforward, set_of(Xforward::name) | set_of(Xforward::helo) | set_of(Xforward::source));
    EXPECT_FALSE(odd.starttls || odd.auth_login || odd.auth_plain || odd.xforward != 0);
    const std::vector<std::string> none = {"AUTH", "XFORWARD", "STARTTLS"};
    const Capabilities without =
        parse_capabilities(reply("250-x\r\n250-STARTTLS\r\n250 AUTH=PLAIN\r\n"), none);
    EXPECT_FALSE(without.starttls || without.auth_plain);
}

TEST(ReplyForSender, MapsCodesAndTexts) {
    const struct {
        std::string_view said;
        bool to_rcpt;
        int code;
        mail::EnhancedCode enhanced;
        std::string_view text;
    } rows[] = {
        {"250 2.1.5 ok\r\n", false, 250, {2, 1, 5}, "ok"},
        {"251 2.1.5 will forward\r\n", true, 250, {2, 1, 5}, "will forward"},
        {"250 ok\r\n", false, 250, {2, 0, 0}, "ok"},
        {"421 4.3.2 bye\r\n", false, 451, {4, 3, 2}, "bye"},
        {"552 5.2.2 full\r\n", true, 452, {4, 0, 0}, "full"},
        {"552 5.2.2 full\r\n", false, 552, {5, 2, 2}, "full"},
        {"550 4.1.1 odd\r\n", false, 550, {5, 0, 0}, "odd"},
        {"550 5.123.456 far\r\n", false, 550, {5, 123, 456}, "far"},
        {"550 5.1234.1 far\r\n", false, 550, {5, 0, 0}, "5.1234.1 far"},
        {"550 5.1.1\r\n", false, 550, {5, 1, 1}, ""},
        {"550 5.1 no\r\n", false, 550, {5, 0, 0}, "5.1 no"},
        {"550 3.1.1 no\r\n", false, 550, {5, 0, 0}, "3.1.1 no"},
        {"550\r\n", false, 550, {5, 0, 0}, ""},
        {"550-5.1.1 one\r\n550 5.1.1 two\r\n", false, 550, {5, 1, 1}, "one\ntwo"},
        {"450 a\tb\x80\x7f\x01\r"
         "c\r\n",
         false,
         450,
         {4, 0, 0},
         "a?b????c"},
    };

    std::array<char, sender_text_octets> room;
    for (const auto& row : rows) {
        const mail::Reply passed = reply_for_sender(reply(row.said), row.to_rcpt, room);
        EXPECT_EQ(passed.code, row.code) << row.said;
        EXPECT_EQ(passed.enhanced, row.enhanced) << row.said;
        EXPECT_EQ(passed.text, row.text) << row.said;
    }
}

TEST(ReplyForSender, PassesEightLinesThatFitWithTheirCodes) {
    std::string said;
    for (int i = 0; i < 9; ++i) {
        said += "550-5.7.1 " + std::string(1500, static_cast<char>('a' + i)) + "\r\n";
    }
    said += "550 end\r\n";
    std::array<char, sender_text_octets> room;
    const mail::Reply passed = reply_for_sender(reply(said), false, room);
    std::string expected;
    for (int i = 0; i < 8; ++i) {
        // "550-5.7.1 ", text, CRLF: 512 octets.
        expected += (i > 0 ? "\n" : "") + std::string(500, static_cast<char>('a' + i));
    }
    EXPECT_EQ(passed.text, expected);
}

TEST(HostTrouble, IsTheseCodesAlone) {
    std::string codes;
    for (std::uint16_t code = 400; code < 600; ++code) {
        codes += is_host_trouble(code) ? std::to_string(code) + " " : "";
    }
    EXPECT_EQ(codes, "502 503 521 530 531 532 533 534 535 536 537 538 555 ");
}

}  // namespace
}  // namespace postern::smtp

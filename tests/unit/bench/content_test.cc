#include "bench/load/content.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postern::bench {
namespace {

const std::vector<std::string> contents = {
    "Subject: x\r\n\r\nbody\r\n",
    "\r\nno header\r\n",
    "Subject: x\r\n\r\n",
    "no empty line\r\n",
    "a\r\n\r\r\n\r\n\r\nb",
    "\n\n\r\r\n\r\n\r\n",
};

TEST(ContentSum, IsTheSameForEverySplit) {
    for (const std::string& content : contents) {
        const Sums whole = sums_of(content);
        EXPECT_EQ(whole.size, content.size());
        for (std::size_t a = 0; a <= content.size(); ++a) {
            for (std::size_t b = a; b <= content.size(); ++b) {
                ContentSum sum;
                sum.append(content.substr(0, a));
                sum.append(content.substr(a, b - a));
                sum.append(content.substr(b));
                EXPECT_EQ(sum.finish(), whole) << content << " at " << a << " and " << b;
            }
        }
    }
}

TEST(ContentSum, TellsHeaderFromBody) {
    const Sums sums = sums_of("A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore\r\n");
    const Sums other_body = sums_of("A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmorE\r\n");
    const Sums other_header = sums_of("A: 1\r\nB: 3\r\n\r\nbody\r\n\r\nmore\r\n");
    EXPECT_EQ(other_body.header, sums.header);
    EXPECT_NE(other_body.body, sums.body);
    EXPECT_NE(other_header.header, sums.header);
    EXPECT_EQ(other_header.body, sums.body);
}

std::string behind(std::string_view content, int lines, std::size_t split, int& skipped) {
    ReceivedSkipper skipper(lines);
    std::string out;
    for (const std::string_view piece : {content.substr(0, split), content.substr(split)}) {
        const ReceivedSkipper::Behind got = skipper.pass(piece);
        out.append(got.held).append(got.rest);
    }
    out += skipper.finish();
    skipped = skipper.skipped();
    return out;
}

TEST(ReceivedSkipper, SkipsSoManyFieldsAndNoMore) {
    const std::string one = "Received: from a\r\n\tby b;\r\n date\r\n";
    const std::string two = "RECEIVED:x\r\n";

    struct Case {
        std::string content;
        int lines;
        std::string behind;
        int skipped;
    };

    const std::vector<Case> cases = {
        {one + "Subject: x\r\n", 1, "Subject: x\r\n", 1},
        {one + two + "Subject: x\r\n", 1, two + "Subject: x\r\n", 1},
        {one + two + "Subject: x\r\n", 2, "Subject: x\r\n", 2},
        {one + two, 3, "", 2},
        {one + "\r\nReceived: in the body\r\n", 2, "\r\nReceived: in the body\r\n", 1},
        {one, 0, one, 0},
        {"Receive", 1, "Receive", 0},
        {"Received-SPF: none\r\n", 1, "Received-SPF: none\r\n", 0},
        {"Subject: x\r\n" + one, 1, "Subject: x\r\n" + one, 0},
    };
    for (const Case& c : cases) {
        for (std::size_t split = 0; split <= c.content.size(); ++split) {
            int skipped = -1;
            EXPECT_EQ(behind(c.content, c.lines, split, skipped), c.behind) << c.content << split;
            EXPECT_EQ(skipped, c.skipped) << c.content << split;
        }
    }
}

TEST(Identity, SurvivesTheReversePath) {
    const Identity extreme{0xffffffff, 0xffffffffff, {0xffffffff, 0xffffffff, 0xffffffff}};
    const Identity small{0, 1, {0, 0, 5}};
    for (const Identity& identity : {extreme, small}) {
        std::string text;
        append_local_part(text, identity);
        EXPECT_LE(text.size(), 64U);  // RFC 5321, 4.5.3.1.1
        EXPECT_EQ(parse_local_part(text), identity) << text;
        for (std::size_t i = 0; i < text.size(); ++i) {
            EXPECT_NE(parse_local_part(text.substr(0, i)), identity);
        }
        EXPECT_EQ(parse_local_part(text + "-"), std::nullopt);
        EXPECT_EQ(parse_local_part(text + "x"), std::nullopt);
    }
    EXPECT_EQ(parse_local_part(""), std::nullopt);
    EXPECT_EQ(parse_local_part("bounce-1-2-3"), std::nullopt);
}

TEST(Content, IsRepairedAndStuffed) {
    EXPECT_EQ(repaired("a\rb\nc\r\nd\r"), "a b\r\nc\r\nd ");
    EXPECT_EQ(repaired("\n\r\r\n"), "\r\n \r\n");
    EXPECT_EQ(as_data(".\r\n..\r\na.\r\n\n.x\r\n"), "..\r\n...\r\na.\r\n\n.x\r\n.\r\n");
}

}  // namespace
}  // namespace postern::bench

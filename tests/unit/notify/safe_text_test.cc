#include "safe_text.h"

#include <gtest/gtest.h>

namespace postern::notify {
namespace {

using enum Characters;

TEST(SafeText, KeepsOneLineOfWhatPrints) {
    EXPECT_EQ(safe("a b~", 100, ascii), "a b~");
    EXPECT_EQ(safe(std::string_view("a\r\n\0\t\x1b\x7f z", 9), 100, ascii), "a?????? z");
    EXPECT_EQ(safe("\xc3\xa4", 100, ascii), "??");
    EXPECT_EQ(safe("\xc3\xa4", 100, utf8), "\xc3\xa4");
    EXPECT_EQ(safe("\xc3(\xff", 100, utf8), "?(?") << "not UTF-8";
    EXPECT_EQ(safe("\xc2\x85|\xc2\xa0", 100, utf8), "?|\xc2\xa0") << "a next line is a control";
    EXPECT_EQ(
        safe("\xe2\x80\xa8|\xe2\x80\xae|\xe2\x81\xa9|\xe2\x82\xac", 100, utf8),
        "?|?|?|\xe2\x82\xac");
}

TEST(SafeText, IsCutBetweenCharacters) {
    EXPECT_EQ(safe("abc", 2, ascii), "ab");
    EXPECT_EQ(safe("a\xc3\xa4", 2, utf8), "a");
    EXPECT_EQ(safe("a\xc3\xa4", 3, utf8), "a\xc3\xa4");
}

TEST(SafeText, AHeaderEndsAtTheFirstEmptyLine) {
    EXPECT_EQ(safe_header("A: b\r\n\tc\r\n\r\nbody\r\n", ascii), "A: b\r\n\tc\r\n");
    EXPECT_EQ(safe_header("\r\nbody\r\n", ascii), "");
    EXPECT_EQ(safe_header("A: b\r\nB: trunca", ascii), "A: b\r\n");
    EXPECT_EQ(safe_header("A: b", ascii), "A: b\r\n");
    EXPECT_EQ(safe_header("", ascii), "");
    EXPECT_EQ(safe_header("A: \n\n\xc3\xa4\r\nB: \r\r\n", utf8), "A: ??\xc3\xa4\r\nB: ?\r\n");
    EXPECT_EQ(
        safe_header(std::string(2000, 'a') + "\r\nB: c\r\n", ascii),
        std::string(998, 'a') + "\r\nB: c\r\n");
}

TEST(SafeText, SaysWhatMayBeGivenBackAsItIs) {
    const std::string longest(line_octets_max, 'x');
    EXPECT_TRUE(is_plain(""));
    EXPECT_TRUE(is_plain("a\r\n\r\n\xff\x01\r\n" + longest + "\r\n" + longest));
    EXPECT_FALSE(is_plain(longest + "x"));
    EXPECT_FALSE(is_plain("a\nb"));
    EXPECT_FALSE(is_plain("a\rb"));
    EXPECT_FALSE(is_plain("a\r"));
    EXPECT_FALSE(is_plain("a\r\r\n"));
    EXPECT_FALSE(is_plain(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace postern::notify

#include "postern/smtp/xtext.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postern::smtp {
namespace {

/// "malformed" where it is.
std::string decoded(std::string_view text) {
    std::string all;
    while (!text.empty()) {
        const XtextCharacter character = take_xtext(text);
        if (character.size == 0) {
            return "malformed";
        }
        all += character.view();
    }
    return all;
}

std::string decoded_original(std::string_view value) {
    std::string all;
    for (OriginalRecipient original(value); !original.empty();) {
        const XtextCharacter character = original.take();
        if (character.size == 0) {
            return "malformed";
        }
        all += character.view();
    }
    return all;
}

TEST(Xtext, IsReadAsItIsWritten) {
    std::string every;
    for (int c = 0; c < 256; ++c) {
        every += static_cast<char>(c);
    }
    std::vector<char> room(3 * every.size());
    const auto text = write_xtext(every, room);
    ASSERT_TRUE(text.has_value());
    EXPECT_EQ(decoded(*text), every);
    EXPECT_EQ(*write_xtext("a+b=c d", room), "a+2Bb+3Dc+20d");
    EXPECT_EQ(*write_xtext("", room), "");
    EXPECT_FALSE(write_xtext("ab+", std::span(room).first(4)).has_value());
    EXPECT_TRUE(write_xtext("ab+", std::span(room).first(5)).has_value());
}

TEST(Xtext, MalformedIsNotRead) {
    for (const std::string_view text :
         {"+", "+4", "a+4", "+4g", "+4a", "+ 1", "a b", "a=b", "\xe4", "a\r"}) {
        EXPECT_EQ(decoded(text), "malformed") << text;
    }
    EXPECT_EQ(decoded("+41+0D"), "A\r");
}

TEST(OriginalRecipient, IsReadByItsType) {
    EXPECT_EQ(OriginalRecipient("rfc822;a@x").type(), "rfc822");
    EXPECT_FALSE(OriginalRecipient("rfc822;a@x").is_utf8());
    EXPECT_TRUE(OriginalRecipient("UTF-8;a@x").is_utf8());
    EXPECT_EQ(OriginalRecipient("a@x").type(), "");
    EXPECT_EQ(OriginalRecipient("a b;c@x").type(), "");
    EXPECT_EQ(OriginalRecipient(";a@x").type(), "");
    EXPECT_EQ(decoded_original("rfc822;a+2Bb@x;y"), "a+b@x;y");
    EXPECT_EQ(decoded_original("rfc822;\\x{2B}@x"), "\\x{2B}@x");
    EXPECT_EQ(
        decoded_original("utf-8;\\x{2B}\\x{E4}\\x{20AC}\\x{10FFFF}@x"),
        "+\xc3\xa4\xe2\x82\xac\xf4\x8f\xbf\xbf@x");
    EXPECT_EQ(decoded_original("utf-8;\xc3\xa4\\x{5C}@x"), "\xc3\xa4\\@x");
}

TEST(OriginalRecipient, MalformedUtf8IsNotRead) {
    for (const std::string_view value :
         {"utf-8;a+2Bb",        // xtext is another form
          "utf-8;\\",           // a lone backslash
          "utf-8;\\x{41}",      // what stands for itself
          "utf-8;\\x{D800}",    // a surrogate
          "utf-8;\\x{110000}",  // past Unicode
          "utf-8;\\x{0E4}",     // not the shortest
          "utf-8;\\x{e4}",      // lower case
          "utf-8;\\x{E4",
          "utf-8;\\x{}",
          "utf-8;\\x{9}",
          "utf-8;\\x{0000E4}",
          "utf-8;\\x{00000E4}",
          "utf-8;\xc3",
          "utf-8;\xed\xa0\x80",
          "utf-8;a=b",
          "utf-8;a b"}) {
        EXPECT_EQ(decoded_original(value), "malformed") << value;
    }
}

TEST(OriginalRecipient, GoesOnInAscii) {
    std::vector<char> room(100);
    EXPECT_EQ(in_ascii("rfc822;a+2Bb@x", room), "rfc822;a+2Bb@x");
    EXPECT_EQ(in_ascii("utf-8;\\x{E4}@x", room), "utf-8;\\x{E4}@x");
    EXPECT_EQ(
        in_ascii("utf-8;\xc3\xa4\\x{2B}\xf0\x9f\x93\xa7@x", room),
        "utf-8;\\x{E4}\\x{2B}\\x{1F4E7}@x");
    EXPECT_EQ(in_ascii("utf-8;\xc3\xa4@x", std::span(room).first(13)), std::nullopt);
    EXPECT_TRUE(in_ascii("utf-8;\xc3\xa4@x", std::span(room).first(14)).has_value());
}

TEST(OriginalRecipient, IsWrittenForAnAddress) {
    std::vector<char> room(100);
    EXPECT_EQ(write_original_recipient("\"a b\"+c@x", room), "rfc822;\"a+20b\"+2Bc@x");
    EXPECT_EQ(
        write_original_recipient("\xc3\xa4+=\"\\\\\"@x", room),
        "utf-8;\\x{E4}\\x{2B}\\x{3D}\"\\x{5C}\\x{5C}\"@x");
    EXPECT_EQ(write_original_recipient("\xe4@x", room), std::nullopt);
    EXPECT_EQ(write_original_recipient("abc@x", std::span(room).first(11)), std::nullopt);
    EXPECT_EQ(write_original_recipient("abc@x", std::span(room).first(3)), std::nullopt);
}

}  // namespace
}  // namespace postern::smtp

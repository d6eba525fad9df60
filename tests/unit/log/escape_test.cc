#include "escape.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace postern::log {
namespace {

using Escape = Escaped (*)(std::string_view, char*, std::size_t);

std::string escaped(Escape escape, std::string_view value, std::size_t room = 4096) {
    std::string out(room, '#');
    const Escaped result = escape(value, out.data(), room);
    out.resize(result.size);
    return out;
}

TEST(EscapeJson, LeavesTextAndEscapesWhatIsNone) {
    EXPECT_EQ(escaped(escape_json, "a b/c<d>'"), "a b/c<d>'");
    EXPECT_EQ(escaped(escape_json, "\"\\"), "\\\"\\\\");
    EXPECT_EQ(escaped(escape_json, "a\r\nb\t\x7f"), "a\\u000d\\u000ab\\u0009\\u007f");
    EXPECT_EQ(escaped(escape_json, std::string_view("\0", 1)), "\\u0000");
    EXPECT_EQ(
        escaped(escape_json, "m\u00fcller \u20ac \U0001f4e7"), "m\u00fcller \u20ac \U0001f4e7");
    EXPECT_EQ(
        escaped(escape_json, "\u0085\u009b"),
        "\\u0085\\u009b");  // C1 controls: a terminal obeys them
}

TEST(EscapeJson, WhatIsNoUtf8IsReplaced) {
    const std::string r = "\ufffd";
    EXPECT_EQ(escaped(escape_json, "\xff"), r);
    EXPECT_EQ(escaped(escape_json, "a\xc3"), "a" + r);                   // cut short
    EXPECT_EQ(escaped(escape_json, "\xc0\xaf"), r + r);                  // overlong
    EXPECT_EQ(escaped(escape_json, "\xe0\x80\xaf"), r + r + r);          // overlong
    EXPECT_EQ(escaped(escape_json, "\xed\xa0\x80"), r + r + r);          // a surrogate
    EXPECT_EQ(escaped(escape_json, "\xf4\x90\x80\x80"), r + r + r + r);  // past U+10FFFF
    EXPECT_EQ(escaped(escape_json, "\xe2\x82\"x"), r + r + "\\\"x");  // the quote is not swallowed
}

TEST(EscapeText, LeavesOnlyWhatCanNotEndAValue) {
    EXPECT_EQ(escaped(escape_text, "user@example.com"), "user@example.com");
    EXPECT_EQ(
        escaped(escape_text, "a b=\"c\" 'd' \\ ,\n"),
        "a\\x20b=\\x22c\\x22\\x20\\x27d\\x27\\x20\\x5c\\x20\\x2c\\x0a");
    EXPECT_EQ(escaped(escape_text, "\xc3\xbc"), "\\xc3\\xbc");
}

TEST(Escape, CutsBetweenCharacters) {
    std::string out(16, '#');
    EXPECT_EQ(escape_json("\u20ac\u20ac", out.data(), 5).size, 3U);
    EXPECT_FALSE(escape_json("\u20ac\u20ac", out.data(), 5).whole);
    EXPECT_TRUE(escape_json("\u20ac\u20ac", out.data(), 6).whole);
    EXPECT_EQ(escape_text("a  ", out.data(), 8).size, 5U);
    EXPECT_EQ(escape_text("", out.data(), 0).size, 0U);
    EXPECT_TRUE(escape_text("", out.data(), 0).whole);
}

std::string unescaped_text(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\') {
            out += static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

TEST(Escape, RandomBytesAreReadBack) {
    for (unsigned seed = 0; seed < 2000; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        // Bytes that make UTF-8 likely to almost work.
        constexpr std::string_view alphabet =
            "a\"\\\n \x7f\x80\xbf\xc2\xc3\xe2\x82\xac\xed\xa0\xf0\x9f\x92\xf4";
        std::string value;
        for (auto size = random() % 40; size > 0; --size) {
            value += alphabet[random() % alphabet.size()];
        }
        const std::string text = escaped(escape_text, value);
        EXPECT_EQ(unescaped_text(text), value);
        for (const char c : text) {
            EXPECT_TRUE(c > ' ' && c < '\x7f' && c != '"' && c != ',');
        }
        const std::string json = '"' + escaped(escape_json, value) + '"';
        const auto parsed = nlohmann::json::parse(json, nullptr, false);
        ASSERT_FALSE(parsed.is_discarded()) << json;
        // The library's own writer, told to replace what is no UTF-8, is the judge of which bytes
        // stay.
        const auto judge = nlohmann::json::parse(
            nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        const auto only_kept = [](std::string s) {
            for (std::size_t at = 0; (at = s.find("\ufffd", at)) != std::string::npos;) {
                s.erase(at, 3);
            }
            return s;
        };
        EXPECT_EQ(only_kept(parsed.get<std::string>()), only_kept(judge.get<std::string>()));
    }
}

}  // namespace
}  // namespace postern::log

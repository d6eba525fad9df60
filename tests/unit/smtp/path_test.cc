#include "postern/smtp/path.h"

#include <gtest/gtest.h>

#include <string>

#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

struct Parsed {
    std::size_t size = 0;
    Path path;
    PathError error = PathError::none;
};

Parsed parse(std::string_view text, PathKind kind = PathKind::forward) {
    Parsed parsed;
    parsed.size = parse_path(text, kind, parsed.path, parsed.error);
    EXPECT_EQ(parsed.size == 0, parsed.error != PathError::none);
    return parsed;
}

TEST(path, gives_views_into_the_text) {
    const std::string text = "<@a.example,@b.example:\"x y\"@Sub.Example.COM.> SIZE=1";
    const Parsed parsed = parse(text);
    EXPECT_EQ(parsed.size, text.find(' ', 30));
    EXPECT_EQ(parsed.path.address, "\"x y\"@Sub.Example.COM");
    EXPECT_EQ(parsed.path.local_part, "\"x y\"");
    EXPECT_EQ(parsed.path.domain, "Sub.Example.COM");
    EXPECT_GE(parsed.path.address.data(), text.data());
    EXPECT_FALSE(parsed.path.non_ascii);
}

TEST(path, knows_the_null_path_and_postmaster) {
    EXPECT_EQ(parse("<>", PathKind::reverse).size, 2U);
    EXPECT_EQ(parse("<>").error, PathError::syntax);
    EXPECT_EQ(parse("<PostMaster>").path.address, "PostMaster");
    EXPECT_EQ(parse("<PostMaster>").path.domain, "");
    EXPECT_EQ(parse("<postmaster>", PathKind::reverse).error, PathError::syntax);
    EXPECT_EQ(parse("<postmaster@example.com>").path.domain, "example.com");
}

TEST(path, refuses_source_routes_that_are_none) {
    for (const char* text :
         {"<@:a@b>",
          "<@a.example>",
          "<@a.example:>",
          "<@a.example,:a@b>",
          "<@a.example,b.example:a@b>",
          "<@a.example:@b.example:a@b>",
          "<@a..b:a@b>",
          "<@"}) {
        EXPECT_EQ(parse(text).error, PathError::syntax) << text;
    }
}

TEST(path, never_reads_past_a_prefix) {
    const std::string text = "<@a.example:\"q\\\"\xc3\xa4\"@b.example>";
    for (std::size_t size = 0; size < text.size(); ++size) {
        const std::string prefix(text, 0, size);
        EXPECT_EQ(parse({prefix.data(), prefix.size()}).error, PathError::syntax) << prefix;
    }
    EXPECT_EQ(parse(text).error, PathError::none);
    EXPECT_TRUE(parse(text).path.non_ascii);
}

TEST(path, keeps_the_limits_of_the_dns) {
    const std::string label(63, 'a');
    const std::string domain = label + "." + label + "." + label + "." + std::string(61, 'b');
    ASSERT_EQ(domain.size(), 253U);
    EXPECT_EQ(check_domain(domain), PathError::none);
    EXPECT_EQ(check_domain(domain + "b"), PathError::domain);
    EXPECT_EQ(check_domain("a" + label), PathError::domain);
    EXPECT_EQ(parse("<a@" + domain + ".>").path.domain, domain);
    EXPECT_EQ(check_domain(""), PathError::domain);
    EXPECT_EQ(check_domain("a b"), PathError::syntax);
    EXPECT_EQ(check_domain("single"), PathError::none);
    EXPECT_EQ(check_domain("\xe6\x97\xa5\xe6\x9c\xac.example"), PathError::none);
}

TEST(path, knows_address_literals) {
    for (const char* text :
         {"[192.0.2.1]",
          "[192.000.002.001]",
          "[IPv6:2001:db8::1]",
          "[ipv6:::]",
          "[IPv6:::ffff:192.0.2.1]",
          "[tag:content!]"}) {
        EXPECT_TRUE(is_address_literal(text)) << text;
    }
    for (const char* text :
         {"[]",
          "[192.0.2]",
          "[192.0.2.256]",
          "[192.0.2.0001]",
          "[192.0.2.1",
          "192.0.2.1",
          "[2001:db8::1]",
          "[IPv6:]",
          "[IPv6:1]",
          "[tag:]",
          "[:x]",
          "[tag-:x]",
          "[tag:a b]",
          "[tag:a]b]",
          "[ 192.0.2.1]"}) {
        // "[2001:db8::1]" is a literal of an unknown kind, "2001", by RFC 5321's grammar.
        EXPECT_EQ(is_address_literal(text), std::string_view(text) == "[2001:db8::1]") << text;
    }
}

TEST(characters, is_ascii_sees_every_octet) {
    for (std::size_t size = 0; size < 20; ++size) {
        const std::string text(size, '\x7f');
        EXPECT_TRUE(is_ascii(text));
        for (std::size_t at = 0; at < size; ++at) {
            for (const char c : {'\x80', '\xff'}) {
                std::string other = text;
                other[at] = c;
                EXPECT_FALSE(is_ascii(other)) << size << " " << at;
            }
        }
    }
}

TEST(characters, atext_is_rfc_5322s) {
    const std::string_view symbols = "!#$%&'*+-/=?^_`{|}~";
    for (int i = -128; i < 128; ++i) {
        const char c = static_cast<char>(i);
        EXPECT_EQ(
            is_atext(c),
            is_alphanumeric(c) || (c != '\0' && symbols.find(c) != std::string_view::npos))
            << i;
    }
}

TEST(characters, utf8_takes_whole_characters_only) {
    EXPECT_EQ(utf8_non_ascii("\xc3\xa4"), 2U);
    EXPECT_EQ(utf8_non_ascii("\xe6\x97\xa5x"), 3U);
    EXPECT_EQ(utf8_non_ascii("\xf0\x9f\x93\xa7"), 4U);
    for (const char* text :
         {"a",
          "",
          "\x80",
          "\xc3",
          "\xc0\x80",
          "\xe0\x80\x80",
          "\xed\xa0\x80",
          "\xf0\x80\x80\x80",
          "\xf4\x90\x80\x80",
          "\xf5\x80\x80\x80",
          "\xc3(",
          "\xe6\x97"}) {
        EXPECT_EQ(utf8_non_ascii(text), 0U) << text;
    }
}

}  // namespace
}  // namespace postern::smtp

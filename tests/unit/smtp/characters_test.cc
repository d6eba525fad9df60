#include "postern/smtp/characters.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace postern::smtp {
namespace {

TEST(Characters, FindCrlfFindsWhatTheLibraryFinds) {
    // Every text of up to seven octets that matter.
    constexpr std::string_view octets{"a\r\n\0", 4};
    for (std::size_t size = 0; size <= 7; ++size) {
        for (std::size_t number = 0; number < std::size_t{1} << (2 * size); ++number) {
            std::string text;
            for (std::size_t i = 0; i < size; ++i) {
                text += octets[number >> (2 * i) & 3];
            }
            ASSERT_EQ(find_crlf(text), text.find("\r\n")) << number;
        }
    }
}

TEST(Characters, WhatCouldEndALineIsFoundAtEachPlace) {
    for (std::size_t size = 1; size <= 20; ++size) {
        for (std::size_t at = 0; at < size; ++at) {
            for (int octet = 0; octet < 256; ++octet) {
                std::string text(size, at % 2 == 0 ? '\x80' : '\x01');
                EXPECT_FALSE(could_end_line(text));
                text[at] = static_cast<char>(octet);
                EXPECT_EQ(could_end_line(text), octet == 0 || octet == '\r' || octet == '\n')
                    << octet << " at " << at << " of " << size;
            }
        }
    }
}

}  // namespace
}  // namespace postern::smtp

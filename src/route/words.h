#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

/// A line of a rules file as words.
namespace postern::route {

struct Word {
    std::uint32_t begin;  // octets of the line
    std::uint32_t end;
    bool quoted;  // quotes stand somewhere in it
};

struct Words {
    static constexpr unsigned count_max = 8;  // a pattern, a target, and each option once is fewer
    std::array<Word, count_max> words;
    unsigned count = 0;
    const char* fault = nullptr;  // why the line has no words
    std::uint32_t fault_at = 0;
};

/// Splits at blanks and tabs, outside quotes; a comment ends it.
Words split_words(std::string_view line);

/// The word without its quotes; `memory` holds it where it differs from the line's.
std::string_view word_text(std::string_view line, const Word& word, std::string& memory);

/// What keeps a line from being text: a control character, or octets that are not UTF-8. nullptr:
/// nothing; else `at` is where.
const char* text_fault(std::string_view line, std::size_t& at);

}  // namespace postern::route

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

/// The lines of a file that say something, one by one: those with words, and what is wrong with
/// others (product.md, section 1: what a line may hold, BOM and CRLF, the newline at the end).
class LineReader {
   public:
    explicit LineReader(std::string_view text);

    /// Goes on to the next. False: there is none.
    bool next();

    /// Where it begins in the file, its number from 1, and its text without its end.
    std::size_t begin() const { return begin_; }

    std::uint32_t number() const { return number_; }

    std::string_view line() const { return line_; }

    const Words& words() const { return words_; }

    /// Why it has no words; empty: it has. `fault_at`: octet of the line.
    const std::string& fault() const { return fault_; }

    std::size_t fault_at() const { return fault_at_; }

   private:
    void look();

    std::string_view text_;
    std::size_t begin_ = 0;
    std::size_t next_ = 0;
    std::uint32_t number_ = 0;
    std::string_view line_;
    Words words_;
    std::string fault_;
    std::size_t fault_at_ = 0;
};

}  // namespace postern::route

#include "words.h"

#include <cstring>

#include <fmt/format.h>

#include "parsed.h"

namespace postern::route {

namespace {

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

bool begins_comment(std::string_view line, std::size_t at) {
    if (line[at] == ';') {
        return true;
    }
    return line[at] == '#' &&
           (at + 1 == line.size() || is_blank(line[at + 1]) || line[at + 1] == '#');
}

/// Octets that may end a word or change how it is read.
constexpr auto is_special = [] {
    std::array<bool, 256> table{};
    for (char c : {' ', '\t', '"', '\\', ';', '#'}) {
        table[static_cast<unsigned char>(c)] = true;
    }
    return table;
}();

/// Octets of the character at `at` as RFC 3629 allows it; 0: none.
std::size_t utf8_character(std::string_view text, std::size_t at) {
    auto octet = [&](std::size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    auto continues = [&](std::size_t i) { return (octet(i) & 0xc0) == 0x80; };
    unsigned lead = octet(0);
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return continues(1) ? 2 : 0;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        bool overlong = lead == 0xe0 && octet(1) < 0xa0;
        bool surrogate = lead == 0xed && octet(1) > 0x9f;
        return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        bool overlong = lead == 0xf0 && octet(1) < 0x90;
        bool beyond = lead == 0xf4 && octet(1) > 0x8f;
        return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
    }
    return 0;
}

}  // namespace

Words split_words(std::string_view line) {
    Words words;
    std::size_t i = 0;
    for (;;) {
        while (i < line.size() && is_blank(line[i])) {
            ++i;
        }
        if (i == line.size() || begins_comment(line, i)) {
            return words;
        }
        Word word{static_cast<std::uint32_t>(i), 0, false};
        bool in_quotes = false;
        std::size_t quote = i;
        for (; i < line.size(); ++i) {
            char c = line[i];
            if (!is_special[static_cast<unsigned char>(c)]) {
                continue;
            }
            if (c == '"') {
                in_quotes = !in_quotes;
                word.quoted = true;
                quote = i;
            } else if (in_quotes) {
                if (c == '\\') {
                    if (i + 1 == line.size() || (line[i + 1] != '"' && line[i + 1] != '\\')) {
                        words.fault = "inside quotes a backslash stands before '\"' or '\\' only";
                        words.fault_at = static_cast<std::uint32_t>(i);
                        return words;
                    }
                    ++i;
                }
            } else if (is_blank(c) || ((c == ';' || c == '#') && begins_comment(line, i))) {
                break;
            }
        }
        if (in_quotes) {
            words.fault = "a quote is not closed; a value with blanks stands in double quotes";
            words.fault_at = static_cast<std::uint32_t>(quote);
            return words;
        }
        word.end = static_cast<std::uint32_t>(i);
        if (words.count == Words::count_max) {
            words.fault = "too many words";
            words.fault_at = word.begin;
            return words;
        }
        words.words[words.count++] = word;
    }
}

std::string_view word_text(std::string_view line, const Word& word, std::string& memory) {
    std::string_view text = line.substr(word.begin, word.end - word.begin);
    if (!word.quoted) {
        return text;
    }
    memory.clear();
    bool in_quotes = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '"') {
            in_quotes = !in_quotes;
        } else {
            i += in_quotes && text[i] == '\\' ? 1 : 0;
            memory += text[i];
        }
    }
    return memory;
}

const char* text_fault(std::string_view line, std::size_t& at) {
    // Eight octets at a time for what nearly all lines are: printable ASCII.
    std::size_t i = 0;
    for (; i + 8 <= line.size(); i += 8) {
        std::uint64_t word;
        std::memcpy(&word, line.data() + i, 8);
        constexpr std::uint64_t ones = 0x0101010101010101;
        std::uint64_t del = word ^ 0x7f * ones;
        if (((word | (word - 0x20 * ones) | (del - ones)) & 0x80 * ones) != 0) {
            break;
        }
    }
    while (i < line.size()) {
        auto c = static_cast<unsigned char>(line[i]);
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            at = i;
            return "a control character; allowed: UTF-8 text";
        }
        std::size_t size = utf8_character(line, i);
        if (size == 0) {
            at = i;
            return "octets that are not UTF-8; allowed: UTF-8 text";
        }
        i += size;
    }
    return nullptr;
}

LineReader::LineReader(std::string_view text) : text_(text) {
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    next_ = text.starts_with(byte_order_mark) ? byte_order_mark.size() : 0;
}

bool LineReader::next() {
    while (next_ < text_.size()) {
        begin_ = next_;
        line_ = line_at(text_, begin_);
        ++number_;
        const std::size_t end = text_.find('\n', begin_);
        next_ = end == std::string_view::npos ? end : end + 1;
        look();
        if (words_.count > 0 || !fault_.empty()) {
            return true;
        }
    }
    if (next_ != std::string_view::npos) {
        return false;
    }
    next_ = text_.size();  // the last line was no whole one: that is told behind it
    words_ = {};
    fault_ = "the file does not end in a newline, so it may be cut short; allowed: whole lines";
    fault_at_ = line_.size();
    return true;
}

void LineReader::look() {
    constexpr std::size_t line_octets_max = 4096;
    words_.count = 0;
    fault_.clear();
    if (line_.size() > line_octets_max) {
        fault_ = fmt::format("the line has {} octets; allowed: {}", line_.size(), line_octets_max);
        fault_at_ = line_octets_max;
        return;
    }
    if (const char* fault = text_fault(line_, fault_at_)) {
        fault_ = fault;
        return;
    }
    words_ = split_words(line_);
    if (words_.fault != nullptr) {
        fault_ = words_.fault;
        fault_at_ = words_.fault_at;
    }
}

}  // namespace postern::route

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

/// The character classes of RFC 5321 and RFC 6531, and comparison without regard to ASCII case.
/// Pure, no locale.
namespace postern::smtp {

constexpr char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

constexpr bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

constexpr bool is_alphanumeric(char c) {
    return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'z');
}

constexpr bool is_ascii(char c) {
    return static_cast<signed char>(c) >= 0;
}

/// All of it. Eight octets at a time: bodies' headers are looked at.
inline bool is_ascii(std::string_view text) {
    constexpr std::uint64_t high_bits = 0x8080808080808080;
    std::uint64_t seen = 0;
    for (; text.size() >= sizeof seen; text.remove_prefix(sizeof seen)) {
        std::uint64_t octets = 0;
        std::memcpy(&octets, text.data(), sizeof octets);
        seen |= octets;
    }
    for (const char c : text) {
        seen |= static_cast<unsigned char>(c);
    }
    return (seen & high_bits) == 0;
}

/// Is there a CR, LF or NUL in it, which no command may hold? As above: nearly always there is
/// none.
inline bool could_end_line(std::string_view text) {
    constexpr std::uint64_t each = 0x0101010101010101;
    constexpr std::uint64_t high_bits = 0x80 * each;
    // Not 0 where one of the octets is.
    const auto zeros = [](std::uint64_t octets) { return (octets - each) & ~octets & high_bits; };
    std::uint64_t found = 0;
    for (; text.size() >= sizeof found; text.remove_prefix(sizeof found)) {
        std::uint64_t octets = 0;
        std::memcpy(&octets, text.data(), sizeof octets);
        found |= zeros(octets) | zeros(octets ^ ('\r' * each)) | zeros(octets ^ ('\n' * each));
    }
    bool ends = found != 0;
    for (const char c : text) {
        ends |= c == '\r' || c == '\n' || c == '\0';
    }
    return ends;
}

/// Where the first CRLF begins; npos: there is none.
inline std::size_t find_crlf(std::string_view text) {
    std::size_t from = 0;
    while (from < text.size()) {
        const void* const found = std::memchr(text.data() + from, '\n', text.size() - from);
        if (found == nullptr) {
            break;
        }
        const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
        if (at > 0 && text[at - 1] == '\r') {
            return at - 1;
        }
        from = at + 1;
    }
    return std::string_view::npos;
}

/// VCHAR of RFC 5234: ASCII that prints, without the blank.
constexpr bool is_visible(char c) {
    return c > ' ' && c < 0x7f;
}

/// atext of RFC 5322, section 3.2.3: what is visible and none of the specials.
constexpr bool is_atext(char c) {
    switch (c) {
        case '"':
        case '(':
        case ')':
        case ',':
        case '.':
        case ':':
        case ';':
        case '<':
        case '>':
        case '@':
        case '[':
        case '\\':
        case ']':
            return false;
        default:
            return is_visible(c);
    }
}

constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (to_lower(a[i]) != to_lower(b[i])) {
            return false;
        }
    }
    return true;
}

/// Octets of the UTF8-non-ascii character (RFC 3629: shortest form, no surrogates) that `text`
/// begins with; 0: it begins with something else.
constexpr std::size_t utf8_non_ascii(std::string_view text) {
    const auto octet = [&](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto is_tail = [&](std::size_t i) { return (octet(i) & 0xc0U) == 0x80U; };
    const unsigned first = octet(0);
    const unsigned second = octet(1);
    if (first >= 0xc2 && first <= 0xdf) {
        return is_tail(1) ? 2 : 0;
    }
    if (first >= 0xe0 && first <= 0xef) {
        const bool short_form = first == 0xe0 && second < 0xa0;
        const bool surrogate = first == 0xed && second > 0x9f;
        return is_tail(1) && is_tail(2) && !short_form && !surrogate ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const bool short_form = first == 0xf0 && second < 0x90;
        const bool past_unicode = first == 0xf4 && second > 0x8f;
        return is_tail(1) && is_tail(2) && is_tail(3) && !short_form && !past_unicode ? 4 : 0;
    }
    return 0;
}

}  // namespace postern::smtp

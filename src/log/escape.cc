#include "escape.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace postern::log {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

/// Octets of the well-formed UTF-8 character that `value` begins with (Unicode, table 3-7); 0:
/// none.
std::size_t utf8_size(std::string_view value) {
    const auto octet = [value](std::size_t i) { return static_cast<unsigned char>(value[i]); };
    const unsigned first = octet(0);
    if (first < 0x80) {
        return 1;
    }
    const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || value.size() < size) {
        return 0;
    }
    // The second octet's range keeps out overlong forms, surrogates and what lies past U+10FFFF.
    const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (octet(1) < low || octet(1) > high) {
        return 0;
    }
    for (std::size_t i = 2; i < size; ++i) {
        if ((octet(i) & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/// The escape of an octet: `prefix` and two hexadecimal digits.
template <std::size_t N>
std::string_view hex_escape(std::array<char, N>& into, std::string_view prefix, unsigned octet) {
    std::memcpy(into.data(), prefix.data(), prefix.size());
    into[prefix.size()] = hex_digits[octet >> 4];
    into[prefix.size() + 1] = hex_digits[octet & 15];
    return {into.data(), prefix.size() + 2};
}

/// Octets that stand for themselves in a JSON string: printable ASCII without '"' and '\\'.
constexpr auto is_plain = [] {
    std::array<bool, 256> plain{};
    for (unsigned octet = 0x20; octet < 0x7f; ++octet) {
        plain[octet] = octet != '"' && octet != '\\';
    }
    return plain;
}();

/// Does each of eight octets stand for itself? High bits tell, by a sum without carries from octet
/// to octet (Mycroft's test, made exact): of those below 0x20 or over 0x7e, and of those equal to
/// what is looked for.
bool are_plain(std::uint64_t octets) {
    constexpr std::uint64_t each = 0x0101010101010101;
    constexpr std::uint64_t high = 0x80 * each;
    constexpr std::uint64_t low = 0x7f * each;
    const std::uint64_t seven = octets & low;
    const auto none_is = [&](char c) {
        return (seven ^ static_cast<unsigned char>(c) * each) + low;
    };
    const std::uint64_t fine =
        (seven + (0x80 - 0x20) * each) & none_is('"') & none_is('\\') & none_is('\x7f') & ~octets;
    return (fine & high) == high;
}

/// How many of them `value` begins with.
std::size_t plain_size(std::string_view value) {
    std::size_t size = 0;
    for (std::uint64_t octets = 0; value.size() - size >= sizeof octets; size += sizeof octets) {
        std::memcpy(&octets, value.data() + size, sizeof octets);
        if (!are_plain(octets)) {
            break;
        }
    }
    while (size < value.size() && is_plain[static_cast<unsigned char>(value[size])]) {
        ++size;
    }
    return size;
}

}  // namespace

Escaped escape_json(std::string_view value, char* out, std::size_t room) {
    std::size_t used = 0;
    while (!value.empty()) {
        // Nearly all of nearly every text stands for itself.
        const std::string_view as_it_is = value.substr(0, plain_size(value));
        if (!as_it_is.empty()) {
            const std::size_t size = std::min(as_it_is.size(), room - used);
            std::memcpy(out + used, as_it_is.data(), size);
            used += size;
            value.remove_prefix(size);
            if (size < as_it_is.size()) {
                return {used, false};
            }
            continue;
        }
        std::size_t taken = utf8_size(value);
        std::array<char, 6> escape;
        const auto octet = static_cast<unsigned char>(value[0]);
        std::string_view bytes = value.substr(0, taken);
        if (taken == 0) {
            taken = 1;
            bytes = replacement;
        } else if (octet == '"' || octet == '\\') {
            escape = {'\\', static_cast<char>(octet)};
            bytes = {escape.data(), 2};
        } else if (octet < 0x20 || octet == 0x7f) {
            bytes = hex_escape(escape, "\\u00", octet);
        } else if (octet == 0xc2 && static_cast<unsigned char>(value[1]) < 0xa0) {
            // C1 controls steer terminals as much as C0 ones do.
            bytes = hex_escape(escape, "\\u00", static_cast<unsigned char>(value[1]));
        }
        if (bytes.size() > room - used) {
            return {used, false};
        }
        std::memcpy(out + used, bytes.data(), bytes.size());
        used += bytes.size();
        value.remove_prefix(taken);
    }
    return {used, true};
}

Escaped escape_text(std::string_view value, char* out, std::size_t room) {
    std::size_t used = 0;
    for (const char c : value) {
        const auto octet = static_cast<unsigned char>(c);
        const bool plain =
            octet > ' ' && octet < 0x7f && c != '"' && c != '\'' && c != '\\' && c != ',';
        std::array<char, 4> escape;
        const std::string_view bytes =
            plain ? std::string_view(&c, 1) : hex_escape(escape, "\\x", octet);
        if (bytes.size() > room - used) {
            return {used, false};
        }
        std::memcpy(out + used, bytes.data(), bytes.size());
        used += bytes.size();
    }
    return {used, true};
}

}  // namespace postern::log

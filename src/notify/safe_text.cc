#include "safe_text.h"

#include <algorithm>

#include "postern/smtp/characters.h"

namespace postern::notify {
namespace {

constexpr std::string_view crlf = "\r\n";

/// Controls of Unicode and what readers take for the end of a line: U+0080 to U+009F, U+2028,
/// U+2029; and what changes the direction of the text around it: U+202A to U+202E, U+2066 to
/// U+2069.
bool steers(std::string_view character) {
    const auto octet = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
    if (character.size() == 2) {
        return octet(0) == 0xc2 && octet(1) < 0xa0;
    }
    if (character.size() != 3 || octet(0) != 0xe2) {
        return false;
    }
    return (octet(1) == 0x80 && octet(2) >= 0xa8 && octet(2) <= 0xae) ||
           (octet(1) == 0x81 && octet(2) >= 0xa6 && octet(2) <= 0xa9);
}

std::string safe_line(
    std::string_view text, std::size_t octets_max, Characters characters, bool tabs) {
    std::string line;
    line.reserve(std::min(text.size(), octets_max));
    while (!text.empty()) {
        const std::size_t size = std::max<std::size_t>(smtp::utf8_non_ascii(text), 1);
        const std::string_view character = text.substr(0, size);
        const bool good = size == 1 ? (character[0] >= ' ' && character[0] <= '~') ||
                                          (tabs && character[0] == '\t')
                                    : characters == Characters::utf8 && !steers(character);
        const std::string_view put = good ? character : "?";
        if (line.size() + put.size() > octets_max) {
            break;
        }
        line += put;
        // Where UTF-8 may not be, each of its octets is one that is not good.
        text.remove_prefix(good || characters == Characters::utf8 ? size : 1);
    }
    return line;
}

}  // namespace

std::string safe(std::string_view text, std::size_t octets_max, Characters characters) {
    return safe_line(text, octets_max, characters, false);
}

std::string safe_header(std::string_view content, Characters characters) {
    std::string header;
    while (!content.empty() && !content.starts_with(crlf)) {
        const std::size_t end = content.find(crlf);
        if (end == std::string_view::npos && !header.empty()) {
            break;  // its end was not given
        }
        const std::string_view line = content.substr(0, end);
        header += safe_line(line, line_octets_max, characters, true);
        header += crlf;
        content.remove_prefix(std::min(line.size() + crlf.size(), content.size()));
    }
    return header;
}

bool is_plain(std::string_view content) {
    std::size_t line = 0;
    for (std::size_t i = 0; i < content.size(); ++i) {
        const char c = content[i];
        const bool ends = content.substr(i).starts_with(crlf);
        if (c == '\0' || (!ends && (c == '\r' || c == '\n')) ||
            (!ends && ++line > line_octets_max)) {
            return false;
        }
        if (ends) {
            line = 0;
            ++i;
        }
    }
    return true;
}

}  // namespace postern::notify

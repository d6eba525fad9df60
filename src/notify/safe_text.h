#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// What peers have said, as it may stand in a line of ours.
namespace postern::notify {

/// RFC 5322, section 2.1.1, without the CRLF.
constexpr std::size_t line_octets_max = 998;

enum class Characters : bool { ascii, utf8 };

/// At most `octets_max` octets of `text` on one line: printable ASCII, and well-formed UTF-8 where
/// that may be; each other octet, and each character that ends a line or steers a terminal, as '?'.
std::string safe(std::string_view text, std::size_t octets_max, Characters characters);

/// The header that `content` begins with, as far as there is one, each line made safe; TABs stay.
std::string safe_header(std::string_view content, Characters characters);

/// May `content` be given back as it is: lines end in CRLF, none is too long, and no NUL?
bool is_plain(std::string_view content);

}  // namespace postern::notify

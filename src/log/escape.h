#pragma once

#include <cstddef>
#include <string_view>

/// Bytes of peers made harmless. Pure. Each appends as much of `value` as fits `room` octets, whole
/// characters only, at `out`, and returns how many octets that took; `whole` says if all of it
/// fitted.
namespace postern::log {

struct Escaped {
    std::size_t size;
    bool whole;
};

/// Content of a JSON string (RFC 8259, 7): valid UTF-8 as it is, what is none as U+FFFD, control
/// characters as \u00HH.
Escaped escape_json(std::string_view value, char* out, std::size_t room);

/// Printable ASCII as it is, but \xHH for blanks, quotes, backslashes, commas (they separate list
/// items) and all else.
Escaped escape_text(std::string_view value, char* out, std::size_t room);

}  // namespace postern::log

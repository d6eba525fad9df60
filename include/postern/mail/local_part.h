#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

/// What stands before the "@", as a value: RFC 5321, 4.1.2 allows a dot-string or a quoted string,
/// and says that both forms of one text name one mailbox. Pure; allocates nothing.
namespace postern::mail {

inline constexpr std::size_t local_part_octets_max = 64;  // RFC 5321, 4.5.3.1.1

/// The form in which local parts are compared: unquoted, ASCII letters in lower case.
struct LocalPartKey {
    std::array<char, local_part_octets_max + 1> octets;
    std::uint8_t size = 0;

    std::string_view view() const { return {octets.data(), size}; }
};

/// `local_part` as written, quotes included. False: longer than 64 octets once unquoted, so no rule
/// can name it; the key is its first 65 then, in which a delimiter may end what a rule can name.
[[nodiscard]] bool make_local_part_key(std::string_view local_part, LocalPartKey& key);

/// What stands in front of the first of `delimiters`; empty: nothing does, or there is none.
std::string_view before_delimiter(std::string_view local_part, std::string_view delimiters);

/// Whether a host behind us might take the local part for a route of its own: once unquoted it
/// holds one of "@ % ! :" or begins with "/" or "|" (product.md, section 1).
bool is_routed_local_part(std::string_view local_part);

}  // namespace postern::mail

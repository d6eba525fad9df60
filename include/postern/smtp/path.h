#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

/// Paths of MAIL and RCPT (RFC 5321, section 4.1.2, with RFC 6531's characters). Pure; results are
/// views into the caller's bytes.
namespace postern::smtp {

/// RFC 5321, section 4.5.3.1.1 asks for 64 at least; addresses made by programs (VERP, SRS) are
/// often longer.
constexpr std::size_t local_part_size_max = 256;
/// What the DNS can carry, in octets of the ASCII form.
constexpr std::size_t domain_size_max = 253;
constexpr std::size_t label_size_max = 63;
/// A domain in UTF-8 may be longer than its ASCII form, which is what counts and is known only
/// after conversion.
constexpr std::size_t utf8_domain_size_max = 512;

struct Path {
    std::string_view
        address;  // source route, brackets and one trailing dot dropped; empty: the null path
    std::string_view local_part;  // view into `address`, quotes included
    std::string_view
        domain;  // view into `address`; brackets of a literal included; empty for <postmaster>
    bool non_ascii = false;  // needs SMTPUTF8
};

enum class PathError : std::uint8_t {
    none,
    syntax,    // not a path
    too_long,  // a local part past local_part_size_max
    domain,    // a domain that the DNS cannot hold, or that is none
};

enum class PathKind : std::uint8_t {
    reverse,  // of MAIL: "<>" is allowed
    forward,  // of RCPT: "<postmaster>" is allowed
};

/// Reads the path that `text` begins with. Returns the octets it takes; 0 with `error` set when
/// there is none.
std::size_t parse_path(std::string_view text, PathKind kind, Path& path, PathError& error);

/// Is `text` a domain (letters, digits, hyphens, underscores and UTF-8, by labels)? A trailing dot
/// is not.
PathError check_domain(std::string_view text);

/// Is `text` an address literal, brackets included: "[192.0.2.1]", "[IPv6:2001:db8::1]",
/// "[tag:content]"?
bool is_address_literal(std::string_view text);

}  // namespace postern::smtp

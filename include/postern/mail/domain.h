#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

/// The form of a recipient's domain that routing compares: one for all ways of writing the same
/// domain. Pure; values only.
namespace postern::mail {

inline constexpr std::size_t domain_octets_max =
    253;  // RFC 1035, 2.3.4, as text without the final dot
inline constexpr std::size_t label_octets_max = 63;

/// A domain in lower-case A-labels without a final dot ("www.example.com"), or an address literal
/// in its canonical form
/// ("[192.0.2.7]", "[ipv6:2001:db8::7]").
struct DomainKey {
    std::array<char, domain_octets_max> octets;
    std::uint8_t size = 0;
    std::uint8_t label_count = 0;  // 0: an address literal

    std::string_view view() const { return {octets.data(), size}; }

    bool is_literal() const { return label_count == 0; }
};

/// Why a text is no domain.
struct DomainFault {
    const char* what = nullptr;  // "a label is longer than 63 octets"
    std::size_t at = 0;          // octet of the text at which it shows
};

/// Normalises a domain as RCPT or a rule writes it, brackets of a literal included: ASCII case, one
/// trailing dot, U-labels, the spellings of an address. False: the domain is impossible (RCPT:
/// 553 5.1.3), and `fault`, if given, says why. Allocates nothing, unless the domain is not ASCII:
/// libidn2 does.
[[nodiscard]] bool make_domain_key(
    std::string_view domain, DomainKey& key, DomainFault* fault = nullptr);

/// "192.0.2.7", as an address literal may have it: leading zeros are allowed (RFC 5321, 4.1.3).
[[nodiscard]] bool is_v4_address(std::string_view text);

}  // namespace postern::mail

#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/network.h"

/// What a DNS message answers to one question. Pure: octets in, a value out.
namespace postern::names {

enum class RecordType : std::uint16_t { a = 1, mx = 15, aaaa = 28 };

const char* name_of(RecordType type);

struct Exchange {
    std::uint16_t preference = 0;
    std::string host;  // lower case, no final dot; empty: the root (RFC 7505)

    auto operator<=>(const Exchange&) const = default;
};

struct Reply {
    enum class Kind : std::uint8_t { records, no_records, no_such_name, failed };

    Kind kind = Kind::failed;
    std::uint32_t ttl_s = 0;                 // the least of all records on the way there
    std::vector<base::IpAddress> addresses;  // of A or AAAA: ascending, each once
    std::vector<Exchange> exchanges;         // of MX: ascending, each once
    std::string why;                         // of failed

    bool operator==(const Reply&) const = default;
};

/// Of more records than these, the first in order are taken.
inline constexpr std::size_t addresses_max = 32;
inline constexpr std::size_t exchanges_max = 32;
/// How long a "no" that states no time is believed.
inline constexpr std::uint32_t no_ttl_s = 30;

/// `message`: as it came. An answer to another question, a referral, a truncated or malformed one
/// are `failed`. Records count only where the question's name, or its chain of aliases, leads.
/// Addresses that no host can have (unspecified, multicast) and exchanges that are no host's name
/// (an address in digits, octets that names do not have) are left out.
Reply parse_reply(std::string_view message, std::string_view name, RecordType type);

/// As Reply::addresses are: ascending, each once, at most `addresses_max`.
void put_in_order(std::vector<base::IpAddress>& addresses);

}  // namespace postern::names

#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "postern/base/time.h"

namespace postern::smtp {

/// What our Received: line says (RFC 5321, section 4.4).
struct ReceivedFields {
    std::string_view helo;
    std::string_view client_name;     // empty: unknown
    std::string_view client_address;  // "192.0.2.1", "2001:db8::1" or "unknown"
    std::string_view hostname;
    std::string_view protocol;  // "ESMTP", "SMTP" or "UTF8SMTP"
    std::string_view id;
    std::string_view recipient;  // the only one's address; empty: there are several
    base::WallTime time;
};

constexpr std::size_t received_octets_max = 2048;

/// Writes the line with its CRLF; folded only where it would be longer than a line may be. Returns
/// the octets written. REQUIRES: into.size() >= received_octets_max.
std::size_t write_received(const ReceivedFields& fields, std::span<char> into);

}  // namespace postern::smtp

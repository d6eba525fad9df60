#pragma once

#include <cstddef>
#include <span>

#include "postern/base/time.h"

namespace postern::mail {

/// "Sun, 22 Nov 2026 09:05:03 +0000", of the years with four digits.
constexpr std::size_t date_octets = 31;

/// Writes a date as a header says it (RFC 5322, section 3.3), in UTC. Returns date_octets.
/// REQUIRES: into.size() >= date_octets. Pure.
std::size_t write_date(base::WallTime time, std::span<char> into);

}  // namespace postern::mail

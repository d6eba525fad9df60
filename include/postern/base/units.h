#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "postern/base/time.h"

/// Text with a unit, as configuration and command lines write it (product.md, section 2). Pure.
namespace postern::base {

/// "500 ms", "20 s", "5 min", "1 h", "5 days" ("1 day"); the blank may be left out. Whole numbers
/// only. nullopt: not a duration, or one past 100 years.
std::optional<Duration> parse_duration(std::string_view text);

/// "100 B", "64 KiB", "50 MiB", "1 GiB"; the blank may be left out. nullopt: not a size, or past
/// 2^62 octets.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// The shortest exact form, in the units above: "20 s", "1 h".
std::string format_duration(Duration duration);
std::string format_size(std::uint64_t octets);

}  // namespace postern::base

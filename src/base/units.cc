#include "postern/base/units.h"

#include <array>
#include <charconv>

namespace postern::base {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::uint64_t ms = 1'000'000;
// Largest first: format() takes the first unit that divides the value.
constexpr std::array<Unit, 6> duration_units{{
    {"days", 86'400'000 * ms},
    {"day", 86'400'000 * ms},
    {"h", 3'600'000 * ms},
    {"min", 60'000 * ms},
    {"s", 1'000 * ms},
    {"ms", ms},
}};
constexpr std::array<Unit, 4> size_units{{
    {"GiB", 1ULL << 30},
    {"MiB", 1ULL << 20},
    {"KiB", 1ULL << 10},
    {"B", 1},
}};

constexpr std::uint64_t duration_max = 100ULL * 365 * 86'400'000 * ms;
constexpr std::uint64_t size_max = 1ULL << 62;

template <std::size_t N>
std::optional<std::uint64_t> parse(
    std::string_view text, const std::array<Unit, N>& units, std::uint64_t max) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    if (unit.starts_with(' ')) {
        unit.remove_prefix(1);
    }
    for (const Unit& candidate : units) {
        if (candidate.name == unit) {
            if (number > max / candidate.factor) {
                return std::nullopt;
            }
            return number * candidate.factor;
        }
    }
    return std::nullopt;
}

template <std::size_t N>
std::string format(std::uint64_t value, const std::array<Unit, N>& units) {
    for (const Unit& unit : units) {
        if (value >= unit.factor && value % unit.factor == 0) {
            const std::uint64_t number = value / unit.factor;
            if (unit.name == "days" && number == 1) {
                continue;
            }
            return std::to_string(number) + " " + std::string(unit.name);
        }
    }
    return std::to_string(value / units.back().factor) + " " + std::string(units.back().name);
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
    const auto ns = parse(text, duration_units, duration_max);
    if (!ns) {
        return std::nullopt;
    }
    return Duration(static_cast<std::int64_t>(*ns));
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    return parse(text, size_units, size_max);
}

std::string format_duration(Duration duration) {
    return format(static_cast<std::uint64_t>(duration.count()), duration_units);
}

std::string format_size(std::uint64_t octets) {
    return format(octets, size_units);
}

}  // namespace postern::base

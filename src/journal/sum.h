#pragma once

#define XXH_STATIC_LINKING_ONLY  // the state is held by value
#include <xxhash.h>

#include <cstdint>
#include <string_view>

/// The one sum of the format: XXH3, 64 bits.
namespace postern::journal {

inline std::uint64_t sum_of(std::string_view octets, std::uint64_t seed = 0) {
    return XXH3_64bits_withSeed(octets.data(), octets.size(), seed);
}

}  // namespace postern::journal

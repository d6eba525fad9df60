#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

/// For passwords and tokens. Pure.
namespace postern::base {

/// Overwrites octets that nobody looks at again, which a compiler would else leave out.
inline void wipe(std::span<char> octets) {
    if (!octets.empty()) {  // what is empty may be nowhere
        explicit_bzero(octets.data(), octets.size());
    }
}

/// Takes the same time wherever two texts of one length differ.
inline bool equal_in_constant_time(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) {
        return false;
    }
    volatile unsigned char difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
    }
    return difference == 0;
}

}  // namespace postern::base

#pragma once

#include <cstdint>
#include <string_view>

/// SipHash-1-3 (Aumasson, Bernstein): a keyed hash for tables into which the network inserts. Who
/// does not know the key can choose neither collisions nor buckets. Pure.
namespace postern::base {

/// Random, drawn once by process, never shown.
struct HashKey {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
};

struct Hash128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const Hash128&) const = default;
};

std::uint64_t siphash(const HashKey& key, std::string_view bytes);

/// Wide enough to stand for what was hashed: two texts of one process never meet.
Hash128 siphash128(const HashKey& key, std::string_view bytes);

}  // namespace postern::base

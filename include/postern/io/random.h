#pragma once

#include <bit>
#include <cstdint>

namespace postern::io {

/// A small fast generator (xoshiro256++, seeded through splitmix64): for jitter, choices and
/// identities, not for secrets. Pure.
class Random {
   public:
    explicit Random(std::uint64_t seed) {
        for (std::uint64_t& word : state_) {
            seed += 0x9e3779b97f4a7c15;
            std::uint64_t mixed = seed;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
            word = mixed ^ (mixed >> 31);
        }
    }

    std::uint64_t next() {
        const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    /// From 0 to bound - 1. REQUIRES: bound > 0.
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }

    /// True `part` times in `whole`.
    bool chance(std::uint64_t part, std::uint64_t whole) { return below(whole) < part; }

   private:
    std::uint64_t state_[4];
};

}  // namespace postern::io

#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "postern/base/time.h"

namespace postern::shard {

/// Makes the IDs that Received:, log and answers show: unique over workers, restarts and hosts. One
/// worker's; pure: time and chance are handed in. 7 characters of seconds, 8 of a nonce (40 random
/// bits by worker and start), and 4 of a count in that second, more past a million; base 32 in the
/// order of ASCII, so that IDs sort by time, and the spool's index, in which a longer one comes
/// later, does not have new mail before what an earlier process kept. Two messages would need the
/// same second, the same nonce and the same count.
class MessageIds {
   public:
    static constexpr std::size_t size_max = 7 + 8 + 13;

    explicit MessageIds(std::uint64_t nonce) : nonce_(nonce) {}

    /// Writes the next ID into `into`; returns its length.
    std::uint8_t next(base::WallTime now, std::array<char, 32>& into);

   private:
    std::uint64_t nonce_;
    std::uint64_t second_ = 0;
    std::uint64_t count_ = 0;
};

}  // namespace postern::shard

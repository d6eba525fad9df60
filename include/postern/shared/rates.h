#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "postern/base/time.h"
#include "postern/shared/spinlock.h"

/// What each client has done in the last minute, over all workers: for the rates in [limits], of
/// which each is off by default; a table that is not asked is not touched. Any thread.
namespace postern::shared {

/// Counts of a sliding minute, several kinds for each client. A minute begins with a client's first
/// deed and the next one where it ends; of the one before it counts the part that the last sixty
/// seconds still hold, taken as if its deeds were spread evenly. So a client that comes anew has
/// exactly its bound in its first minute, one that goes on without end gets its bound a minute, and
/// no sixty seconds ever hold twice as many. What was not admitted is not counted.
///
/// A fixed table: eight places for a key, and a new client gets that of the least active of the
/// eight. So a flood of new clients takes each other's places, who is busy (admitted or not) keeps
/// his, and nobody is refused for lack of a place: who lost his has an empty count. Keys come from
/// client_key: nobody can aim at another's places.
class RateTable {
   public:
    enum class Kind : std::uint8_t { connections, messages, recipients, refused, octets };
    static constexpr std::size_t kinds = 5;

    /// Room for `clients_max` clients, rounded up to a power of two.
    explicit RateTable(std::size_t clients_max);
    RateTable(const RateTable&) = delete;
    RateTable& operator=(const RateTable&) = delete;

    /// Adds `amount`, if the client then has at most `bound` of that kind in a minute.
    [[nodiscard]] bool add(
        std::uint64_t key, Kind kind, std::uint64_t amount, std::uint64_t bound, base::Instant now);
    /// Would `add` find room? Adds nothing; who asks in vain is active all the same.
    [[nodiscard]] bool would_fit(
        std::uint64_t key, Kind kind, std::uint64_t amount, std::uint64_t bound, base::Instant now);

    /// Octets of places that were ever taken.
    std::uint64_t held_octets() const {
        return taken_.load(std::memory_order_relaxed) * sizeof(Entry);
    }

    /// Octets of memory that a table may come to hold; mapped as it is used.
    static std::size_t memory(std::size_t clients_max);

   private:
    static constexpr std::size_t ways = 8;
    static constexpr std::size_t locks_count = 256;

    struct Entry {
        std::uint64_t key;  // 0: never taken
        std::uint32_t began_s;
        std::uint32_t activity;  // halved each minute
        std::array<std::uint64_t, kinds> counts;
        std::array<std::uint64_t, kinds> before;  // of the minute before

        void roll(std::uint32_t now_s);
        std::uint64_t worth(std::uint32_t now_s) const;
        bool fits(Kind kind, std::uint64_t amount, std::uint64_t bound, std::uint32_t now_s) const;
    };

    struct alignas(64) Lock {
        Spinlock lock;
    };

    struct Free {
        void operator()(Entry* entries) const;
    };

    Entry& find(std::uint64_t key, std::uint32_t now_s);

    std::size_t set_of(std::uint64_t key) const { return (key >> 32) & (sets_ - 1); }

    Spinlock& lock_of(std::uint64_t key) { return locks_[set_of(key) % locks_count].lock; }

    const std::size_t sets_;  // a power of two
    std::unique_ptr<Entry[], Free> entries_;
    std::array<Lock, locks_count> locks_;
    alignas(64) std::atomic<std::uint64_t> taken_{0};
};

}  // namespace postern::shared

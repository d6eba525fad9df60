#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "postern/base/network.h"
#include "postern/base/siphash.h"
#include "postern/shared/spinlock.h"

/// Counts that all workers share: written when a connection or a state changes, never for each
/// message. Any thread.
namespace postern::shared {

/// Who counts as one client: an IPv4 address or an IPv6 /64. Never 0.
std::uint64_t client_key(const base::HashKey& key, const base::IpAddress& address);

/// Who counts as one client network: an IPv4 /24 or an IPv6 /64. Never 0.
std::uint64_t network_key(const base::HashKey& key, const base::IpAddress& address);

/// One number with a bound: connections of a listener, of the process.
class Gauge {
   public:
    /// Adds one, unless there are `bound` already.
    [[nodiscard]] bool add(std::uint32_t bound);
    /// REQUIRES: one was added.
    void remove();

    std::uint32_t value() const { return value_.load(std::memory_order_relaxed); }

   private:
    alignas(64) std::atomic<std::uint32_t> value_{0};
};

/// A number for each key, in a fixed table. A key has an entry only while its number is over 0, so
/// the table holds no more of them than there are things counted, and nobody can fill it with what
/// is gone. It has room for `keys_max`; should it be full all the same, a new key is refused like
/// one at its bound: the safe side, for what is bounded here. Keys come from client_key and
/// network_key: their 64 keyed bits are taken for the identity (a collision within the hundred
/// thousand that may be present at a time has a chance of one in four thousand million, and can not
/// be aimed at).
class CountTable {
   public:
    explicit CountTable(std::size_t keys_max);
    CountTable(const CountTable&) = delete;
    CountTable& operator=(const CountTable&) = delete;

    /// Adds `amount`, if the key's number then is at most `bound`. REQUIRES: key and amount not 0.
    [[nodiscard]] bool add(std::uint64_t key, std::uint64_t amount, std::uint64_t bound);
    /// REQUIRES: as much was added.
    void remove(std::uint64_t key, std::uint64_t amount);
    /// The key's number.
    std::uint64_t value(std::uint64_t key) const;

    /// Octets of memory that a table for `keys_max` may come to hold; mapped as it is used.
    static std::size_t memory(std::size_t keys_max);

   private:
    struct Slot {
        std::uint64_t key;  // 0: empty
        std::uint64_t number;
    };

    // A part of the table with its own lock: open addressing with linear probing, no tombstones.
    struct alignas(64) Shard {
        mutable Spinlock lock;
        std::uint32_t keys = 0;
    };

    struct Shape {
        std::size_t shards;
        std::size_t slots;  // in each
    };

    struct Free {
        void operator()(Slot* slots) const;
    };

    static Shape shape(std::size_t keys_max);

    Shard& shard_of(std::uint64_t key) const { return shards_[(key >> 40) & (shape_.shards - 1)]; }

    Slot* slots_of(const Shard& shard) const;
    Slot& find(const Shard& shard, std::uint64_t key) const;
    void erase(const Shard& shard, Slot& slot);

    const Shape shape_;
    std::unique_ptr<Shard[]> shards_;
    std::unique_ptr<Slot[], Free> slots_;
};

}  // namespace postern::shared

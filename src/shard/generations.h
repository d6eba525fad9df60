#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "postern/relay/relay.h"
#include "postern/shard/resolved.h"
#include "postern/shard/snapshot.h"
#include "postern/shard/worker.h"

namespace postern::shard {

/// What one worker has of the snapshots: the one in force, under which transactions begin, and
/// those before it that transactions still look at; and the relay's pools that they stand for. The
/// worker's thread.
class Generations {
   public:
    /// Both outlive it.
    Generations(relay::Relay& relay, Control& control) : relay_(relay), control_(control) {}

    /// From now on transactions begin under `next`; what has begun goes on as it began. Pools with
    /// the same definition go on; those that are no more in use finish.
    void take(const Snapshot& next);
    /// What the pool's names stand for now. One that is not in force any more is left as it is.
    void set_hosts(std::uint64_t pool_identity, const PoolAddresses& addresses);

    /// REQUIRES: one was taken, here and below.
    const Snapshot& current() const { return *generations_.back().snapshot; }

    /// A transaction has begun under the one in force, and looks at it until `unpin`.
    void pin() { ++generations_.back().transactions; }

    /// REQUIRES: pinned.
    void unpin(std::uint64_t generation);

    struct Generation {
        const Snapshot* snapshot = nullptr;
        std::vector<std::uint32_t> pools;  // by target: its number in the relay, or route::none
        std::uint32_t transactions = 0;    // begun under it, and may still name recipients
    };

    /// Of the one in force, by target: their numbers in the relay, or route::none.
    const std::vector<std::uint32_t>& current_pools() const { return generations_.back().pools; }

    /// nullptr: it had to go, since too many have come behind it.
    const Generation* find(std::uint64_t generation) const;

    /// By its number in the relay.
    std::string_view pool_name(std::uint32_t number) const { return pool_names_[number]; }

   private:
    void take_pools(Generation& next);
    void retire(std::size_t index);

    relay::Relay& relay_;
    Control& control_;
    // The oldest first, the one in force last. Law: all but the last have transactions.
    std::vector<Generation> generations_;
    std::vector<std::string> pool_names_;  // by number in the relay
};

}  // namespace postern::shard

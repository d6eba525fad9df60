#pragma once

#include <cstdint>
#include <vector>

#include "postern/relay/relay.h"
#include "postern/shard/common.h"

namespace postern::shard {

/// Keeps one pool's trouble from taking what the others need: of a pool that is slow (its oldest
/// message is older than relay::Relay::slow_after) no more waits than as much again is free, of the
/// sessions as of the memory for bodies. So one that stands still keeps half of both at most, two a
/// third each, and whatever happens something is left for the next one. A pool that answers at its
/// pace is never asked, nor is any while less than half is in use. And what is on the disk already,
/// of whatever pool, leaves memory to what is not.
///
/// One worker's, and counted by it alone: with W workers that share the load it may pin a Wth of
/// what is free, so no message writes what another worker reads.
class PoolShares {
   public:
    PoolShares(const Common& common, const relay::Relay& relay)
        : common_(common), relay_(relay), workers_(common.metrics.workers()) {}

    /// May a transaction choose this pool? No: 451 4.4.5. `transactions`: this worker's, those too
    /// whose senders have gone and left them.
    bool may_choose(std::uint32_t pool, std::uint32_t transactions) const;
    /// May a message of it pin so many octets more? `pinned` already by itself; 0: it begins. No:
    /// 452 4.3.1, or to the disk first where there is one.
    bool may_pin(std::uint32_t pool, std::uint64_t octets, std::uint64_t pinned) const;

    void pinned(std::uint32_t pool, std::uint64_t octets);
    void let_go(std::uint32_t pool, std::uint64_t octets);

    /// May a message of so many octets be loaded from the disk, whosever it is? The slow pools are
    /// not known early enough for shares: all that wait could come at once. A quarter of the memory
    /// is left to new mail, which can not wait. No: another time.
    bool may_load(std::uint64_t octets) const;

    /// May a message that has come to the disk stay in memory until it was tried once? No pool can
    /// be told to be slow before some time has passed, and the sender has its answer and sends
    /// more: all that stay have half of what one client network may have, or new mail would be
    /// refused for want of memory though the disk takes it. A pool may have as much again as is
    /// left of that, so one that says nothing leaves half of it to the others. One message always
    /// may, however large. True: stay_over() comes behind it.
    bool stay(std::uint32_t pool, std::uint64_t octets);
    void stay_over(std::uint32_t pool, std::uint64_t octets);

   private:
    struct Octets {
        std::uint64_t pinned = 0;
        std::uint64_t staying = 0;
    };

    Octets& octets_of(std::uint32_t pool);

    const Common& common_;
    const relay::Relay& relay_;
    const std::uint32_t workers_;
    std::vector<Octets> octets_;  // by relay's number of the pool
    std::uint64_t staying_ = 0;   // of all of them
};

}  // namespace postern::shard

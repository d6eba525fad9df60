#include "pool_shares.h"

#include <algorithm>

#include "postern/base/assert.h"

namespace postern::shard {
namespace {

/// Of the sessions a slow pool may have one in so many even where none is free: a gateway of few
/// connections is in use all the time.
constexpr std::uint32_t parts_of_floor = 8;
/// A body that has begun may go on while its pool has not so many times what is free.
constexpr std::uint64_t growth_max = 3;
/// What comes from the disk leaves one of so many parts of the memory, and so does not reach what
/// begins to be short for new mail.
constexpr std::uint64_t parts_of_new_mail = 4;
/// What stays in memory for a first try has one of so many parts of it; a client network has two.
constexpr std::uint64_t parts_of_staying = 16;

std::uint64_t less(std::uint64_t a, std::uint64_t b) {
    return a > b ? a - b : 0;
}

}  // namespace

bool PoolShares::may_choose(std::uint32_t pool, std::uint32_t transactions) const {
    const std::uint64_t most = common_.connections_max;
    const std::uint64_t open = std::max<std::uint64_t>(
        common_.connections.value(), std::uint64_t{transactions} * workers_);
    if (open < most / 2 || !relay_.slow(pool)) {
        return true;
    }
    return std::uint64_t{relay_.held(pool)} * workers_ <
           std::max(less(most, open), most / parts_of_floor);
}

bool PoolShares::may_pin(std::uint32_t pool, std::uint64_t octets, std::uint64_t pinned) const {
    const std::uint64_t most = common_.bodies.bound();
    const std::uint64_t leased = common_.bodies.leased();
    const std::uint64_t all = pool < octets_.size() ? octets_[pool].pinned : 0;
    if (leased < most / 2 || all == pinned || !relay_.slow(pool)) {
        return true;  // the last but one: a single message is bounded by itself
    }
    const std::uint64_t free = less(most, leased);
    return (all + octets) * workers_ <= (pinned == 0 ? free : growth_max * free);
}

bool PoolShares::may_load(std::uint64_t octets) const {
    const std::uint64_t most = common_.bodies.bound();
    return common_.bodies.leased() + octets <= most - most / parts_of_new_mail;
}

bool PoolShares::stay(std::uint32_t pool, std::uint64_t octets) {
    Octets& its = octets_of(pool);
    const std::uint64_t free = less(common_.bodies.bound() / parts_of_staying, staying_ * workers_);
    if (staying_ > 0 && (its.staying + octets) * workers_ > free) {
        return false;
    }
    its.staying += octets;
    staying_ += octets;
    return true;
}

void PoolShares::stay_over(std::uint32_t pool, std::uint64_t octets) {
    Octets& its = octets_of(pool);
    POSTERN_ASSERT(its.staying >= octets, "what is over has begun");
    its.staying -= octets;
    staying_ -= octets;
}

void PoolShares::pinned(std::uint32_t pool, std::uint64_t octets) {
    octets_of(pool).pinned += octets;
}

void PoolShares::let_go(std::uint32_t pool, std::uint64_t octets) {
    Octets& its = octets_of(pool);
    POSTERN_ASSERT(its.pinned >= octets, "a pool lets go of what it has pinned");
    its.pinned -= octets;
}

PoolShares::Octets& PoolShares::octets_of(std::uint32_t pool) {
    if (pool >= octets_.size()) {
        octets_.resize(pool + 1);
    }
    return octets_[pool];
}

}  // namespace postern::shard

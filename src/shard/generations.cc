#include "generations.h"

#include <algorithm>
#include <unordered_map>

namespace postern::shard {

void Generations::take(const Snapshot& next) {
    // The transactions of those that must go keep the recipients they have, and may name no more.
    while (generations_.size() > 1 &&
           generations_.front().snapshot->generation < next.oldest_kept) {
        retire(0);
    }
    Generation fresh;
    fresh.snapshot = &next;
    take_pools(fresh);
    generations_.push_back(std::move(fresh));
    if (generations_.size() > 1 && generations_[generations_.size() - 2].transactions == 0) {
        retire(generations_.size() - 2);
    }
}

void Generations::take_pools(Generation& next) {
    std::unordered_map<std::uint64_t, std::uint32_t> known;
    if (!generations_.empty()) {
        const Generation& before = generations_.back();
        for (std::size_t i = 0; i < before.pools.size(); ++i) {
            if (before.pools[i] != route::none) {
                known.emplace(before.snapshot->pool_identities[i], before.pools[i]);
                relay_.hold(before.pools[i]);  // until `before` retires
            }
        }
    }
    for (std::size_t i = 0; i < next.snapshot->pools.size(); ++i) {
        const relay::PoolSettings& pool = next.snapshot->pools[i];
        if (pool.hosts.empty()) {  // a target that is no pool
            next.pools.push_back(route::none);
            continue;
        }
        if (const auto same = known.find(next.snapshot->pool_identities[i]); same != known.end()) {
            next.pools.push_back(same->second);
            known.erase(same);
            continue;
        }
        const std::uint32_t number = relay_.add_pool(pool, next.snapshot->pool_tls[i]);
        next.pools.push_back(number);
        pool_names_.resize(std::max<std::size_t>(pool_names_.size(), number + 1));
        pool_names_[number] = pool.name;
    }
    for (const auto& [identity, number] : known) {
        relay_.retire_pool(number);
    }
}

void Generations::set_hosts(std::uint64_t pool_identity, const PoolAddresses& addresses) {
    const std::vector<std::uint64_t>& identities = current().pool_identities;
    const auto found = std::find(identities.begin(), identities.end(), pool_identity);
    if (found != identities.end()) {
        const std::uint32_t pool =
            generations_.back().pools[static_cast<std::size_t>(found - identities.begin())];
        relay_.set_hosts(pool, addresses.hosts, addresses.absence);
    }
}

const Generations::Generation* Generations::find(std::uint64_t generation) const {
    const auto found =
        std::find_if(generations_.begin(), generations_.end(), [&](const Generation& each) {
            return each.snapshot->generation == generation;
        });
    return found == generations_.end() ? nullptr : &*found;
}

void Generations::unpin(std::uint64_t generation) {
    for (std::size_t i = 0; i < generations_.size(); ++i) {
        if (generations_[i].snapshot->generation == generation) {
            if (--generations_[i].transactions == 0 && i + 1 < generations_.size()) {
                retire(i);
            }
            return;
        }
    }
}

/// An old generation: the control thread may free it.
void Generations::retire(std::size_t index) {
    for (const std::uint32_t pool : generations_[index].pools) {
        if (pool != route::none) {
            relay_.let_go(pool);
        }
    }
    const Snapshot& snapshot = *generations_[index].snapshot;
    generations_.erase(generations_.begin() + static_cast<std::ptrdiff_t>(index));
    control_.done(snapshot);
}

}  // namespace postern::shard

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "postern/config/config.h"
#include "postern/relay/relay.h"
#include "postern/route/decide.h"
#include "postern/route/table.h"

namespace postern::shard {

/// Configuration, rules and pools of one generation: built and checked by the control thread, then
/// only read, by all workers.
struct Snapshot {
    std::uint64_t generation = 1;
    config::Config config;
    std::unique_ptr<const route::Table> table;
    std::vector<relay::PoolSettings>
        pools;  // what the table's targets stand for: index as in Table::targets()
    std::vector<route::RelaySettings> relaying;  // by listener
};

/// The pool that each of the table's targets stands for: the named one, or one of that single host.
/// Those that are no pool (reject, defer) get an empty one.
std::vector<relay::PoolSettings> pools_of(const config::Config& config, const route::Table& table);

}  // namespace postern::shard

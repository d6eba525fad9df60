#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "postern/auth/passwords.h"
#include "postern/base/result.h"
#include "postern/config/config.h"
#include "postern/names/answer.h"
#include "postern/relay/relay.h"
#include "postern/route/decide.h"
#include "postern/route/table.h"
#include "postern/shared/counts.h"
#include "postern/tls/context.h"

namespace postern::shard {

/// How many generations may live at a time, the one in force included.
inline constexpr std::size_t generations_max = 4;

/// A listener in one generation. Its number is its place in Snapshot::listeners, and stays the same
/// over generations: an address that comes again gets the number that it had.
struct ListenerState {
    config::Listener config;        // of a removed one as it was last, for its sessions
    route::RelaySettings relaying;  // the same
    std::shared_ptr<const auth::Passwords> passwords;  // of those who may say AUTH; null: nobody
    shared::Gauge* connections;                        // one for all generations: lives in Common
    bool open = false;                                 // false: it was removed
};

/// Configuration, rules and pools of one generation: built and checked by the control thread, then
/// only read, by all workers.
struct Snapshot {
    std::uint64_t generation = 1;
    std::uint64_t oldest_kept = 0;  // with this one in force, those before that generation must go
    config::Config config;
    std::unique_ptr<const route::Table> table;
    std::vector<relay::PoolSettings>
        pools;  // what the table's targets stand for: index as in Table::targets(); behind them
                // that for notifications, where no rule leads there
    std::vector<std::uint32_t>
        pool_configs;  // of `pools`: index in config.pools, route::none for config.host_pool
    std::vector<std::shared_ptr<const tls::ClientContext>>
        pool_tls;  // of `pools`: what their TLS is made from; null: none
    std::vector<std::uint64_t> pool_identities;  // of `pools`: see identify_pools
    std::vector<route::RelaySettings> relaying;  // by the configuration's listener
    std::vector<std::shared_ptr<const auth::Passwords>> passwords;  // the same
    std::vector<ListenerState> listeners;                        // by number: see number_listeners
    std::vector<std::shared_ptr<const tls::KeyPair>> key_pairs;  // of config.tls.certificates
    std::vector<std::shared_ptr<const tls::ServerContext>>
        tls_contexts;            // by worker; empty: no key pairs
    names::Ourselves ourselves;  // to those who look for us by MX records

    /// What mail that is kept is looked up by, whichever listener took it: they differ in who
    /// postmaster is alone, and that says the first that says it.
    const route::RelaySettings& relaying_of_kept() const {
        const auto first = std::find_if(relaying.begin(), relaying.end(), [](const auto& one) {
            return !one.postmaster.empty();
        });
        return first == relaying.end() ? relaying.front() : *first;
    }

    /// What the configuration says of the pool of a target.
    const config::Pool& pool_config(std::uint32_t target) const {
        const std::uint32_t number = pool_configs[target];
        return number == route::none ? config.host_pool : config.pools[number];
    }
};

struct Common;

/// What the log, metrics and people call the pool of a target; empty: it is none.
std::string pool_name_of(const route::Target& target);

/// Makes `pools` and `pool_configs` of configuration and table: the pool that each of the table's
/// targets stands for is the named one, or one of that single host. Those that are no pool (reject,
/// defer) get an empty one. delivery.notify_pool is there whether a rule leads to it or not.
void make_pools(Snapshot& snapshot);

/// What TLS towards each configured pool's hosts is made from, null for none: index as in
/// Config::pools, and behind them that of the pools that rules make.
using PoolContexts = std::vector<std::shared_ptr<const tls::ClientContext>>;

/// Reads the files that the pool's keys name. The error begins with the name of the file that it is
/// about.
base::Result<std::shared_ptr<const tls::ClientContext>> client_context_of(
    const config::Pool& pool, const tls::Library& library);

/// Once `pools` is made: makes `pool_tls`.
void set_pool_tls(Snapshot& snapshot, const PoolContexts& contexts);

/// Before a snapshot is published, by the control thread; `before`: the one in force, or null.
/// Gives each pool the number that the pool with the same definition had before, or one that none
/// ever had.
void identify_pools(Snapshot& snapshot, const Snapshot* before, std::uint64_t& next_identity);
/// Makes `listeners` of the configuration's, numbered as before.
void number_listeners(Snapshot& snapshot, const Snapshot* before, Common& common);

}  // namespace postern::shard

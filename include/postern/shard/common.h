#pragma once

#include <deque>

#include "postern/base/siphash.h"
#include "postern/config/config.h"
#include "postern/metrics/meters.h"
#include "postern/shared/budget.h"
#include "postern/shared/counts.h"
#include "postern/shared/doors.h"
#include "postern/shared/hosts.h"
#include "postern/shared/kept_answers.h"

namespace postern::shard {

/// The few facts that all workers know (room `shared`), and where each of them counts. Made by the
/// control thread, outlives the workers.
struct Common {
    /// `most`: the most connections there may be. `keys`: random numbers of this process.
    Common(
        const config::Config& config,
        std::uint32_t most,
        std::uint32_t workers,
        const base::HashKey& client_keys,
        const base::HashKey& answer_keys)
        : metrics(workers),
          connections_max(most),
          client_key(client_keys),
          clients(most),
          bodies(config.limits.body_memory.octets, workers, most),
          kept(kept_answers_max, answer_keys),
          hosts(hosts_max, client_keys),
          doors(workers) {}

    static constexpr std::size_t kept_answers_max = 16384;
    static constexpr std::size_t hosts_max = 16384;  // smart hosts of all pools

    metrics::Registry metrics;
    const std::uint32_t connections_max;
    const base::HashKey client_key;
    shared::Gauge connections;
    std::deque<shared::Gauge> listeners;  // connections of each; the control thread alone adds
    shared::CountTable clients;
    shared::Budget bodies;
    shared::KeptAnswers kept;
    shared::HostTable hosts;
    shared::Doors doors;
};

}  // namespace postern::shard

#pragma once

#include <algorithm>
#include <deque>

#include "postern/auth/checker.h"
#include "postern/base/siphash.h"
#include "postern/config/config.h"
#include "postern/metrics/meters.h"
#include "postern/shard/tls.h"
#include "postern/shared/budget.h"
#include "postern/shared/counts.h"
#include "postern/shared/doors.h"
#include "postern/shared/guesses.h"
#include "postern/shared/hosts.h"
#include "postern/shared/kept_answers.h"
#include "postern/shared/rates.h"
#include "postern/shared/recipient_answers.h"
#include "postern/spool/segments.h"

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
          rates(rated_clients_max),
          bodies(config.limits.body_memory.octets, workers, most),
          arriving(arriving_bound(config), workers, most),
          kept(kept_answers_max, answer_keys),
          recipients(recipient_answers_max, answer_keys),
          network_questions(question_networks),
          pool_questions(question_pools),
          hosts(hosts_max, client_keys),
          doors(workers),
          tls(workers),
          guesses(guessers_max),
          checker(hashing_threads(workers), checks_waiting_max) {}

    /// What of messages that are not whole yet may lie on the disk: a client network has an eighth.
    static std::uint64_t arriving_bound(const config::Config& config) {
        return 8 * config.limits.body_memory.octets;
    }

    static constexpr std::size_t hashing_threads(std::uint32_t workers) {
        return std::clamp(workers / 4, 1U, 4U);
    }

    static constexpr std::size_t kept_answers_max = 16384;
    static constexpr shared::RecipientAnswers::Bounds recipient_answers_max{1 << 20, 16384};
    static constexpr std::size_t question_networks = 16384;
    static constexpr std::size_t question_pools = 1024;
    static constexpr std::size_t rated_clients_max = 65536;
    static constexpr std::size_t hosts_max = 16384;         // smart hosts of all pools
    static constexpr std::size_t guessers_max = 65536;      // clients with wrong passwords
    static constexpr std::size_t checks_waiting_max = 256;  // of passwords: a minute's, or less

    metrics::Registry metrics;
    const std::uint32_t connections_max;
    const base::HashKey client_key;
    shared::Gauge connections;
    std::deque<shared::Gauge> listeners;  // connections of each; the control thread alone adds
    shared::CountTable clients;
    shared::RateTable rates;
    shared::Budget bodies;
    shared::Budget arriving;
    shared::KeptAnswers kept;
    shared::RecipientAnswers recipients;
    shared::QuestionBudget network_questions;
    shared::QuestionBudget pool_questions;
    shared::HostTable hosts;
    shared::Doors doors;
    TlsShared tls;
    shared::Guesses guesses;
    auth::Checker checker;
    spool::Segments* spool = nullptr;  // outlives it; null: there is none. Before the workers
};

}  // namespace postern::shard

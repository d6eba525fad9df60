#include "postern/shard/memory.h"

#include <algorithm>

#include "logins.h"
#include "postern/inbound/inbound.h"
#include "postern/mail/submission.h"
#include "postern/shard/common.h"
#include "postern/shard/snapshot.h"
#include "postern/spool/spool.h"
#include "verifier.h"

namespace postern::shard {
namespace {

using metrics::Holder;

constexpr std::uint64_t mib = 1ULL << 20;

/// Envelopes larger than a block (hundreds of recipients) share so much beside each transaction's
/// first block.
constexpr std::uint64_t large_envelopes_octets = 64 * mib;
/// What yescrypt takes as Debian sets it is half of it.
constexpr std::uint64_t hashing_octets = 32 * mib;
/// No message that is kept is longer, and so much of a buffer may stay empty when one is loaded.
constexpr std::uint64_t kept_octets_max = std::uint64_t{4} << 30;
constexpr std::uint32_t load_loss = 4096;

/// A listener may have its own limits.
std::uint64_t message_octets_max(const config::Config& config) {
    std::uint64_t most = config.limits.message_size.octets;
    for (const config::Listener& listener : config.listeners) {
        most = std::max(most, listener.limits.message_size.octets);
    }
    return most;
}

std::uint32_t blocks(std::uint64_t octets, std::uint32_t block) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(octets / block, 1U << 30));
}

}  // namespace

WorkerBounds worker_bounds(const config::Config& config, std::uint32_t connections) {
    const std::uint64_t body = config.limits.body_memory.octets;
    WorkerBounds bounds;
    bounds.connections = connections;
    // A sender that goes leaves its message with the relay until that is done with it.
    bounds.submissions = connections * 2;
    bounds.arena_blocks = bounds.submissions + blocks(large_envelopes_octets, arena_block_octets);
    bounds.tail_blocks = blocks(body, tail_block_octets) + 64;
    bounds.chain_blocks = blocks(body, chain_block_octets) + 64;
    // What bounds them is limits.body_memory; one kept message, of any size, is loaded beside that.
    // What is not used takes no memory.
    bounds.ring.body_buffers_max =
        blocks(body + kept_octets_max, bounds.ring.body_buffer_size - load_loss) +
        2 * bounds.ring.body_buffers_offered;
    return bounds;
}

std::vector<MemoryHolder> memory_sum(
    const config::Config& config,
    std::uint32_t connections,
    std::uint32_t workers,
    std::uint64_t table_octets) {
    const WorkerBounds one = worker_bounds(config, connections);
    const io::RingOptions& ring = one.ring;
    std::vector<MemoryHolder> sum;
    sum.push_back(
        {Holder::bodies, config.limits.body_memory.octets, "limits.body_memory, over all workers"});
    sum.push_back(
        {Holder::connections,
         std::uint64_t{connections} * inbound::Inbound::connection_octets(),
         "limits.connections, as far as descriptors go, while idle"});
    sum.push_back(
        {Holder::command_lines,
         workers * inbound::Inbound::buffer_octets_max(),
         "lines of which a part has come, and answers that are not read, for each worker"});
    sum.push_back(
        {Holder::envelopes,
         std::uint64_t{connections} * (sizeof(mail::Submission) + arena_block_octets) +
             large_envelopes_octets,
         "a transaction on every connection, and 64 MiB for those with very many recipients"});
    sum.push_back(
        {Holder::command_buffers,
         std::uint64_t{workers} * ring.command_buffers_max * ring.command_buffer_size,
         "commands that have come and are not worked off, for each worker"});
    sum.push_back(
        {Holder::body_buffers,
         std::uint64_t{workers} * 2 * ring.body_buffers_offered * ring.body_buffer_size,
         "what the kernel may fill in one turn, for each worker"});
    const bool has_logins = std::any_of(
        config.listeners.begin(), config.listeners.end(), [](const config::Listener& listener) {
            return !listener.auth_file.empty();
        });
    sum.push_back(
        {Holder::logins,
         shared::Guesses::memory(Common::guessers_max) +
             (has_logins ? std::uint64_t{connections} * sizeof(smtp::AuthExchange) +
                               workers * Logins::memory() +
                               Common::hashing_threads(workers) * hashing_octets
                         : 0),
         has_logins ? "an AUTH on every connection, and 32 MiB for each thread that hashes"
                    : "the table of wrong passwords"});
    sum.push_back(
        {Holder::rules,
         table_octets * (generations_max + 1),
         "the table in force with its lists of recipients, three generations before it, and one "
         "that "
         "is being built"});
    sum.push_back(
        {Holder::kept_answers,
         shared::KeptAnswers::memory(Common::kept_answers_max) +
             shared::RecipientAnswers::memory(Common::recipient_answers_max) +
             shared::QuestionBudget::memory(Common::question_networks) +
             shared::QuestionBudget::memory(Common::question_pools) + workers * Verifier::memory(),
         "what smart hosts said of recipients, over all workers, and questions about them"});
    sum.push_back(
        {Holder::rings,
         workers * std::uint64_t{io::locked_octets(ring)},
         "shared with the kernel; counts against RLIMIT_MEMLOCK"});
    const bool has_tls = std::any_of(
        config.listeners.begin(), config.listeners.end(), [](const config::Listener& listener) {
            return listener.tls != config::ListenerTls::none;
        });
    if (has_tls) {
        sum.push_back(
            {Holder::tls,
             connections * inbound::Inbound::tls_session_octets +
                 workers * inbound::Inbound::sealed_octets_max(),
             "a TLS session on every connection, while idle, and sealed answers that are not "
             "read"});
    }
    // A worker's own two tables of networks, and the three of all.
    sum.push_back(
        {Holder::clients,
         (2 * workers + 3) * std::uint64_t{shared::CountTable::memory(connections)} +
             shared::RateTable::memory(Common::rated_clients_max),
         "what each client has open, and has done in the last minute; mapped as it is used"});
    sum.push_back(
        {Holder::spool,
         workers * (spool::Spool::buffer_octets_max() + message_octets_max(config)),
         "for each worker records on their way to the disk, and a message that is loaded though "
         "memory for bodies is short; each message that waits takes some 0.4 KiB besides"});
    return sum;
}

}  // namespace postern::shard

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// The table of metrics: what is counted, in one row each. Cells, Prometheus text and what a worker
/// prints of its state come from it. Plain constants.
namespace postern::metrics {

/// A counter only grows; a gauge is what there is now; `seconds` is a gauge of time, kept in ns; a
/// histogram is one of durations.
enum class Type : std::uint8_t { counter, gauge, seconds, histogram };

/// Whose number it is, and so the labels: none (summed over all workers), `worker`, `listener`,
/// `pool` and `host`, or `certificate`, the file of its chain. Domains, rules, senders and clients
/// are never labels: there is no bound on them, and they are people's.
enum class Subject : std::uint8_t { process, worker, listener, host, certificate };

/// What a number is split by beside that: one more label, its values known here.
enum class Split : std::uint8_t {
    none,
    reply_class,
    phase,
    holder,
    handshake,
    tls_version,
    limit,
    resource,
};

enum class ReplyClass : std::uint8_t { positive, temporary, permanent, none };
/// A message's way through.
enum class Phase : std::uint8_t { command, routing, body, wait, answer };
/// Who holds memory: the rows of shard/memory.h.
enum class Holder : std::uint8_t {
    bodies,
    connections,
    command_lines,
    envelopes,
    command_buffers,
    body_buffers,
    logins,
    rules,
    kept_answers,
    rings,
    tls,
    clients,
    spool,
};
/// What a TLS handshake came to.
enum class Handshake : std::uint8_t { full, resumed, failed };
enum class TlsVersion : std::uint8_t { v1_2, v1_3 };
/// Which of [limits] sent a sender away, by the key's name.
enum class Limit : std::uint8_t {
    connections,
    connections_per_client,
    connection_rate,
    message_rate,
    recipient_rate,
    refused_rate,
    byte_rate,
    errors,
    pool_share,
};
/// What may be nearly used up.
enum class Resource : std::uint8_t { connections, body_memory, envelopes, buffers };

inline constexpr std::string_view handshake_names[] = {"full", "resumed", "failed"};
inline constexpr std::string_view tls_version_names[] = {"TLSv1.2", "TLSv1.3"};
inline constexpr std::string_view reply_class_names[] = {"2xx", "4xx", "5xx", "none"};
inline constexpr std::string_view phase_names[] = {"command", "routing", "body", "wait", "answer"};
inline constexpr std::string_view holder_names[] = {
    "bodies",
    "connections",
    "command lines and answers",
    "envelopes",
    "command buffers",
    "offered body buffers",
    "logins",
    "rules",
    "kept answers",
    "rings",
    "TLS sessions",
    "clients",
    "spool"};
inline constexpr std::string_view limit_names[] = {
    "connections",
    "connections_per_client",
    "connection_rate",
    "message_rate",
    "recipient_rate",
    "refused_rate",
    "byte_rate",
    "errors",
    "pool_share"};
inline constexpr std::string_view resource_names[] = {
    "connections", "body memory", "envelopes", "buffers"};

constexpr std::string_view name_of(Holder holder) {
    return holder_names[static_cast<std::size_t>(holder)];
}

enum class Metric : std::uint8_t {
    listener_connections,
    listener_connections_open,
    listener_messages,
    listener_bytes,
    listener_refusals,
    listener_handshakes,
    listener_tls_versions,
    listener_logins,
    listener_early_talkers,
    listener_health_checks,
    listener_bad_proxy_headers,
    listener_limits,
    host_messages,
    host_connections,
    host_connections_open,
    host_tls_connections,
    host_tls_failures,
    host_trouble,
    host_aside,
    phase,
    verify_questions,
    verify_kept,
    verify_budget_spent,
    verify_unknown,
    transactions_open,
    pressure,
    memory,
    turns,
    enters,
    completions,
    buffer_waits,
    completion_overflows,
    stalls,
    log_lines_dropped,
    spool_messages,
    spool_writes,
    spool_bytes,
    spool_failures,
    spool_segments,
    spool_takes,
    names_unresolved,
    generation,
    rules,
    reloads,
    reloads_failed,
    last_reload_succeeded,
    last_reload_time,
    last_reload_took,
    certificate_expiry,
};

struct Row {
    Metric metric;
    std::string_view name;
    Type type;
    Subject subject;
    Split split;
    std::string_view help;
};

// clang-format off
inline constexpr Row table[] = {
    {Metric::listener_connections, "postern_connections_total", Type::counter, Subject::listener, Split::none,
     "Senders' connections that were admitted."},
    {Metric::listener_connections_open, "postern_connections_open", Type::gauge, Subject::listener, Split::none,
     "Senders' connections open now."},
    {Metric::listener_messages, "postern_messages_total", Type::counter, Subject::listener, Split::reply_class,
     "Messages received whole, by the final answer to their senders."},
    {Metric::listener_bytes, "postern_messages_bytes_total", Type::counter, Subject::listener, Split::none,
     "Octets of the messages received whole, our Received: line included."},
    {Metric::listener_refusals, "postern_refusals_total", Type::counter, Subject::listener, Split::reply_class,
     "Commands, recipients, bodies and connections that Postern itself refused, by the class of the answer."},
    {Metric::listener_handshakes, "postern_tls_handshakes_total", Type::counter, Subject::listener, Split::handshake,
     "TLS handshakes with senders: full, resumed from a ticket, or failed; the log says why."},
    {Metric::listener_tls_versions, "postern_tls_versions_total", Type::counter, Subject::listener, Split::tls_version,
     "TLS handshakes with senders that succeeded, by version."},
    {Metric::listener_logins, "postern_logins_total", Type::counter, Subject::listener, Split::reply_class,
     "Answers to AUTH: 2xx to right names and passwords, 5xx to wrong ones, 4xx where none was looked at: the client had guessed too often, or too many waited."},
    {Metric::listener_early_talkers, "postern_early_talkers_total", Type::counter, Subject::listener, Split::none,
     "Clients that were turned away because they spoke within greeting_pause, before the greeting."},
    {Metric::listener_health_checks, "postern_health_checks_total", Type::counter, Subject::listener, Split::none,
     "Connections for which a proxy's header named no client (LOCAL or UNKNOWN)."},
    {Metric::listener_bad_proxy_headers, "postern_bad_proxy_headers_total", Type::counter, Subject::listener, Split::none,
     "Connections of proxy_networks that were closed because no good PROXY header came; a proxy is not set up for it."},
    {Metric::listener_limits, "postern_limits_reached_total", Type::counter, Subject::listener, Split::limit,
     "Times that one of [limits] refused a connection, a message, a recipient or a body, or ended a session; pool_share: a "
     "slow pool held its share already (what goes to the disk first instead is counted too)."},
    {Metric::host_messages, "postern_host_messages_total", Type::counter, Subject::host, Split::reply_class,
     "Attempts to hand a message to a smart host, by its answer; none: it gave none that counts."},
    {Metric::host_connections, "postern_host_connections_total", Type::counter, Subject::host, Split::none,
     "Connections to a smart host that were begun."},
    {Metric::host_connections_open, "postern_host_connections_open", Type::gauge, Subject::host, Split::none,
     "Connections to a smart host that are open or being opened."},
    {Metric::host_tls_connections, "postern_host_tls_connections_total", Type::counter, Subject::host, Split::none,
     "Connections to a smart host on which a TLS handshake was done."},
    {Metric::host_tls_failures, "postern_host_tls_failures_total", Type::counter, Subject::host, Split::none,
     "Times that TLS to a smart host came to nothing: the handshake failed, or TLS is required and was not offered."},
    {Metric::host_trouble, "postern_host_trouble_total", Type::counter, Subject::host, Split::none,
     "Times that a smart host was in trouble: no connection, a refused greeting, a broken connection."},
    {Metric::host_aside, "postern_host_aside", Type::gauge, Subject::host, Split::none,
     "1 while the smart host is set aside after trouble; anything but 0 for long is an alarm."},
    {Metric::phase, "postern_phase_seconds", Type::histogram, Subject::process, Split::phase,
     "How long a message spent in each phase: command (MAIL to the body's first octet), routing (looking a recipient "
     "up in the rules), body (first to last octet), wait (for a place on a smart host's connection), answer (of the "
     "smart host)."},
    {Metric::verify_questions, "postern_verify_questions_total", Type::counter, Subject::process, Split::none,
     "Questions to smart hosts whether a recipient exists (pools with verify)."},
    {Metric::verify_kept, "postern_verify_kept_answers_total", Type::counter, Subject::process, Split::none,
     "Recipients about whom a kept answer was known, so that nobody was asked."},
    {Metric::verify_budget_spent, "postern_verify_budget_spent_total", Type::counter, Subject::process, Split::none,
     "Questions that were not asked since their budget was spent: most often somebody guesses recipients."},
    {Metric::verify_unknown, "postern_verify_unknown_total", Type::counter, Subject::process, Split::none,
     "Times that nobody could say whether a recipient exists; then the last good answer or verify_unknown decides."},
    {Metric::transactions_open, "postern_transactions_open", Type::gauge, Subject::process, Split::none,
     "Messages between MAIL and their end, as of the last second."},
    {Metric::pressure, "postern_pressure", Type::gauge, Subject::process, Split::resource,
     "Workers that find less than an eighth left of it, as of the last second; while it is not 0, senders are waited for 10 s."},
    {Metric::memory, "postern_memory_bytes", Type::gauge, Subject::process, Split::holder,
     "Memory by holder, as of the last second; postern check prints the bounds."},
    {Metric::turns, "postern_worker_turns_total", Type::counter, Subject::worker, Split::none,
     "Turns of a worker's loop; one that does not grow belongs to a worker that stands still."},
    {Metric::enters, "postern_worker_enters_total", Type::counter, Subject::worker, Split::none,
     "System calls that entered the ring."},
    {Metric::completions, "postern_worker_completions_total", Type::counter, Subject::worker, Split::none,
     "Operations that the kernel completed."},
    {Metric::buffer_waits, "postern_worker_buffer_waits_total", Type::counter, Subject::worker, Split::none,
     "Receives that found every receive buffer in use."},
    {Metric::completion_overflows, "postern_worker_completion_overflows_total", Type::counter, Subject::worker, Split::none,
     "Turns in which the kernel's completion queue was too short; anything but 0 is an alarm."},
    {Metric::stalls, "postern_worker_stalls_total", Type::counter, Subject::process, Split::none,
     "Times that a worker stood still for seconds while work waited; anything but 0 is an alarm."},
    {Metric::log_lines_dropped, "postern_log_lines_dropped_total", Type::counter, Subject::process, Split::none,
     "Log lines that found no room because the log's output takes them too slowly."},
    {Metric::spool_messages, "postern_spool_messages", Type::gauge, Subject::process, Split::none,
     "Messages in the spool."},
    {Metric::spool_writes, "postern_spool_writes_total", Type::counter, Subject::process, Split::none,
     "Writes to the spool's disk, each with all that its worker had to write by then; all are flushes."},
    {Metric::spool_bytes, "postern_spool_written_bytes_total", Type::counter, Subject::process, Split::none,
     "Octets that these wrote."},
    {Metric::spool_failures, "postern_spool_failed_writes_total", Type::counter, Subject::process, Split::none,
     "Writes to the spool's disk that failed or were cut short; anything but 0 is an alarm."},
    {Metric::spool_segments, "postern_spool_segments", Type::gauge, Subject::process, Split::none,
     "Files of the spool."},
    {Metric::spool_takes, "postern_spool_takes_mail", Type::gauge, Subject::worker, Split::none,
     "1 while the worker can keep mail; 0: the disk is full, below spool.min_free, or does not write."},
    {Metric::names_unresolved, "postern_names_unresolved", Type::gauge, Subject::process, Split::none,
     "Names of smart hosts that have no address now; mail for a pool without any host gets 451 4.4.3."},
    {Metric::generation, "postern_generation", Type::gauge, Subject::process, Split::none,
     "The generation of configuration and rules in force."},
    {Metric::rules, "postern_rules", Type::gauge, Subject::process, Split::none,
     "Rules in force."},
    {Metric::reloads, "postern_reloads_total", Type::counter, Subject::process, Split::none,
     "Reloads that were applied."},
    {Metric::reloads_failed, "postern_reloads_failed_total", Type::counter, Subject::process, Split::none,
     "Reloads that were refused; the generation before stayed in force."},
    {Metric::last_reload_succeeded, "postern_last_reload_succeeded", Type::gauge, Subject::process, Split::none,
     "1 when the last start or reload was applied, 0 when it was refused: then the log says where and why."},
    {Metric::last_reload_time, "postern_last_reload_timestamp_seconds", Type::seconds, Subject::process, Split::none,
     "When the last start or reload, applied or not, ended."},
    {Metric::last_reload_took, "postern_last_reload_duration_seconds", Type::seconds, Subject::process, Split::none,
     "How long the last start or reload took."},
    {Metric::certificate_expiry, "postern_certificate_expiry_timestamp_seconds", Type::seconds, Subject::certificate, Split::none,
     "Until when a certificate of [tls] is good; an alarm some weeks before it."},
};
// clang-format on

inline constexpr std::size_t metrics = std::size(table);

constexpr const Row& row_of(Metric metric) {
    return table[static_cast<std::size_t>(metric)];
}

/// Upper bounds of a histogram's buckets; one more takes the rest. From a lookup to the longest
/// timeout.
inline constexpr std::array<std::uint64_t, 23> bucket_bounds_ns = {
    250,
    500,
    1'000,
    2'500,
    5'000,
    10'000,
    100'000,
    1'000'000,
    2'500'000,
    5'000'000,
    10'000'000,
    25'000'000,
    50'000'000,
    100'000'000,
    250'000'000,
    500'000'000,
    1'000'000'000,
    2'500'000'000,
    5'000'000'000,
    10'000'000'000,
    30'000'000'000,
    60'000'000'000,
    600'000'000'000};

/// The label that a split adds, and its values.
struct SplitRow {
    std::string_view label;
    std::span<const std::string_view> values;
};

constexpr SplitRow row_of(Split split) {
    switch (split) {
        case Split::none:
            break;
        case Split::reply_class:
            return {"class", reply_class_names};
        case Split::phase:
            return {"phase", phase_names};
        case Split::holder:
            return {"holder", holder_names};
        case Split::handshake:
            return {"outcome", handshake_names};
        case Split::tls_version:
            return {"version", tls_version_names};
        case Split::limit:
            return {"limit", limit_names};
        case Split::resource:
            return {"resource", resource_names};
    }
    return {};
}

/// Cells that one value takes: a histogram's buckets, the rest, and the sum of all in ns.
constexpr std::size_t cells_each(Type type) {
    return type == Type::histogram ? bucket_bounds_ns.size() + 2 : 1;
}

constexpr std::size_t cells_of(const Row& row) {
    const std::size_t values = row_of(row.split).values.size();
    return (values == 0 ? 1 : values) * cells_each(row.type);
}

/// Process and worker are counted in the same block: a worker's own.
constexpr bool same_block(Subject a, Subject b) {
    const auto own = [](Subject s) { return s == Subject::process || s == Subject::worker; };
    return a == b || (own(a) && own(b));
}

/// Where a metric's cells begin in its subject's block.
constexpr std::size_t offset_of(Metric metric) {
    std::size_t offset = 0;
    for (const Row& row : table) {
        if (row.metric == metric) {
            break;
        }
        offset += same_block(row.subject, row_of(metric).subject) ? cells_of(row) : 0;
    }
    return offset;
}

constexpr std::size_t block_cells(Subject subject) {
    std::size_t cells = 0;
    for (const Row& row : table) {
        cells += same_block(row.subject, subject) ? cells_of(row) : 0;
    }
    return cells;
}

constexpr bool in_order() {
    for (std::size_t i = 0; i < metrics; ++i) {
        if (table[i].metric != static_cast<Metric>(i)) {
            return false;
        }
    }
    return true;
}

static_assert(in_order(), "the table's rows stand in the order of their names");

}  // namespace postern::metrics

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "admin.h"
#include "control.h"
#include "postern/log/log.h"
#include "postern/metrics/meters.h"
#include "postern/shard/snapshot.h"
#include "postern/spool/segments.h"
#include "watch.h"

/// What the admin server's requests are answered with. Any thread.
namespace postern::app {

enum class Readiness : std::uint8_t { starting, serving, stopping };

/// All numbers, for Prometheus. Those that no worker counts (dropped log lines, the rules' memory,
/// names without an address) are read now.
AdminAnswer answer_metrics(
    metrics::Registry& registry, const log::Log& log, const Control& control);

/// The mail that waits, for /health.
struct SpoolHealth {
    spool::SpoolState state;
    std::uint64_t messages = 0;
    std::optional<std::int64_t> oldest_ms;  // when it arrived, wall clock
};

/// 503 where a worker stands still, and which. A spool in trouble is shown, and is none: mail goes
/// on without it.
AdminAnswer answer_health(const Watch& watch, std::uint64_t generation, const SpoolHealth& spool);
/// 503 while starting and stopping.
AdminAnswer answer_ready(Readiness readiness);
/// Reloads, or looks at what a reload would do. 409 where it is refused.
AdminAnswer answer_reload(Control& control, const ReloadOptions& options);
/// What the rules in force say, and how the hosts are: as `postern route`, with the generation and
/// the hosts' health.
AdminAnswer answer_route(
    const metrics::Registry& registry,
    const shard::Snapshot& snapshot,
    const std::vector<std::string>& addresses,
    const std::string& from,
    bool json);

}  // namespace postern::app

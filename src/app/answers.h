#pragma once

#include <memory>
#include <string>
#include <vector>

#include "admin.h"
#include "control.h"
#include "postern/log/log.h"
#include "postern/metrics/meters.h"
#include "postern/shard/snapshot.h"
#include "watch.h"

/// What the admin server's requests are answered with. Any thread.
namespace postern::app {

enum class Readiness : std::uint8_t { starting, serving, stopping };

/// All numbers, for Prometheus. Those that no worker counts (dropped log lines, the rules' memory,
/// names without an address) are read now.
AdminAnswer answer_metrics(
    metrics::Registry& registry, const log::Log& log, const Control& control);
/// 503 where a worker stands still, and which.
AdminAnswer answer_health(const Watch& watch, std::uint64_t generation);
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

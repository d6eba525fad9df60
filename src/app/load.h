#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "postern/route/explain.h"
#include "postern/shard/snapshot.h"

namespace postern::app {

/// A configuration and its rules, read and checked as a whole; all problems in one go, each
/// "FILE:LINE:COLUMN: …".
struct Loaded {
    std::unique_ptr<shard::Snapshot> snapshot;  // null when there are errors
    std::vector<std::string> errors;
    std::vector<std::string> warnings;
};

/// Reads `file` and the rules that it names.
Loaded load(const std::string& file, std::uint64_t generation);

/// How many workers the configuration asks for.
std::uint32_t worker_count(const config::Config& config);

/// Is any mail to be kept? In `sync` a spool is for notifications alone.
bool needs_spool(const shard::Snapshot& snapshot);

/// The configured pools, as `route` and `check` show them.
std::vector<route::PoolHosts> pool_hosts(const config::Config& config);

/// The addresses that the listeners can be reached at, wildcards resolved to those of this host's
/// interfaces: "192.0.2.1:25".
std::vector<std::string> own_addresses(const config::Config& config);

}  // namespace postern::app

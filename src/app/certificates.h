#pragma once

#include <string>
#include <vector>

#include "postern/base/time.h"
#include "postern/shard/snapshot.h"

namespace postern::app {

/// Reads the certificates and keys that the configuration `file` names into `snapshot`, and tries
/// them. What is wrong with them becomes errors, "FILE:LINE:COLUMN: ..." with the place in the
/// configuration and the name of the file that it is about.
void load_certificates(
    const std::string& file,
    const config::Tls& config,
    shard::Snapshot& snapshot,
    std::vector<std::string>& errors);

/// How long before its end a certificate is warned of.
inline constexpr base::Duration expiry_warned_of = std::chrono::days(14);

/// Of those that are over, nearly over, or not good yet; as errors above.
std::vector<std::string> certificate_warnings(
    const std::string& file, const shard::Snapshot& snapshot, base::WallTime now);

}  // namespace postern::app

#pragma once

#include <string>
#include <vector>

#include "postern/config/parse.h"
#include "postern/shard/snapshot.h"

namespace postern::app {

/// Reads and checks what the pools' keys tls_ca, tls_cert, tls_key and auth_password_file name:
/// fills in what config::Pool has of them, and makes the contexts of their TLS. What is wrong is
/// appended to `errors`, "FILE:LINE:COLUMN: ..." of the key; then nothing of the contexts may be
/// used.
shard::PoolContexts read_pool_files(
    config::Config& config,
    const std::string& file,
    const std::vector<config::NamedFile>& files,
    std::vector<std::string>& errors);

}  // namespace postern::app

#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "postern/base/result.h"

namespace postern::io {

/// What decides which of the ways io_uring can be refused in it was.
struct SetupFacts {
    std::string attempted;           // "io_uring_setup"
    std::string kernel;              // "6.1.0-38-amd64"
    std::optional<int> disabled;     // kernel.io_uring_disabled, where the kernel has it (6.6)
    bool filtered = false;           // a seccomp filter is on this process
    std::size_t memlock_octets = 0;  // RLIMIT_MEMLOCK
    std::size_t wanted_octets = 0;   // what this ring would be charged
};

/// One sentence for `error` (a positive errno): why io_uring is not to be had and what to set.
/// Pure.
base::Error setup_error(int error, const SetupFacts& facts);

/// The facts about this process, now.
SetupFacts read_setup_facts(std::string attempted, std::size_t wanted_octets);

}  // namespace postern::io

#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

/// A whole gateway under one seed: senders, a worker, its spool on a simulated disk, smart hosts,
/// and whatever may happen to any of them, power cuts among it.
namespace postern::sim {

/// What a run came to.
struct GatewayRun {
    std::string wrong;  // empty: nothing; else a sentence for each breach
    // What happened, so that it can be seen that it does.
    unsigned messages = 0;
    unsigned promised = 0;   // 250 to the sender
    unsigned delivered = 0;  // (message, recipient)
    unsigned twice = 0;
    unsigned notified = 0;
    unsigned lives = 0;
    std::uint64_t writes = 0;
};

/// The same seed gives the same run.
/// `log`: gets the log's lines, a life behind the other; null: nobody wants them.
GatewayRun run_gateway(std::uint64_t seed, std::FILE* log = nullptr);

}  // namespace postern::sim

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "postern/config/config.h"
#include "postern/io/ring.h"
#include "postern/metrics/table.h"

/// Every resource has a number that bounds it; this adds them up. `run` sizes its pools from here
/// and `check` prints the sum, so that both mean the same. Pure.
namespace postern::shard {

/// How much of each thing one worker may hold. A connection may come to any worker, so a bound that
/// is shared by all is each worker's own bound too: the sum counts it once.
struct WorkerBounds {
    io::RingOptions ring;
    std::uint32_t connections = 0;
    std::uint32_t submissions = 0;
    std::uint32_t arena_blocks = 0;  // of arena_block_octets
    std::uint32_t tail_blocks = 0;   // of tail_block_octets
    std::uint32_t chain_blocks = 0;  // of chain_block_octets
};

inline constexpr std::uint32_t arena_block_octets = 2048;
inline constexpr std::uint32_t tail_block_octets = 16384;
inline constexpr std::uint32_t chain_block_octets = 1024;

/// `connections`: limits.connections, lowered to what descriptors allow.
WorkerBounds worker_bounds(const config::Config& config, std::uint32_t connections);

struct MemoryHolder {
    metrics::Holder holder{};  // metrics show how much of it is in use
    std::uint64_t octets = 0;
    std::string reason;  // how the number comes about
};

/// What the whole process may hold at most, a row a holder. `table_octets`: of the rules now in
/// force, names included.
std::vector<MemoryHolder> memory_sum(
    const config::Config& config,
    std::uint32_t connections,
    std::uint32_t workers,
    std::uint64_t table_octets);

}  // namespace postern::shard

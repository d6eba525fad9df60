// Whole gateways under seeds: what was promised is delivered, kept or told of, whatever happens.
//
// usage: sim-gateway [FIRST [COUNT [log]]]      (default: 1 100); exit 1: a line for each breach,
// and the command that repeats it; log: the gateways' lines, too

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "tests/sim/gateway.h"

int main(int argc, char** argv) {
    const std::uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100;
    postern::sim::GatewayRun sum;
    unsigned failed = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const postern::sim::GatewayRun run =
            postern::sim::run_gateway(seed, argc > 3 ? stdout : nullptr);
        if (!run.wrong.empty()) {
            ++failed;
            fmt::print("seed {}:\n{}repeat it with: {} {} 1\n", seed, run.wrong, argv[0], seed);
        }
        sum.messages += run.messages;
        sum.promised += run.promised;
        sum.delivered += run.delivered;
        sum.twice += run.twice;
        sum.notified += run.notified;
        sum.lives += run.lives;
        sum.writes += run.writes;
    }
    fmt::print(
        "{} seeds, {} failed: {} lives, {} messages, {} promised, {} delivered, {} of them twice, "
        "{} notifications, {} writes to the disk\n",
        count,
        failed,
        sum.lives,
        sum.messages,
        sum.promised,
        sum.delivered,
        sum.twice,
        sum.notified,
        sum.writes);
    return failed == 0 ? 0 : 1;
}

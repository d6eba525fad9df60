#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <vector>

#include "bench/load/ledger.h"
#include "postern/base/result.h"
#include "postern/io/address.h"

/// How a load asks a sink what came: one line of request a connection ("report" or "deliveries
/// RUN"), one line of JSON or a count and numbers back. Blocking, on threads that carry no load.
namespace postern::bench {

struct ControlHandlers {
    std::function<nlohmann::ordered_json()> report;
    std::function<std::vector<std::uint64_t>(std::uint32_t run)> deliveries;
};

/// A listening socket, for serve_control. `address` is set to where it listens in the end.
base::Result<int> listen_for_control(io::Address& address);
/// Answers those who have connected; waits at most `wait_ms` for the first.
void serve_control(int listener, int wait_ms, const ControlHandlers& handlers);

base::Result<nlohmann::ordered_json> ask_report(const io::Address& sink);
base::Result<std::vector<Delivery>> ask_deliveries(const io::Address& sink, std::uint32_t run);

}  // namespace postern::bench

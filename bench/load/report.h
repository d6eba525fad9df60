#pragma once

#include <nlohmann/json.hpp>

#include "bench/load/histogram.h"
#include "bench/load/ledger.h"
#include "bench/load/steps.h"
#include "bench/load/verify.h"

/// Figures as JSON, and any such JSON as text for people. Any thread.
namespace postern::bench {

nlohmann::ordered_json to_json(const AnswerCounts& answers);  // {"mail": {"250": 3}}
nlohmann::ordered_json to_json(const Histogram& latencies);   // in milliseconds
nlohmann::ordered_json to_json(const Comparison& comparison);
nlohmann::ordered_json to_json(const SinkCounters& counters);

/// One line a figure: its names joined by blanks, and the value.
std::string to_text(const nlohmann::ordered_json& report);

}  // namespace postern::bench

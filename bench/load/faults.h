#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load/steps.h"
#include "postern/base/result.h"
#include "postern/base/time.h"

/// How a sink misbehaves, by the step of the dialogue. Values; the choice by chance is made with a
/// number that is handed in.
namespace postern::bench {

struct Fault {
    enum class Kind : std::uint8_t { answer, close, silent, delay };
    Step step = Step::greeting;
    Kind kind = Kind::answer;
    int code = 0;
    base::Duration delay{};
    double probability = 1;
};

/// "STEP:CODE[:P]", "STEP:close[:P]", "STEP:silent[:P]".
base::Result<Fault> parse_failure(std::string_view text);
/// "STEP:MS[:P]".
base::Result<Fault> parse_delay(std::string_view text);

/// Recipients that are refused: a pattern in which * stands for any text, and the answer's code.
struct Rejection {
    std::string pattern;
    int code = 550;
};

/// "PATTERN:CODE".
base::Result<Rejection> parse_rejection(std::string_view text);
bool matches(std::string_view pattern, std::string_view text);

/// What happens at a step: at most one delay, and then at most one of the others.
struct Misbehaviour {
    base::Duration delay{};
    std::optional<Fault> fault;
};

Misbehaviour choose(const std::vector<Fault>& faults, Step step, std::uint64_t& random_state);

}  // namespace postern::bench

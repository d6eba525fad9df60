#pragma once

#include <string>

#include "postern/journal/recovery.h"

namespace postern::journal {

/// A situation's row in the decision table. `offset`, `size` and `id` as in Finding; `detail` is
/// put behind what was found.
Finding finding_of(
    Situation situation,
    std::uint32_t slot,
    std::uint32_t offset,
    std::uint32_t size,
    const Id& id,
    const std::string& detail);

/// What becomes of the file in which it was found.
Segment::Verdict verdict_of(Situation situation);

}  // namespace postern::journal

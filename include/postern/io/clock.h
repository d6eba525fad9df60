#pragma once

#include <cstdint>

#include "postern/base/time.h"

namespace postern::io {

/// What time it is in UTC, for threads that have no ring. Any thread.
base::WallTime wall_time();

/// Microseconds of the system's monotonic clock. Any thread.
std::uint64_t monotonic_us();

}  // namespace postern::io

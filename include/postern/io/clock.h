#pragma once

#include "postern/base/time.h"

namespace postern::io {

/// What time it is in UTC, for threads that have no ring. Any thread.
base::WallTime wall_time();

/// The monotonic clock itself, where a ring's now() is too coarse or there is no ring. Any thread.
base::Instant monotonic_time();

}  // namespace postern::io

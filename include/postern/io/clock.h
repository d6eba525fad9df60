#pragma once

#include "postern/base/time.h"

namespace postern::io {

/// What time it is in UTC, for threads that have no ring. Any thread.
base::WallTime wall_time();

}  // namespace postern::io

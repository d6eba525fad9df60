#pragma once

#include <chrono>
#include <cstdint>

/// Time as a value. Nothing but `io` asks the system what time it is; everyone else is handed an
/// Instant (monotonic, for deadlines) or a WallTime (UTC, for what people and other hosts read).
namespace postern::base {

using Duration = std::chrono::nanoseconds;

/// Names the monotonic clock of a worker; it has no now() on purpose.
struct MonotonicClock {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<MonotonicClock>;
    static constexpr bool is_steady = true;
};

using Instant = std::chrono::time_point<MonotonicClock, Duration>;
using WallTime = std::chrono::sys_time<Duration>;

inline std::int64_t to_ms(Duration d) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace postern::base

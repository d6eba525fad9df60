#include "postern/io/clock.h"

#include <ctime>

namespace postern::io {

base::WallTime wall_time() {
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    return base::WallTime(std::chrono::seconds(time.tv_sec) + base::Duration(time.tv_nsec));
}

base::Instant monotonic_time() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return base::Instant(std::chrono::seconds(time.tv_sec) + base::Duration(time.tv_nsec));
}

}  // namespace postern::io

#include "postern/io/clock.h"

#include <ctime>

namespace postern::io {

base::WallTime wall_time() {
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    return base::WallTime(std::chrono::seconds(time.tv_sec) + base::Duration(time.tv_nsec));
}

std::uint64_t monotonic_us() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}

}  // namespace postern::io

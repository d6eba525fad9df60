#pragma once

#include <atomic>
#include <csignal>

/// SIGTERM and SIGINT, for commands that end gracefully. The handler only stores; every thread
/// looks.
namespace postern::bench {

inline std::atomic<bool> stop_requested = false;
static_assert(
    std::atomic<bool>::is_always_lock_free, "a signal handler may only store without a lock");

inline void stop_on_signals() {
    struct sigaction action {};

    action.sa_handler = [](int) { stop_requested = true; };
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace postern::bench

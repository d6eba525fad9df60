#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

#include "postern/base/time.h"
#include "postern/log/buffer.h"
#include "postern/metrics/meters.h"
#include "postern/shard/worker.h"

namespace postern::app {

/// A worker as the watch sees it.
struct WorkerHealth {
    std::uint32_t worker = 0;
    std::uint64_t turns = 0;
    base::Duration still{};  // since its last turn, while work waited for it
    bool stalled = false;    // for longer than Watch::still_max
};

/// Watches the workers from the control thread: each is given a little work every second, and one
/// that does not turn for it stands still. It is logged with its stack, once, and shown in
/// /health. Made before the workers' threads, destroyed behind them.
class Watch {
   public:
    static constexpr base::Duration interval = std::chrono::seconds(1);  // between two ticks
    static constexpr base::Duration still_max = std::chrono::seconds(5);

    /// `lines`: the control thread's. Both outlive it. From now on a failed assertion prints the
    /// last events of the worker it failed in.
    Watch(metrics::Registry& registry, log::Buffer& lines);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// The calling thread is that worker's. Before `add`.
    void begin_worker(std::uint32_t number);

    // --- the control thread ---
    /// The worker serves, until `tick` is called for the last time.
    void add(std::uint32_t number, shard::Worker& worker);
    /// Every `interval`.
    void tick();
    /// SIGUSR1: each worker's state and last events, to `out`.
    void print(std::FILE* out) const;

    /// Any thread.
    std::vector<WorkerHealth> health() const;
    /// What is nearly used up, by metrics::resource_names.
    std::vector<std::string> pressure() const;

   private:
    struct Watched {
        shard::Worker* worker = nullptr;
        pthread_t thread{};
        std::uint64_t turns = 0;                 // when last looked at
        std::atomic<std::int64_t> turned_ns{0};  // since when they have been these
        std::atomic<std::int64_t> looked_ns{0};
        std::atomic<bool> stalled{false};
        std::uint64_t overflows = 0;
    };

    void look(Watched& watched, std::uint32_t number, base::Instant now);

    metrics::Registry& registry_;
    log::Buffer& lines_;
    std::deque<Watched> watched_;  // by worker
};

}  // namespace postern::app

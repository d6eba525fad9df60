#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/io/ring.h"
#include "postern/shard/memory.h"
#include "postern/shard/snapshot.h"

namespace postern::log {
class Buffer;
}

/// One core's worker: owns a ring and one of each corridor, and hands values between them. Made,
/// run and destroyed on its own thread; the control thread reaches it through `request_*` alone.
namespace postern::shard {

struct Common;  // what all workers know: common.h

struct WorkerSettings {
    std::uint32_t index = 0;
    WorkerBounds bounds;
    std::vector<int>
        listeners;  // descriptors, in the order of the configuration's listeners; taken over
};

class Worker {
   public:
    /// `snapshot`, `common` and `lines` outlive the worker.
    static base::Result<std::unique_ptr<Worker>> create(
        const WorkerSettings& settings,
        const Snapshot& snapshot,
        Common& common,
        log::Buffer& lines);
    ~Worker();

    /// Serves until a shutdown that was requested is done.
    void run();

    /// Any thread, once: the graceful end of product.md, section 2, timeouts.shutdown_grace.
    void request_shutdown();
    /// Any thread, as long as it runs: it turns at least once more, and brings the numbers that it
    /// does not count as it goes (memory) up to date.
    void request_pulse();

   private:
    class Implementation;
    explicit Worker(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::shard

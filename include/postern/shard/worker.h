#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/io/ring.h"
#include "postern/shard/memory.h"
#include "postern/shard/queue_view.h"
#include "postern/shard/resolved.h"
#include "postern/shard/snapshot.h"

namespace postern::log {
class Buffer;
}

/// One core's worker: owns a ring and one of each corridor, and hands values between them. Made,
/// run and destroyed on its own thread; the control thread reaches it through `request_*` alone.
namespace postern::shard {

struct Common;  // what all workers know: common.h

/// A listening socket of one worker's own.
struct OpenedListener {
    std::uint32_t number = 0;  // in Snapshot::listeners
    int descriptor = -1;       // taken over
};

struct WorkerSettings {
    std::uint32_t index = 0;
    WorkerBounds bounds;
    std::vector<OpenedListener> listeners;  // all of the first snapshot's
    /// A body that takes twice as much of memory goes to the spool as it arrives, in such pieces.
    std::uint64_t piece_octets = 1 << 20;
};

/// What a worker tells the control thread. Called on the worker's thread, between two completions;
/// must not wait.
class Control {
   public:
    /// The snapshot is the one in force on this worker.
    virtual void taken(const Snapshot& snapshot) = 0;
    /// This worker looks at the snapshot no more. Once, and never before a later one was taken.
    virtual void done(const Snapshot& snapshot) = 0;

   protected:
    ~Control() = default;
};

class Worker {
   public:
    /// `snapshot`, `common`, `control` and `lines` outlive the worker; `snapshot` at least until it
    /// is done with it.
    static base::Result<std::unique_ptr<Worker>> create(
        const WorkerSettings& settings,
        const Snapshot& snapshot,
        Common& common,
        Control& control,
        log::Buffer& lines);
    ~Worker();

    /// Serves until a shutdown that was requested is done.
    void run();

    /// The control thread, before request_shutdown: transactions that begin from now on go by
    /// `snapshot`. `opened`: this worker's socket of each listener that it has and the one before
    /// did not have.
    void publish(const Snapshot& snapshot, std::vector<OpenedListener> opened);

    /// Any thread, before request_shutdown: what the names of a pool of Snapshot::pool_identities
    /// stand for from now on. Nothing, where no pool in force is that one.
    void set_hosts(std::uint64_t pool_identity, PoolAddresses addresses);

    /// Any thread, before request_shutdown: looks at the mail that waits here, or changes it, a
    /// bounded piece in one turn; `answered` is called on the worker's thread.
    void request_queue(QueueAsk ask, std::function<void(QueueAnswer)> answered);

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

#pragma once

#include <cstdint>
#include <functional>

#include "admin.h"
#include "postern/base/time.h"
#include "queue_request.h"

/// What the admin server's requests for the queue are answered with: each worker is asked for its
/// part, a bounded piece at a time.
namespace postern::app {

/// Has a worker answer; `done` is called on its thread. False: it does not, for it is not there yet
/// or not any more.
using AskWorker = std::function<bool(
    std::uint32_t worker, shard::QueueAsk ask, std::function<void(shard::QueueAnswer)> done)>;

struct QueuePatience {
    /// One answer takes no longer, but for the last piece of it.
    base::Duration answer = std::chrono::seconds(2);
    /// A worker that gives none for so long stands still; the others' messages are shown.
    base::Duration worker = std::chrono::seconds(2);
};

/// When the oldest message of all arrived, as far as workers say so within a second; nullopt: there
/// is none. Any thread; blocks.
std::optional<std::int64_t> oldest_arrival_ms(std::uint32_t workers, const AskWorker& ask);

/// While the spool is still being read, with so many messages so far: what is asked for or changed
/// would be a part, and look like all.
AdminAnswer answer_queue_unread(std::uint64_t messages);

/// GET /queue: the messages of all workers that are meant, by ID, up to a bound, and where to go
/// on. Any thread; blocks.
AdminAnswer answer_queue_list(
    std::uint32_t workers,
    const AskWorker& ask,
    const QueueParameters& parameters,
    const QueuePatience& patience = {});

/// POST /queue/CHANGE: changes what is meant, a bounded number, and says where to go on.
AdminAnswer answer_queue_change(
    std::uint32_t workers,
    const AskWorker& ask,
    shard::QueueChange change,
    const QueueParameters& parameters,
    const QueuePatience& patience = {});

}  // namespace postern::app

#pragma once

#include <string_view>

#include "postern/shard/queue_view.h"

/// Answers what people ask of a worker's queue, a bounded piece a turn.
namespace postern::shard {

/// A queue, as it is looked at and changed from here. One worker's.
class ManagedQueue {
   public:
    /// The first message that is kept whose ID is not below; nullptr: none.
    virtual spool::Kept* at_or_after(const journal::Id& id) = 0;
    /// Of the pool that this recipient waits for by the rules in force; empty: there is none.
    virtual std::string_view pool_of(const spool::Kept& kept, std::uint32_t recipient) = 0;

    /// Tried as soon as its pool allows it.
    virtual void retry(spool::Kept& kept) = 0;
    virtual void hold(spool::Kept& kept, bool held) = 0;
    /// The message may be gone when this returns.
    virtual void remove(spool::Kept& kept, bool notify) = 0;

   protected:
    ~ManagedQueue() = default;
};

/// Looks at, or changes, what the filter means from QueueAsk::from on. Left out are: of `retry`,
/// messages that are held; of `remove`, messages that also wait for a recipient whom the filter's
/// domain or pool does not mean, for a message goes as a whole; of the others, those that are so
/// already.
QueueAnswer ask_queue(ManagedQueue& queue, const QueueAsk& ask);

}  // namespace postern::shard

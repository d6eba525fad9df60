#pragma once

#include <cstdint>

#include "postern/base/block.h"
#include "postern/base/object_pool.h"
#include "postern/base/time.h"
#include "postern/mail/submission.h"
#include "postern/shard/memory.h"
#include "postern/shard/message_id.h"

namespace postern::shard {

/// A worker's messages on their way, and the blocks that they grow by. The worker's thread.
class Submissions {
   public:
    Submissions(const WorkerBounds& bounds, std::uint64_t nonce);

    /// A new one, with its id and its client, whose texts are copied: the sender may be gone when
    /// the log wants to know who it was. nullptr: memory is short.
    mail::Submission* make(const mail::Client& client, base::WallTime now);

    /// The same message for some of its recipients, which are still to be added. The whole one
    /// outlives it. nullptr: memory is short.
    mail::Submission* make_part(const mail::Submission& whole);

    /// An ID for a message of our own; returns its length.
    std::uint8_t next_id(base::WallTime now, std::array<char, 32>& into) {
        return ids_.next(now, into);
    }

    void destroy(mail::Submission& submission) { submissions_.destroy(&submission); }

    std::uint32_t used() const { return submissions_.used(); }

    /// Octets of memory that envelopes hold now.
    std::uint64_t envelope_octets() const { return submissions_.held_octets() + arena.mapped(); }

    base::BlockPool arena;  // of envelopes
    base::BlockPool tail;   // of bodies, as is `chain`
    base::BlockPool chain;

   private:
    base::ObjectPool<mail::Submission> submissions_;
    std::uint32_t parts_below_;  // while so many are used, parts are made: new messages come first
    MessageIds ids_;
};

}  // namespace postern::shard

#pragma once

#include "postern/inbound/inbound.h"
#include "postern/io/ring.h"
#include "postern/shard/common.h"
#include "tally.h"

namespace postern::shard {

/// What a worker, or all of them together, is nearly out of: an eighth is left, or less. Then
/// senders are waited for less long (inbound), and where it is buffers, no new one comes in. Each
/// second, and where it must be known at once.
class Pressure {
   public:
    Pressure(
        const Common& common,
        io::Ring& ring,
        const inbound::Inbound& inbound,
        const base::BlockPool& envelopes)
        : common_(common), ring_(ring), inbound_(inbound), envelopes_(envelopes) {}

    bool connections() const;
    bool body_memory() const;
    /// Then no envelope grows any more, so that there is room for many small ones.
    bool envelopes() const;
    /// For commands, parts of them, and answers.
    bool buffers() const;

    /// Looks at all of them and shows what it finds. True: there is any.
    bool look(metrics::Series& own) const;

   private:
    const Common& common_;
    io::Ring& ring_;
    const inbound::Inbound& inbound_;
    const base::BlockPool& envelopes_;
};

}  // namespace postern::shard

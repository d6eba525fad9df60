#pragma once

#include <cstdint>
#include <vector>

#include "bench/load/ledger.h"
#include "bench/load/messages.h"
#include "bench/load/sender.h"

/// Compares what a load sent, and was told became of it, with what sinks received. Pure.
namespace postern::bench {

struct SentLog {
    struct Fate {
        std::uint64_t number;
        Sender::Verdict verdict;
    };

    struct Refused {
        std::uint64_t number;
        unsigned index;
    };

    std::vector<Fate> fates;
    std::vector<Refused> refused;  // single recipients of messages
    void add(const SentLog& other);
};

/// Counts copies: a message to three recipients is three. A message that reaches somebody else
/// instead of a recipient is misrouted and not lost as well.
struct Comparison {
    std::uint64_t expected = 0;        // accepted
    std::uint64_t delivered = 0;       // of these
    std::uint64_t lost = 0;            // accepted, and no sink has it
    std::uint64_t duplicate = 0;       // copies past the first
    std::uint64_t header_changed = 0;  // messages, as are the next two
    std::uint64_t body_changed = 0;
    std::uint64_t unexpected = 0;         // never sent by this run
    std::uint64_t wrong_recipient = 0;    // for somebody the message was not for
    std::uint64_t refused_delivered = 0;  // refused, and a sink has it all the same
    std::uint64_t unknown_delivered = 0;  // no answer came, and a sink has it: allowed
    std::uint64_t unanswered =
        0;  // messages that a sink took without an answer: counts for nothing else

    /// Of each message with copies past the first: when it was taken, in milliseconds of UTC, the
    /// first time first; of at most repeats_max messages.
    std::vector<std::vector<std::uint64_t>> repeats;
    static constexpr std::size_t repeats_max = 100'000;

    bool good() const {
        return lost + duplicate + header_changed + body_changed + unexpected + wrong_recipient +
                   refused_delivered ==
               0;
    }
};

Comparison compare(
    const SentLog& sent, const RecipientPlan& plan, const std::vector<Delivery>& deliveries);

}  // namespace postern::bench

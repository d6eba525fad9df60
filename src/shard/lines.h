#pragma once

#include <array>
#include <string_view>

#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/log/buffer.h"
#include "postern/log/refusals.h"
#include "postern/mail/submission.h"
#include "postern/route/table.h"
#include "postern/spool/kept.h"

namespace postern::shard {

using PlaceText = std::array<char, 512>;

/// "FILE:LINE" of a rule, in `memory`.
std::string_view place_of(const route::RuleText& rule, PlaceText& memory);

/// One worker's log lines: one for each message, one for each refusal (those of a client past ten a
/// second are summed up), one for each trouble with a smart host.
class Lines {
   public:
    Lines(log::Buffer& buffer, io::Ring& ring, io::Timers& timers);

    /// `answer`: what the sender was told. A recipient that the host refused while others have it,
    /// or of a message that is kept, has a line of its own.
    void message(
        std::string_view listener,
        const mail::Submission& submission,
        std::string_view pool,
        const mail::Outcome& outcome,
        const mail::Reply& answer);
    /// A sender's message goes to the spool, or could not: `why` its smart host does not have it.
    void kept(
        std::string_view event,
        std::string_view listener,
        const mail::Submission& submission,
        std::string_view pool,
        const mail::Reply& why);
    /// Something happens to one that is in the spool.
    void kept(std::string_view event, const spool::Kept& kept, std::string_view why);
    /// `client_key`: its address, hashed with the process's key. `rule`: the place of the one that
    /// refused a recipient, or empty. `generation`: that answered.
    void refused(
        std::string_view listener,
        std::string_view rule,
        std::uint64_t generation,
        std::uint64_t client_key,
        const mail::Client& client,
        const mail::Submission* submission,
        std::string_view verb,
        std::string_view address,
        const mail::Reply& answer);
    /// Nobody could be asked about a recipient of the pool.
    void unverified(std::string_view pool, std::string_view why);
    void trouble(std::string_view pool, std::string_view host, std::string_view what);

   private:
    struct SummaryTimer final : io::Timer {
        SummaryTimer(Function on_due, Lines& owner) : Timer(on_due), lines(owner) {}

        Lines& lines;
    };

    void sum_up();

    log::Buffer& buffer_;
    io::Ring& ring_;
    io::Timers& timers_;
    log::RefusalMeter meter_;
    SummaryTimer summary_timer_;
};

}  // namespace postern::shard

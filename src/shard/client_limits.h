#pragma once

#include <cstdint>

#include "postern/config/config.h"
#include "postern/mail/reply.h"
#include "postern/mail/submission.h"
#include "postern/shard/common.h"
#include "tally.h"

namespace postern::shard {

/// What [limits] lets one client, and all of them together, do: connections at a time, and the
/// rates of a minute. An answer with code 0 is a yes; any other is counted as that limit's. Who is
/// exempt (mail::Client) is asked for nothing but the connections of all. One worker's thread; the
/// numbers are all workers'.
class ClientLimits {
   public:
    ClientLimits(Common& common, Tally& tally) : common_(common), tally_(tally) {}

    /// A connection, whose client's key, network and exempt are set. `of_listener`: its listener's
    /// number of them. What is admitted is given back with `left`.
    mail::Reply arrived(
        mail::Client& client,
        const config::Limits& limits,
        shared::Gauge& of_listener,
        base::Instant now);
    void left(const mail::Client& client, shared::Gauge& of_listener);
    /// One that was admitted is another client from now on, by a proxy's word or XCLIENT's: its
    /// key, network and exempt are set anew, `before` was its key. Its connection counts as the new
    /// one's, if as anybody's; where that has too many it goes on counting as before.
    mail::Reply moved(
        mail::Client& client,
        std::uint64_t before,
        const config::Limits& limits,
        base::Instant now);

    /// A MAIL, with the size that it declares, or 0.
    mail::Reply message(
        const mail::Client& client,
        const config::Limits& limits,
        std::uint64_t size_declared,
        base::Instant now);
    /// A RCPT, before anybody looks whether there is such a recipient.
    mail::Reply recipient(
        const mail::Client& client, const config::Limits& limits, base::Instant now);
    /// A command was answered so, by the session or the world.
    void refused(
        const mail::Client& client,
        const config::Limits& limits,
        std::string_view verb,
        const mail::Reply& reply,
        base::Instant now);
    /// So many octets of a body more. False: too many.
    bool octets(
        const mail::Client& client,
        const config::Limits& limits,
        std::uint64_t count,
        base::Instant now);

   private:
    mail::Reply reached(const mail::Client& client, metrics::Limit limit, const mail::Reply& reply);

    /// `bound` 0: none, which is the default: then this is all that a rate costs.
    bool within(
        const mail::Client& client,
        shared::RateTable::Kind kind,
        std::uint64_t amount,
        std::uint64_t bound,
        base::Instant now) {
        return bound == 0 || client.exempt ||
               common_.rates.add(client.key, kind, amount, bound, now);
    }

    Common& common_;
    Tally& tally_;
};

}  // namespace postern::shard

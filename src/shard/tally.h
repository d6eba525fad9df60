#pragma once

#include <string_view>
#include <vector>

#include "postern/inbound/inbound.h"
#include "postern/io/ring.h"
#include "postern/mail/submission.h"
#include "postern/metrics/meters.h"

namespace postern::shard {

/// What happens on a worker, told once and in one place: it is counted, stands in the flight
/// recorder, and is a probe (USDT, where the build has <sys/sdt.h>) for tracers to hang on:
/// `postern:connected` and so on, with the arguments named below. The worker's thread.
class Tally {
   public:
    Tally(metrics::Meters& meters, const io::Ring& ring) : meters_(meters), ring_(ring) {}

    /// Connections of inbound's listener `number` count under that name.
    void add_listener(std::uint32_t number, std::string_view name);

    // --- each a probe: listener ---
    void connected(const mail::Client& client);
    void left(const mail::Client& client);
    // --- a probe: listener, outcome ---
    void handshake(const mail::Client& client, inbound::Handshake outcome);
    // --- each a probe: id, octets of the body so far; settled: id, code ---
    void began(const mail::Submission& submission);
    void submitted(const mail::Submission& submission);
    void abandoned(const mail::Submission& submission);
    void settled(const mail::Submission& submission, const mail::Reply& answer);
    // --- a probe: listener, code ---
    void refused(const mail::Client& client, std::string_view verb, const mail::Reply& reply);
    // --- a probe: listener, code ---
    void told_login(const mail::Client& client, const mail::Reply& reply);
    void noticed(const mail::Client& client, inbound::World::Notice notice);
    /// One of [limits] was the reason for a refusal, or for an end.
    void limit_reached(const mail::Client& client, metrics::Limit limit);
    // --- a probe: pool, host, both as pointer and length ---
    void trouble(std::string_view pool, std::string_view host);
    // --- a probe, without arguments ---
    void stopping();

    /// A recipient was looked up; it began at `since`, by io::monotonic_time.
    void routed(base::Instant since);
    /// Behind each turn of the ring.
    void turned();

    metrics::Series& own() { return meters_.own(); }

   private:
    metrics::Series& listener(const mail::Client& client) { return *listeners_[client.listener]; }

    metrics::Meters& meters_;
    const io::Ring& ring_;
    std::vector<metrics::Series*> listeners_;  // by inbound's number
};

}  // namespace postern::shard

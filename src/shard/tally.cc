#include "tally.h"

#include "postern/io/clock.h"

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#else  // tracers are a convenience: without the header there are no probes
#define DTRACE_PROBE(provider, name)
#define DTRACE_PROBE1(provider, name, a)
#define DTRACE_PROBE2(provider, name, a, b)
#define DTRACE_PROBE4(provider, name, a, b, c, d)
#endif

namespace postern::shard {
namespace {

using metrics::Event;
using metrics::Metric;
using metrics::Phase;
using metrics::ReplyClass;

ReplyClass class_of(const mail::Reply& reply) {
    return reply.positive()    ? ReplyClass::positive
           : reply.temporary() ? ReplyClass::temporary
           : reply.permanent() ? ReplyClass::permanent
                               : ReplyClass::none;
}

}  // namespace

void Tally::add_listener(std::uint32_t number, std::string_view name) {
    if (listeners_.size() <= number) {
        listeners_.resize(number + 1);
    }
    listeners_[number] = &meters_.listener(name);
}

void Tally::connected(const mail::Client& client) {
    DTRACE_PROBE1(postern, connected, client.listener);
    listener(client).count<Metric::listener_connections>();
    listener(client).count<Metric::listener_connections_open>();
    meters_.recorder.note(ring_.now(), Event::connected, client.listener, client.address);
}

void Tally::left(const mail::Client& client) {
    DTRACE_PROBE1(postern, left, client.listener);
    listener(client).add<Metric::listener_connections_open>(-1);
    meters_.recorder.note(ring_.now(), Event::left, client.listener, client.address);
}

void Tally::handshake(const mail::Client& client, inbound::Handshake outcome) {
    DTRACE_PROBE2(postern, handshake, client.listener, outcome);
    static_assert(
        static_cast<int>(inbound::Handshake::failed) ==
        static_cast<int>(metrics::Handshake::failed));
    listener(client).count<Metric::listener_handshakes>(static_cast<metrics::Handshake>(outcome));
    if (client.tls_version != nullptr) {
        const bool is_1_3 = std::string_view(client.tls_version) == "TLSv1.3";
        listener(client).count<Metric::listener_tls_versions>(
            is_1_3 ? metrics::TlsVersion::v1_3 : metrics::TlsVersion::v1_2);
    }
}

void Tally::began(const mail::Submission& submission) {
    DTRACE_PROBE2(postern, began, submission.id_text.data(), submission.content_size());
    meters_.recorder.note(ring_.now(), Event::began, 0, submission.id());
}

void Tally::submitted(const mail::Submission& submission) {
    const std::uint64_t octets = submission.content_size();
    DTRACE_PROBE2(postern, submitted, submission.id_text.data(), octets);
    listener(submission.client).add<Metric::listener_bytes>(static_cast<std::int64_t>(octets));
    meters_.recorder.note(ring_.now(), Event::submitted, octets, submission.id());
}

void Tally::abandoned(const mail::Submission& submission) {
    DTRACE_PROBE2(postern, abandoned, submission.id_text.data(), submission.content_size());
    meters_.recorder.note(ring_.now(), Event::abandoned, 0, submission.id());
}

void Tally::settled(const mail::Submission& submission, const mail::Reply& answer) {
    DTRACE_PROBE2(postern, settled, submission.id_text.data(), answer.code);
    listener(submission.client).count<Metric::listener_messages>(class_of(answer));
    const base::Instant now = ring_.now();
    own().observe<Metric::phase>(submission.body_began - submission.began, Phase::command);
    own().observe<Metric::phase>(submission.completed - submission.body_began, Phase::body);
    if (submission.handed_over != base::Instant{}) {
        own().observe<Metric::phase>(submission.handed_over - submission.completed, Phase::wait);
        own().observe<Metric::phase>(now - submission.handed_over, Phase::answer);
    }
    meters_.recorder.note(now, Event::settled, answer.code, submission.id());
}

void Tally::refused(const mail::Client& client, std::string_view verb, const mail::Reply& reply) {
    DTRACE_PROBE2(postern, refused, client.listener, reply.code);
    listener(client).count<Metric::listener_refusals>(class_of(reply));
    meters_.recorder.note(ring_.now(), Event::refused, reply.code, verb);
}

void Tally::told_login(const mail::Client& client, const mail::Reply& reply) {
    DTRACE_PROBE2(postern, told_login, client.listener, reply.code);
    listener(client).count<Metric::listener_logins>(class_of(reply));
}

void Tally::noticed(const mail::Client& client, inbound::World::Notice notice) {
    switch (notice) {
        case inbound::World::Notice::health_check:
            listener(client).count<Metric::listener_health_checks>();
            break;
        case inbound::World::Notice::bad_proxy_header:
            listener(client).count<Metric::listener_bad_proxy_headers>();
            break;
        case inbound::World::Notice::early_talker:
            listener(client).count<Metric::listener_early_talkers>();
            break;
        case inbound::World::Notice::hostile_end:
            limit_reached(client, metrics::Limit::errors);
            break;
    }
}

void Tally::limit_reached(const mail::Client& client, metrics::Limit limit) {
    listener(client).count<Metric::listener_limits>(limit);
}

void Tally::trouble([[maybe_unused]] std::string_view pool, std::string_view host) {
    DTRACE_PROBE4(postern, trouble, pool.data(), pool.size(), host.data(), host.size());
    meters_.recorder.note(ring_.now(), Event::trouble, 0, host);
}

void Tally::stopping() {
    DTRACE_PROBE(postern, stopping);
    meters_.recorder.note(ring_.now(), Event::stopping, 0, "");
}

void Tally::routed(base::Instant since) {
    own().observe<Metric::phase>(io::monotonic_time() - since, Phase::routing);
}

void Tally::turned() {
    const io::Ring::Counters& counters = ring_.counters();
    own().set<Metric::turns>(counters.turns);
    own().set<Metric::enters>(counters.enters);
    own().set<Metric::completions>(counters.completions);
    own().set<Metric::buffer_waits>(counters.buffers_exhausted);
    own().set<Metric::completion_overflows>(counters.completion_overflows);
}

}  // namespace postern::shard

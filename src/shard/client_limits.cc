#include "client_limits.h"

#include <algorithm>
#include <limits>

#include "postern/smtp/answer.h"

namespace postern::shard {
namespace {

using Kind = shared::RateTable::Kind;
using metrics::Limit;

constexpr std::uint64_t no_bound = std::numeric_limits<std::uint64_t>::max();

// Text that a client may not read as "for ever": all of it is temporary.
constexpr mail::Reply connections_of_all{421, {4, 7, 0}, "too many connections, try again later"};
constexpr mail::Reply connections_of_client{
    421, {4, 7, 0}, "too many connections from your address, try again later"};
constexpr mail::Reply connections_in_minute{
    421, {4, 7, 0}, "too many connections from your address in a minute, try again later"};
constexpr mail::Reply messages_in_minute{
    450, {4, 7, 1}, "too many messages from your address in a minute, try again later"};
constexpr mail::Reply recipients_in_minute{
    450, {4, 7, 1}, "too many recipients from your address in a minute, try again later"};
constexpr mail::Reply refused_in_minute{
    450, {4, 7, 1}, "too many wrong recipients from your address in a minute, try again later"};

constexpr std::uint16_t bad_sequence = 503;

}  // namespace

mail::Reply ClientLimits::arrived(
    mail::Client& client,
    const config::Limits& limits,
    shared::Gauge& of_listener,
    base::Instant now) {
    if (!common_.connections.add(common_.connections_max)) {
        return reached(client, Limit::connections, connections_of_all);
    }
    if (!of_listener.add(limits.connections)) {
        common_.connections.remove();
        return reached(client, Limit::connections, connections_of_all);
    }
    client.counted = limits.connections_per_client != 0 && !client.exempt;
    if (client.counted && !common_.clients.add(client.key, 1, limits.connections_per_client)) {
        of_listener.remove();
        common_.connections.remove();
        return reached(client, Limit::connections_per_client, connections_of_client);
    }
    // Last, for what another limit refuses is not counted.
    if (!within(client, Kind::connections, 1, limits.connection_rate, now)) {
        left(client, of_listener);
        return reached(client, Limit::connection_rate, connections_in_minute);
    }
    return {};
}

void ClientLimits::left(const mail::Client& client, shared::Gauge& of_listener) {
    if (client.counted) {
        common_.clients.remove(client.key, 1);
    }
    of_listener.remove();
    common_.connections.remove();
}

mail::Reply ClientLimits::moved(
    mail::Client& client, std::uint64_t before, const config::Limits& limits, base::Instant now) {
    const bool same = client.key == before;
    const bool counts = limits.connections_per_client != 0 && !client.exempt;
    const bool stays = client.counted && counts && same;
    const bool comes = counts && !stays;
    if (comes && !common_.clients.add(client.key, 1, limits.connections_per_client)) {
        return reached(client, Limit::connections_per_client, connections_of_client);
    }
    if (!same && !within(client, Kind::connections, 1, limits.connection_rate, now)) {
        if (comes) {
            common_.clients.remove(client.key, 1);
        }
        return reached(client, Limit::connection_rate, connections_in_minute);
    }
    if (client.counted && !stays) {
        common_.clients.remove(before, 1);
    }
    client.counted = counts;
    return {};
}

mail::Reply ClientLimits::message(
    const mail::Client& client,
    const config::Limits& limits,
    std::uint64_t size_declared,
    base::Instant now) {
    if (limits.byte_rate.octets != 0 && !client.exempt &&
        !common_.rates.would_fit(
            client.key,
            Kind::octets,
            std::max<std::uint64_t>(size_declared, 1),
            limits.byte_rate.octets,
            now)) {
        return reached(
            client, Limit::byte_rate, smtp::answer_row(smtp::Answer::too_many_octets).reply);
    }
    if (!within(client, Kind::messages, 1, limits.message_rate, now)) {
        return reached(client, Limit::message_rate, messages_in_minute);
    }
    return {};
}

mail::Reply ClientLimits::recipient(
    const mail::Client& client, const config::Limits& limits, base::Instant now) {
    if (limits.refused_rate != 0 && !client.exempt &&
        !common_.rates.would_fit(client.key, Kind::refused, 1, limits.refused_rate, now)) {
        return reached(client, Limit::refused_rate, refused_in_minute);
    }
    if (!within(client, Kind::recipients, 1, limits.recipient_rate, now)) {
        return reached(client, Limit::recipient_rate, recipients_in_minute);
    }
    return {};
}

/// A 4xx is no verdict about a recipient, and what a pipeline sends behind a refused MAIL says
/// nothing of one.
void ClientLimits::refused(
    const mail::Client& client,
    const config::Limits& limits,
    std::string_view verb,
    const mail::Reply& reply,
    base::Instant now) {
    if (limits.refused_rate != 0 && verb == "RCPT" && reply.permanent() &&
        reply.code != bad_sequence) {
        // Counted past the bound too: a pipeline may hold more than one.
        (void)within(client, Kind::refused, 1, no_bound, now);
    }
}

bool ClientLimits::octets(
    const mail::Client& client,
    const config::Limits& limits,
    std::uint64_t count,
    base::Instant now) {
    if (within(client, Kind::octets, count, limits.byte_rate.octets, now)) {
        return true;
    }
    tally_.limit_reached(client, Limit::byte_rate);
    return false;
}

mail::Reply ClientLimits::reached(
    const mail::Client& client, Limit limit, const mail::Reply& reply) {
    tally_.limit_reached(client, limit);
    return reply;
}

}  // namespace postern::shard

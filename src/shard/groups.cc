#include "groups.h"

#include "postern/shard/sync.h"

namespace postern::shard {

using Kind = mail::Outcome::Kind;

void Said::remember(const mail::Outcome& outcome) {
    has_outcome = true;
    kind = outcome.kind;
    host_has_dsn = outcome.host_has_dsn;
    provoked = outcome.provoked;
    text = outcome.reply.text;
    reply = outcome.reply;
    reply.text = text;
    host = outcome.host;
}

mail::Outcome Said::outcome() const {
    mail::Outcome outcome;
    outcome.kind = kind;
    outcome.reply = reply;
    outcome.host = host;
    outcome.host_has_dsn = host_has_dsn;
    outcome.provoked = provoked;
    return outcome;
}

mail::Reply answer_about(const Group& group, const mail::Recipient& recipient) {
    const mail::Reply& own = recipient.answer;
    if (!group.has_outcome) {
        return own;
    }
    switch (group.kind) {
        case Kind::divided:
            return own;
        case Kind::accepted:
        case Kind::refused:
            return own.code >= 400 ? own : group.reply;
        case Kind::unknown:
            return own.code >= 400 ? own : sync_answer(group.kind);
        case Kind::unreachable:
        case Kind::unresolved:
        case Kind::busy:
        case Kind::too_many:
        case Kind::untrusted:
        case Kind::dropped:
            break;
    }
    return sync_answer(group.kind);
}

Sum sum_of(const Grouped& message) {
    Sum all;
    bool telling_permanent = true;
    for (const Group& group : message.groups) {
        const bool silent = group.has_outcome && group.kind != Kind::accepted &&
                            group.kind != Kind::refused && group.kind != Kind::divided;
        all.trouble = all.trouble || silent;
        for (const mail::Recipient* r = group.submission->envelope.first_recipient; r != nullptr;
             r = r->next) {
            const mail::Reply answer = answer_about(group, *r);
            if (answer.code < 400) {
                ++all.accepted;
                continue;
            }
            ++(answer.permanent() ? all.permanent : all.temporary);
            all.unknown += silent && group.kind == Kind::unknown && r->answer.code < 400 ? 1 : 0;
            if (all.of == nullptr || (telling_permanent && !answer.permanent())) {
                all.telling = answer;
                all.of = &group;
                telling_permanent = answer.permanent();
            }
        }
    }
    return all;
}

bool may_go(const Sum& sum, bool trusted, bool keeps) {
    return !sum.divided() || (keeps && (trusted || sum.permanent == 0));
}

namespace {

bool has_domain(const mail::Envelope& envelope, std::uint32_t pool, std::string_view domain_key) {
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        if (r->pool == pool && r->domain_key == domain_key) {
            return true;
        }
    }
    return false;
}

auto for_pool(std::uint32_t pool) {
    return [pool](const mail::Recipient& one) { return one.pool == pool; };
}

}  // namespace

bool takes_one_more(
    const mail::Envelope& envelope,
    std::uint32_t pool,
    std::string_view domain_key,
    const relay::TransactionMax& most) {
    return envelope.recipient_count < most.recipients &&
           (most.domains == 0 || has_domain(envelope, pool, domain_key) ||
            envelope.count_domains(most.domains, for_pool(pool)) < most.domains);
}

std::uint32_t transactions_to(
    const mail::Envelope& envelope,
    std::uint32_t pool,
    std::string_view domain_key,
    const relay::TransactionMax& most) {
    const auto times = [](std::uint32_t all, std::uint32_t max) { return (all + max - 1) / max; };
    const auto is_its = for_pool(pool);
    std::uint32_t count = 1;
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        count += is_its(*r) ? 1 : 0;
    }
    const std::uint32_t by_count = times(count, most.recipients);
    if (most.domains == 0) {
        return by_count;
    }
    const std::uint32_t domains =
        envelope.count_domains(count, is_its) + (has_domain(envelope, pool, domain_key) ? 0 : 1);
    const std::uint32_t by_domains = times(domains, most.domains);
    if (by_count == 1 || by_domains == 1) {
        return std::max(by_count, by_domains);
    }
    // Some end since they are full, the others since a domain more would be too many.
    return by_count + by_domains;
}

}  // namespace postern::shard

#include "groups.h"

#include "postern/shard/sync.h"

namespace postern::shard {

using Kind = mail::Outcome::Kind;

void Said::remember(const mail::Outcome& outcome) {
    has_outcome = true;
    kind = outcome.kind;
    host_has_dsn = outcome.host_has_dsn;
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
        case Kind::unreachable:
        case Kind::unresolved:
        case Kind::busy:
        case Kind::untrusted:
        case Kind::unknown:
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
            all.unknown += silent && group.kind == Kind::unknown ? 1 : 0;
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

std::uint32_t transactions_to(
    const mail::Envelope& envelope, std::uint32_t pool, std::uint32_t most) {
    std::uint32_t count = 1;
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        count += r->pool == pool ? 1 : 0;
    }
    return (count + most - 1) / most;
}

}  // namespace postern::shard

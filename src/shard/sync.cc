#include "postern/shard/sync.h"

namespace postern::shard {

mail::Reply sync_answer(const mail::Outcome& outcome) {
    return sync_answer(outcome.kind, outcome.reply);
}

mail::Reply sync_answer(mail::Outcome::Kind kind, const mail::Reply& reply) {
    using Kind = mail::Outcome::Kind;
    switch (kind) {
        case Kind::accepted:
        case Kind::refused:
            return reply;
        case Kind::divided:
            return {451, {4, 3, 0}, "recipients were answered differently, try again"};
        case Kind::unreachable:
            return {451, {4, 4, 1}, "no smart host could be reached, try again later"};
        case Kind::unresolved:
            return {451, {4, 4, 3}, "the smart host's name could not be resolved, try again later"};
        case Kind::busy:
            return {451, {4, 4, 5}, "all smart hosts are busy, try again later"};
        case Kind::too_many:
            return {452, {4, 5, 3}, "too many recipients for the next host"};
        case Kind::untrusted:
            return {451, {4, 7, 4}, "no smart host could be reached over TLS, try again later"};
        case Kind::unknown:
            return {
                451,
                {4, 4, 2},
                "the smart host did not answer, the message may have been delivered"};
        case Kind::dropped:
            return {421, {4, 4, 2}, "you had gone before the message was handed over"};
    }
    POSTERN_ASSERT(false, "an outcome of no kind");
    return {};
}

}  // namespace postern::shard

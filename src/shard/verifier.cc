#include "verifier.h"

#include <algorithm>

#include "postern/mail/local_part.h"
#include "postern/shard/memory.h"

namespace postern::shard {
namespace {

using namespace std::chrono_literals;
using metrics::Metric;

constexpr mail::Reply unknown_recipient{
    450, {4, 1, 1}, "whether this recipient exists can not be asked now, try again later"};
constexpr std::string_view budget_spent = "the budget of questions is spent";

/// Another worker's question is taken for lost when it is so much over its time.
constexpr base::Duration lost_after = 1s;
/// The log tells of a pool's unanswered questions at most so often.
constexpr base::Duration told_each = 1min;

/// An answer to RCPT that is about the mailbox, and so holds for everybody who names it.
bool says_absent(const mail::Reply& reply) {
    const mail::EnhancedCode& code = reply.enhanced;
    return reply.permanent() &&
           (code == mail::EnhancedCode{5, 1, 1} || code == mail::EnhancedCode{5, 1, 10} ||
            code == mail::EnhancedCode{5, 2, 1});
}

/// "550 no such user" of a host without enhanced codes. Only where a question was answered so:
/// nothing but the recipient was there to be refused.
bool says_absent_without_code(const mail::Reply& reply) {
    return reply.code == 550 && reply.enhanced == mail::EnhancedCode{5, 0, 0};
}

std::string_view why_not(mail::Outcome::Kind kind) {
    using Kind = mail::Outcome::Kind;
    switch (kind) {
        case Kind::unresolved:
            return "the names of its hosts have no address";
        case Kind::busy:
            return "all of its hosts are busy";
        case Kind::untrusted:
            return "none of its hosts could be asked over TLS";
        case Kind::accepted:
        case Kind::refused:
        case Kind::divided:
        case Kind::too_many:
        case Kind::unreachable:
        case Kind::unknown:
        case Kind::dropped:
            break;
    }
    return "none of its hosts could be asked in time";
}

}  // namespace

/// A recipient that a host is asked about, by us or by another worker. As a submission it has no
/// body, and no sender.
struct Verifier::Question final : mail::Submission, base::ListLink<Verifier::Open>, io::Timer {
    Question(Verifier& owner, const Pools& memory)
        : mail::Submission(memory.arena, memory.tail, memory.chain),
          io::Timer([](io::Timer& self) {
              auto& due = static_cast<Question&>(self);
              due.verifier.look_again(due);
          }),
          verifier(owner) {
        is_question = true;
    }

    using mail::Submission::deadline;

    base::ListLink<Open>& link() { return *this; }

    Verifier& verifier;
    base::Hash128 identity;
    mail::Recipient recipient;
    base::List<mail::Submission, mail::Asking> askers;
};

Verifier::Verifier(
    Common& common,
    io::Ring& ring,
    io::Timers& timers,
    relay::Relay& relay,
    Lines& lines,
    metrics::Series& own,
    const Pools& pools,
    Tell tell,
    const VerifyRules& rules)
    : common_(common),
      ring_(ring),
      timers_(timers),
      relay_(relay),
      lines_(lines),
      own_(own),
      memory_(pools),
      tell_(std::move(tell)),
      rules_(rules),
      questions_(rules.questions_max) {}

// What others ask may still be waited for, by nobody any more.
Verifier::~Verifier() {
    for (base::List<Question, Open>& chain : chains_) {
        while (Question* const question = chain.front()) {
            destroy(*question);
        }
    }
}

void Verifier::take(const Snapshot& snapshot, const std::vector<std::uint32_t>& pools) {
    const std::vector<route::Target>& targets = snapshot.table->targets();
    for (std::size_t i = 0; i < pools.size(); ++i) {
        if (pools[i] == route::none) {
            continue;
        }
        pools_.resize(std::max<std::size_t>(pools_.size(), pools[i] + 1));
        Pool& pool = pools_[pools[i]];
        pool = {};
        if (i >= targets.size() || targets[i].kind != route::TargetKind::pool) {
            continue;
        }
        pool.name = targets[i].text;
        const std::vector<config::Pool>& all = snapshot.config.pools;
        const auto its = std::lower_bound(
            all.begin(), all.end(), targets[i].text, [](const config::Pool& p, const auto& name) {
                return p.name < name;
            });
        if (its->verify == config::Verify::rcpt) {
            pool.asks = true;
            pool.accepts_unknown = its->verify_unknown == config::VerifyUnknown::accept;
            pool.key = common_.recipients.pool_key(relay::definition_of(snapshot.pools[i]));
        }
    }
}

std::uint64_t Verifier::memory(const VerifyRules& rules) {
    return std::uint64_t{rules.questions_max} *
           (base::ObjectPool<Question>::cell_octets() + arena_block_octets);
}

// --- what is known
// ------------------------------------------------------------------------------------------------------------------

/// One for all ways of writing the address that the host is told.
base::Hash128 Verifier::identity_of(const Pool& pool, const mail::Recipient& recipient) {
    std::string_view local_part = recipient.local_part;
    std::string_view domain = recipient.domain_key;
    if (!recipient.outgoing.empty()) {
        const std::size_t at = recipient.outgoing.rfind('@');
        local_part = recipient.outgoing.substr(0, at);
        domain = recipient.outgoing.substr(at + 1);
    }
    mail::LocalPartKey key;
    if (mail::make_local_part_key(local_part, key)) {
        local_part = key.view();
    }
    std::array<char, 1024> text;
    std::size_t size = local_part.copy(text.data(), text.size() / 2);
    text[size++] = '@';
    size += domain.copy(text.data() + size, text.size() / 2 - 1);
    return common_.recipients.identity(pool.key, {text.data(), size});
}

std::optional<mail::Reply> Verifier::known(
    const base::Hash128& identity, base::Instant now, shared::KeptAnswer& answer) {
    if (const auto at = common_.recipients.accepted_at(identity);
        at && now - *at < rules_.accepted_for) {
        return mail::Reply{};
    }
    if (common_.recipients.refused(identity, now, answer)) {
        const auto& [cls, subject, detail] = answer.enhanced;
        return mail::Reply{answer.code, {cls, subject, detail}, answer.text()};
    }
    return std::nullopt;
}

/// Nobody can be asked: the last good answer holds however old it is.
mail::Reply Verifier::unknown(Pool& pool, const base::Hash128& identity, std::string_view why) {
    const base::Instant now = ring_.now();
    own_.count<Metric::verify_unknown>();
    if (pool.told == base::Instant{} || now - pool.told >= told_each) {
        pool.told = now;
        lines_.unverified(pool.name, why);
    }
    const bool accepts = pool.accepts_unknown || common_.recipients.accepted_at(identity);
    return accepts ? mail::Reply{} : unknown_recipient;
}

bool Verifier::may_ask(const mail::Submission& asker, const Pool& pool, base::Instant now) {
    const bool may =
        (asker.client.exempt || common_.network_questions.take(
                                    asker.client.network ^ pool.key.low,
                                    now,
                                    rules_.network_each,
                                    rules_.network_at_once)) &&
        common_.pool_questions.take(pool.key.high, now, rules_.pool_each, rules_.pool_at_once);
    if (!may) {
        own_.count<Metric::verify_budget_spent>();
    }
    return may;
}

// --- questions
// ------------------------------------------------------------------------------------------------------------------

std::optional<mail::Reply> Verifier::look(
    mail::Submission& asker, const mail::Recipient& recipient) {
    Pool& pool = pools_[recipient.pool];
    const base::Hash128 identity = identity_of(pool, recipient);
    const base::Instant now = ring_.now();
    if (const auto answer = known(identity, now, answer_)) {
        own_.count<Metric::verify_kept>();
        return answer;
    }
    Question* question = find(identity);
    if (question == nullptr) {
        const bool ours =
            common_.recipients.begin_question(identity, now, now + rules_.patience + lost_after);
        if (ours && !may_ask(asker, pool, now)) {
            common_.recipients.end_question(identity);
            return unknown(pool, identity, budget_spent);
        }
        question = make(asker, recipient);
        if (question == nullptr) {
            if (ours) {
                common_.recipients.end_question(identity);
            }
            return unknown(pool, identity, "there is no memory for the question");
        }
        question->identity = identity;
        chain_of(identity).push_back(*question);
        if (ours) {
            ask(*question);
        } else {
            timers_.set(*question, now + rules_.look_each);
        }
    }
    question->askers.push_back(asker);
    return std::nullopt;
}

Verifier::Question* Verifier::find(const base::Hash128& identity) {
    base::List<Question, Open>& chain = chain_of(identity);
    for (Question* q = chain.front(); q != nullptr; q = chain.next(*q)) {
        if (q->identity == identity) {
            return q;
        }
    }
    return nullptr;
}

/// nullptr: there are too many, or memory is short.
Verifier::Question* Verifier::make(
    const mail::Submission& asker, const mail::Recipient& recipient) {
    Question* const question = questions_.make(*this, memory_);
    if (question == nullptr) {
        return nullptr;
    }
    const auto address = question->arena.copy(recipient.address);
    const auto domain_key = question->arena.copy(recipient.domain_key);
    const auto outgoing = question->arena.copy(recipient.outgoing);
    if (!address || !domain_key || !outgoing) {
        questions_.destroy(question);
        return nullptr;
    }
    mail::Recipient& asked = question->recipient;
    asked.address = *address;
    asked.local_part = address->substr(0, recipient.local_part.size());
    asked.domain = address->substr(address->size() - recipient.domain.size());
    asked.domain_key = *domain_key;
    asked.outgoing = *outgoing;
    asked.pool = recipient.pool;
    question->envelope.smtputf8 = asker.envelope.smtputf8;
    question->envelope.add(asked);
    question->began = ring_.now();
    question->deadline = question->began + rules_.patience;
    question->pool = recipient.pool;
    question->holds_pool = true;
    relay_.hold(question->pool);
    return question;
}

void Verifier::ask(Question& question) {
    own_.count<Metric::verify_questions>();
    relay_.submit(question);
}

/// Another worker asks: has it an answer?
void Verifier::look_again(Question& question) {
    const base::Instant now = ring_.now();
    Pool& pool = pools_[question.pool];
    if (question.askers.empty()) {
        destroy(question);
        return;
    }
    shared::KeptAnswer kept;
    auto answer = known(question.identity, now, kept);
    if (answer) {
        own_.count<Metric::verify_kept>();
    } else if (now >= question.deadline) {
        answer = unknown(pool, question.identity, why_not(mail::Outcome::Kind::unreachable));
    } else if (!common_.recipients.begin_question(
                   question.identity, now, question.deadline + lost_after)) {
        timers_.set(question, now + rules_.look_each);
        return;
    } else if (may_ask(*question.askers.front(), pool, now)) {
        ask(question);
        return;
    } else {
        common_.recipients.end_question(question.identity);
        answer = unknown(pool, question.identity, budget_spent);
    }
    question.link().unlink();
    tell_all(question, *answer);
    destroy(question);
}

void Verifier::answered(mail::Submission& submission, const mail::Outcome& outcome) {
    auto& question = static_cast<Question&>(submission);
    Pool& pool = pools_[question.pool];
    question.link().unlink();
    mail::Reply reply;
    switch (outcome.kind) {
        case mail::Outcome::Kind::accepted:
            common_.recipients.accept(question.identity, ring_.now());
            break;
        case mail::Outcome::Kind::refused:
            reply = outcome.reply;
            if (!outcome.host_said.empty() &&
                (says_absent(reply) || says_absent_without_code(reply))) {
                keep(question.identity, reply);
            }
            break;
        case mail::Outcome::Kind::divided:
        case mail::Outcome::Kind::unreachable:
        case mail::Outcome::Kind::unresolved:
        case mail::Outcome::Kind::busy:
        case mail::Outcome::Kind::too_many:
        case mail::Outcome::Kind::untrusted:
        case mail::Outcome::Kind::unknown:
        case mail::Outcome::Kind::dropped:
            reply = unknown(pool, question.identity, why_not(outcome.kind));
            break;
    }
    common_.recipients.end_question(question.identity);
    tell_all(question, reply);
}

/// Who hears of it may name the next recipient at once, or go.
void Verifier::tell_all(Question& question, const mail::Reply& reply) {
    while (mail::Submission* const asker = question.askers.pop_front()) {
        tell_(*asker, reply);
    }
}

void Verifier::destroy(mail::Submission& submission) {
    auto& question = static_cast<Question&>(submission);
    relay_.let_go(question.pool);
    questions_.destroy(&question);
}

// --- what mail teaches
// ------------------------------------------------------------------------------------------------------------------

void Verifier::learn(const mail::Submission& submission, const mail::Outcome& outcome) {
    using Kind = mail::Outcome::Kind;
    const mail::Envelope& envelope = submission.envelope;
    const bool refused = outcome.kind == Kind::refused && !outcome.host_said.empty();
    if (outcome.kind != Kind::accepted && outcome.kind != Kind::divided && !refused) {
        return;
    }
    const bool have_own_answers = envelope.recipient_count > 1;
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        learn(*r, submission.pool, have_own_answers ? r->answer : outcome.reply);
    }
}

void Verifier::learn(
    const mail::Recipient& recipient, std::uint32_t pool, const mail::Reply& answer) {
    if (answer.positive()) {
        common_.recipients.accept(identity_of(pools_[pool], recipient), ring_.now());
    } else if (says_absent(answer)) {
        keep(identity_of(pools_[pool], recipient), answer);
    }
}

void Verifier::keep(const base::Hash128& identity, const mail::Reply& answer) {
    shared::KeptAnswer kept;
    kept.code = answer.code;
    kept.enhanced = {answer.enhanced.cls, answer.enhanced.subject, answer.enhanced.detail};
    kept.set_text(answer.text);
    common_.recipients.refuse(identity, kept, ring_.now() + rules_.refused_for);
}

}  // namespace postern::shard

#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lines.h"
#include "postern/base/list.h"
#include "postern/base/object_pool.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/mail/submission.h"
#include "postern/metrics/meters.h"
#include "postern/relay/relay.h"
#include "postern/shard/common.h"
#include "postern/shard/snapshot.h"

namespace postern::shard {

/// How `verify = "rcpt"` spends its questions and its memory (deploy/operating.md, "Recipients").
struct VerifyRules {
    /// A recipient that a host took is not asked about for so long; later only where no host can be
    /// asked.
    base::Duration accepted_for = std::chrono::hours(24);
    /// One that does not exist: short, since it may be made any minute.
    base::Duration refused_for = std::chrono::minutes(5);
    /// A sender that waits for the answer to its RCPT, at most.
    base::Duration patience = std::chrono::seconds(20);
    /// Questions for a client network: so many at once, and one more each interval. Clients of
    /// [relay] have no bound of their own.
    std::uint32_t network_at_once = 100;
    base::Duration network_each = std::chrono::seconds(1);
    /// And for a pool.
    std::uint32_t pool_at_once = 1000;
    base::Duration pool_each = std::chrono::milliseconds(20);
    /// How often a worker looks for the answer to a question that another one asks.
    base::Duration look_each = std::chrono::milliseconds(20);
    /// A worker's questions under way.
    std::uint32_t questions_max = 1024;
};

/// One worker's part in asking smart hosts whether recipients exist: what is known to all workers
/// is looked up, the rest is asked with one question for all that wait for it. The worker's thread.
class Verifier {
   public:
    /// The answer about the recipient that a submission waits for: code 0, it is accepted. The text
    /// lives for the call.
    using Tell = std::function<void(mail::Submission& asker, const mail::Reply& reply)>;

    struct Pools {
        base::BlockPool& arena;
        base::BlockPool& tail;
        base::BlockPool& chain;
    };

    /// All of them outlive it. The relay's world hands it what becomes of questions: settled and
    /// released.
    Verifier(
        Common& common,
        io::Ring& ring,
        io::Timers& timers,
        relay::Relay& relay,
        Lines& lines,
        metrics::Series& own,
        const Pools& pools,
        Tell tell,
        const VerifyRules& rules = {});
    ~Verifier();

    /// The snapshot comes into force. `pools`: by its targets, their numbers in the relay.
    void take(const Snapshot& snapshot, const std::vector<std::uint32_t>& pools);

    /// Are the hosts of the relay's pool asked?
    bool asks(std::uint32_t pool) const { return pool < pools_.size() && pools_[pool].asks; }

    /// What is to be said of the recipient: code 0, it is accepted. nullopt: the answer comes
    /// later, unless the submission goes before. The text is valid until the next call. REQUIRES:
    /// the submission does not wait; asks(recipient.pool).
    std::optional<mail::Reply> look(mail::Submission& asker, const mail::Recipient& recipient);

    /// What the relay says of any submission. True: it is a question of this one; else what its
    /// outcome tells of its recipients is learned.
    bool settled(mail::Submission& submission, const mail::Outcome& outcome) {
        if (submission.is_question) {
            answered(submission, outcome);
        } else if (asks(submission.pool)) {
            learn(submission, outcome);
        }
        return submission.is_question;
    }

    bool released(mail::Submission& submission) {
        const bool is_question = submission.is_question;
        if (is_question) {
            destroy(submission);
        }
        return is_question;
    }

    /// Octets that one worker's questions may hold at most.
    static std::uint64_t memory(const VerifyRules& rules = {});

   private:
    struct Question;
    struct Open;  // tag of the lists of questions whose answer is not known yet

    struct Pool {
        bool asks = false;
        bool accepts_unknown = false;
        base::Hash128 key;
        std::string name;
        base::Instant told{};  // that something was not known: when the log last said so
    };

    base::Hash128 identity_of(const Pool& pool, const mail::Recipient& recipient);
    std::optional<mail::Reply> known(
        const base::Hash128& identity, base::Instant now, shared::KeptAnswer& answer);
    mail::Reply unknown(Pool& pool, const base::Hash128& identity, std::string_view why);
    bool may_ask(const mail::Submission& asker, const Pool& pool, base::Instant now);
    Question* find(const base::Hash128& identity);
    Question* make(const mail::Submission& asker, const mail::Recipient& recipient);
    void ask(Question& question);
    void look_again(Question& question);
    void tell_all(Question& question, const mail::Reply& reply);
    void destroy(mail::Submission& question);
    void answered(mail::Submission& question, const mail::Outcome& outcome);
    void learn(const mail::Submission& submission, const mail::Outcome& outcome);
    void learn(const mail::Recipient& recipient, std::uint32_t pool, const mail::Reply& answer);
    void keep(const base::Hash128& identity, const mail::Reply& answer);

    base::List<Question, Open>& chain_of(const base::Hash128& identity) {
        return chains_[identity.high % chains_.size()];
    }

    Common& common_;
    io::Ring& ring_;
    io::Timers& timers_;
    relay::Relay& relay_;
    Lines& lines_;
    metrics::Series& own_;
    const Pools memory_;
    const Tell tell_;
    const VerifyRules rules_;
    std::vector<Pool> pools_;  // by number in the relay
    base::ObjectPool<Question> questions_;
    std::array<base::List<Question, Open>, 256> chains_;  // by identity
    shared::KeptAnswer answer_{};                         // that look() gave last
};

}  // namespace postern::shard

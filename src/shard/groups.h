#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "postern/mail/submission.h"
#include "postern/relay/relay.h"

/// A message that goes in several transactions, one for each group, and more of them where a host
/// takes not so many recipients in one: who is asked together, and what all their answers come to
/// (product.md, section 3). Pure.
namespace postern::shard {

/// What the relay said of a submission. Outlives its call.
struct Said {
    Said() = default;
    Said(const Said&) = delete;

    void remember(const mail::Outcome& outcome);
    /// As it was said.
    mail::Outcome outcome() const;

    bool has_outcome = false;
    bool host_has_dsn = false;
    bool provoked = false;
    std::uint32_t pool = 0;  // that it was for
    mail::Outcome::Kind kind{};
    mail::Reply reply;
    std::string text;  // of `reply`
    std::string host;
};

/// The recipients of a message that one transaction takes, and what was said of that. Their numbers
/// are those in the whole message.
struct Group : Said {
    mail::Submission* submission = nullptr;
};

/// The message and its groups.
struct Grouped {
    /// What its groups are asked about, and what has been decided.
    enum class Stage : std::uint8_t {
        asked,    // no body goes before the answers to all RCPTs are known
        going,    // bodies go to those accepted
        divided,  // nobody has it
        dropped,  // the same: its sender had gone
        over
    };

    explicit Grouped(mail::Submission& message) : whole(message) {}

    Group& group_of(std::uint32_t recipient) { return groups[group_numbers[recipient]]; }

    const Group& group_of(std::uint32_t recipient) const {
        return groups[group_numbers[recipient]];
    }

    /// The group, or one of its own, that its submission is.
    Group& group_of(const mail::Submission& part) {
        return group_of(part.envelope.first_recipient->number);
    }

    mail::Submission& whole;
    std::deque<Group> groups;
    std::vector<std::uint32_t> group_numbers;  // by number of the recipient
    std::uint32_t with_relay = 0;              // groups that it needs still
    Stage stage = Stage::asked;
    bool to_look_at = false;
    bool waits = false;  // its groups count among those that do
    bool lined = false;  // it stands in line until they may
};

/// What is known of all recipients together: how many are accepted, or have it; how many are
/// refused so, those that no host could be asked about among `temporary`.
struct Sum {
    bool divided() const { return accepted > 0 && temporary + permanent > 0; }

    std::uint32_t accepted = 0;
    std::uint32_t temporary = 0;
    std::uint32_t permanent = 0;
    std::uint32_t unknown = 0;  // of `temporary`: they may have it
    bool trouble = false;       // of a host that could not be reached, or did not answer
    // What the sender is told where nobody has it: the first answer when all are 5xx, else the
    // first that is not; and the group that it is of. Its text is the group's.
    mail::Reply telling;
    const Group* of = nullptr;
};

/// A recipient's part in what was said of its group. While that has said nothing yet, the answer to
/// its RCPT.
mail::Reply answer_about(const Group& group, const mail::Recipient& recipient);

Sum sum_of(const Grouped& message);

/// May bodies go to those accepted, each RCPT being answered? `keeps`: for the others there is a
/// spool.
bool may_go(const Sum& sum, bool trusted, bool keeps);

/// So many transactions with one pool, at most, may wait for others on a worker: each holds a
/// connection, of those that are the worker's share; half of these stay for mail that does not
/// wait.
constexpr std::uint32_t waiting_max_of(std::uint32_t connections, std::uint32_t workers) {
    return std::clamp(connections / (2 * workers), 1U, 8U);
}

/// Does a transaction with the recipients that the envelope has for the pool take one more, of that
/// domain?
bool takes_one_more(
    const mail::Envelope& envelope,
    std::uint32_t pool,
    std::string_view domain_key,
    const relay::TransactionMax& most);

/// How many it takes at most for the recipients of the pool, with one more, of that domain.
std::uint32_t transactions_to(
    const mail::Envelope& envelope,
    std::uint32_t pool,
    std::string_view domain_key,
    const relay::TransactionMax& most);

/// The pools of a message beside its first recipient's; one of them may come more than once, and
/// comes as often each time.
template <class Use>
void for_each_other_pool(const mail::Submission& submission, Use use) {
    std::uint32_t last = submission.pool;
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (r->pool != submission.pool && r->pool != last) {
            use(r->pool);
        }
        last = r->pool;
    }
}

}  // namespace postern::shard

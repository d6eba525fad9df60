#include <algorithm>
#include <array>

#include "deliveries.h"
#include "postern/shard/sync.h"
#include "postern/smtp/a_labels.h"
#include "postern/smtp/path.h"
#include "reply_text.h"

/// What Deliveries does for mail that is kept: tries what is due, and learns from what comes of it.
namespace postern::shard {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using State = journal::State;

constexpr mail::Reply expired{450, {4, 4, 7}, "it could not be delivered in time"};
constexpr mail::Reply unreadable{451, {4, 3, 0}, "it can not be read from the spool now"};
constexpr mail::Reply removed{550, {5, 7, 1}, "an operator has removed it from the queue"};

/// Blocks of content are larger than what they hold: so much more is reserved.
constexpr std::uint64_t load_surplus = 128 * 1024;
/// While memory is short what expires is looked at no sooner than that.
constexpr base::Duration memory_pause = 100ms;
/// And what could not be told, since memory was short, is told after so long.
constexpr base::Duration untold_again = 1s;
/// A sender who asked for it is told of a delay after so long, or a quarter of the time to expiry.
constexpr base::Duration delay_after = 4h;

std::int64_t delay_ms(const config::Retry& retry) {
    return std::min(base::to_ms(delay_after), base::to_ms(retry.expire) / 4);
}

template <class Recipients>
bool any_waits(const Recipients& recipients) {
    return std::any_of(recipients.begin(), recipients.end(), [](const auto& recipient) {
        return recipient.state == State::waiting;
    });
}

/// Of whom is the sender still to be told that an operator took them out?
bool owes_notice(const spool::KeptRecipient& recipient) {
    return recipient.state == State::removed && !recipient.delay_told;
}

bool any_owes_notice(const spool::Kept& kept) {
    const auto recipients = kept.recipients();
    return std::any_of(recipients.begin(), recipients.end(), owes_notice);
}

}  // namespace

void Deliveries::recovered(spool::Kept& kept) {
    queue_.add(kept);
    if (any_waits(kept.recipients())) {
        watch_delay(kept, retry());
        queue_.schedule(kept, now_ms());
        look_ = true;
    } else if (any_owes_notice(kept)) {
        owe_notice(kept, now_ms());
    } else {
        queue_.erase(kept);
        spool_->finish(kept);
    }
}

void Deliveries::finished(spool::Kept& kept) {
    auto* const attempt = static_cast<Attempt*>(kept.schedule.attempt);
    spool::Kept::destroy(&kept);
    if (attempt != nullptr) {
        std::erase(withdrawn_, attempt);
        tell_withdrawn(*attempt);
    }
}

/// What the host said of a message that was stored meanwhile, and is not kept.
void Deliveries::tell_withdrawn(Attempt& attempt) {
    world_.tell(*attempt.submission, sync_answer(attempt.kind, attempt.reply));
    attempt.stage = Attempt::Stage::over;
    free_if_over(attempt);
}

/// Those who wait for such an answer have it now: the disk may never take the record.
void Deliveries::wait_for_no_disk() {
    disk_matters_ = false;
    for (Attempt* const attempt : std::exchange(withdrawn_, {})) {
        attempt->kept->schedule.attempt = nullptr;
        tell_withdrawn(*attempt);
    }
}

std::optional<Queue::Way> Deliveries::way_of(
    const spool::Kept& kept, const spool::KeptRecipient& recipient) {
    return look_up(AddressKey(recipient.address), kept.message().notification).way;
}

/// By the rules in force.
Deliveries::Found Deliveries::look_up(const AddressKey& address, bool notification) {
    const Snapshot& snapshot = current();
    const route::Decision decision = route::follow(
        *snapshot.table,
        snapshot.relaying_of_kept(),
        {address.address, address.local_part, address.domain_key()},
        text_);
    if (decision.accepted()) {
        const std::uint32_t target = snapshot.table->action(decision.match.action).target;
        return {way_to(parts_.generations.current_pools()[target]), decision.outgoing};
    }
    if (notification && notify_pool_ != route::none) {
        return {way_to(notify_pool_), {}};
    }
    return {};
}

void Deliveries::look() {
    if (!look_) {
        return;
    }
    look_ = false;
    look_at_groups();
    look_at_senders();
    if (spool_ != nullptr && !shutting_down_) {
        tell_what_is_owed();
        try_what_is_due();
    }
}

void Deliveries::look_in(base::Duration wait) {
    const base::Instant at = parts_.ring.now() + wait;
    if (!due_.set() || due_.deadline() > at) {
        parts_.timers.set(due_, at);
    }
}

void Deliveries::try_what_is_due() {
    const base::Instant now = parts_.ring.now();
    const std::int64_t wall_ms = now_ms();
    // Bounded, so that senders are served in between.
    for (unsigned i = 0; i < Queue::window_max; ++i) {
        const Queue::Next next = queue_.next(now, wall_ms);
        if (next.kept == nullptr) {
            break;
        }
        const Purpose purpose = next.expired ? Purpose::expire : Purpose::attempt;
        if (!begin(*next.kept, next.pool, purpose) && next.expired) {
            look_in(memory_pause);  // there may be many
            return;
        }
    }
    if (const std::optional<base::Duration> wait = queue_.wait(now, wall_ms)) {
        look_in(*wait);
    }
}

/// Begins to load a message that is out of the schedule. False: memory is short, and where somebody
/// waits it is in the schedule again, for a little later.
bool Deliveries::begin(spool::Kept& kept, std::uint32_t pool, Purpose purpose) {
    const bool tries = purpose == Purpose::attempt;
    mail::Client client;
    const journal::Message message = kept.message();
    client.address = message.client;
    client.trusted = message.trusted;
    client.exempt = true;
    mail::Submission* const submission = parts_.submissions.make(client, parts_.ring.wall_now());
    // A notification that nobody takes becomes a dead letter, whole.
    const std::uint64_t octets =
        tries || message.notification
            ? kept.content_size()
            : std::min<std::uint64_t>(kept.content_size(), notify::content_octets_max);
    bool has_memory = false;
    bool nobody = false;
    if (submission != nullptr) {
        submission->pool = pool == route::none ? 0 : pool;
        submission->id_size = journal::id_to_text(kept.id(), submission->id_text);
        has_memory = fill_envelope(*submission, kept, tries);
        nobody = has_memory && tries && submission->envelope.recipient_count == 0;
        has_memory = nobody || (has_memory && reserve(*submission, octets + load_surplus));
    }
    if (!has_memory || nobody) {
        if (submission != nullptr) {
            world_.free(*submission);
        }
        if (tries) {
            queue_.let_go(pool);
        }
        if (!has_memory) {
            queue_.put_off(kept, tries ? pool : route::none, parts_.ring.now(), now_ms());
        } else if (any_waits(kept.recipients())) {
            queue_.schedule(kept, now_ms());
        }
        return has_memory;
    }
    Attempt* const attempt = attempts_.make();
    POSTERN_ASSERT(attempt != nullptr, "more attempts than there can be messages");
    attempt->kept = &kept;
    attempt->submission = submission;
    attempt->stage = Attempt::Stage::loading;
    attempt->pool = pool;
    attempt->generation = current().generation;
    attempt->counted = tries ? Attempt::Counted::waited : Attempt::Counted::no;
    attempt->expire = purpose == Purpose::expire;
    submission->attempt = attempt;
    kept.schedule.attempt = attempt;
    spool_->load(kept, submission->body, octets);
    return true;
}

/// Memory for a body. Were the bound a bound for all of them, mail that is larger than what is left
/// of it would wait for ever, and new mail would come first as often as it likes: one at a time is
/// loaded past it (and stands in the sum of `postern check`), and hinders nobody.
bool Deliveries::reserve(mail::Submission& submission, std::uint64_t octets) {
    if (world_.reserve_again(submission, octets)) {
        return true;
    }
    if (beyond_ != nullptr) {
        return false;
    }
    beyond_ = &submission;
    return true;
}

/// With the recipients that are due and go to the submission's pool now. False: memory is short.
bool Deliveries::fill_envelope(mail::Submission& submission, spool::Kept& kept, bool tries) {
    mail::Envelope& envelope = submission.envelope;
    const journal::Message message = kept.message();
    submission.generation = current().generation;
    submission.takes_recipients = false;
    submission.mode = mail::Mode::queue;
    submission.divide = mail::Divide::always;
    submission.has_eight_bit = message.has_eight_bit;
    submission.has_utf8_header = message.has_utf8_header;
    submission.began = submission.body_began = submission.completed = parts_.ring.now();
    submission.deadline = nobody_waits;
    envelope.body_type = message.body_type;
    envelope.smtputf8 = message.smtputf8;
    envelope.returned = message.ret;
    base::Arena& arena = submission.arena;
    const auto reverse_path = arena.copy(message.reverse_path);
    const AddressKey sender(message.reverse_path);
    std::array<char, smtp::local_part_size_max + 1 + mail::domain_octets_max> room;
    const auto a_label = arena.copy(
        smtp::in_a_labels(message.reverse_path, sender.local_part, sender.domain_key(), room));
    const auto envid = arena.copy(message.envid);
    if (!reverse_path || !a_label || !envid) {
        return false;
    }
    envelope.reverse_path = *reverse_path;
    envelope.reverse_path_a_label = *a_label;
    envelope.envelope_id = *envid;
    if (!tries) {
        return true;
    }
    const std::int64_t now = now_ms();
    const relay::TransactionMax most = parts_.relay.transaction_max(submission.pool);
    const std::span<const spool::KeptRecipient> all = kept.recipients();
    for (std::uint32_t i = 0; i < all.size() && envelope.recipient_count < most.recipients; ++i) {
        if (all[i].state != State::waiting || !queue_.is_due(all[i], now)) {
            continue;
        }
        const AddressKey address(all[i].address);
        const Found found = look_up(address, message.notification);
        if (found.way && found.way->pool == submission.pool &&
            takes_one_more(envelope, submission.pool, address.domain_key(), most) &&
            !add_recipient(submission, all[i], i, address, found.outgoing)) {
            return false;
        }
    }
    return true;
}

/// Copies a recipient into the envelope. `told`: what the smart host is told instead of its
/// address; empty: nothing else.
bool Deliveries::add_recipient(
    mail::Submission& submission,
    const spool::KeptRecipient& kept,
    std::uint32_t number,
    const AddressKey& key,
    std::string_view told) {
    base::Arena& arena = submission.arena;
    auto* const recipient = arena.make<mail::Recipient>();
    const auto address = arena.copy(kept.address);
    const auto original = arena.copy(kept.original);
    const auto outgoing = arena.copy(told);
    const auto domain_key = arena.copy(key.domain_key());
    if (recipient == nullptr || !address || !original || !outgoing || !domain_key) {
        return false;
    }
    recipient->address = *address;
    recipient->local_part = address->substr(0, key.local_part.size());
    recipient->domain = address->substr(address->size() - key.domain.size());
    recipient->domain_key = *domain_key;
    recipient->pool = submission.pool;
    recipient->outgoing = *outgoing;
    recipient->original_recipient = *original;
    recipient->notify = kept.notify;
    recipient->number = number;
    submission.envelope.add(*recipient);
    return true;
}

void Deliveries::loaded(spool::Kept& kept, const base::Result<void>& result) {
    Attempt& attempt = *static_cast<Attempt*>(kept.schedule.attempt);
    const bool tries = attempt.submission->envelope.recipient_count > 0;
    if (!result) {
        parts_.lines.kept("unreadable", kept, result.error().text);
        attempt.submission->body.clear();
    }
    const bool put_off = attempt.generation != current().generation || shutting_down_;
    const bool removed = !any_waits(kept.recipients());
    if (tries && (!result || put_off || removed)) {
        queue_.let_go(attempt.pool);
        attempt.counted = Attempt::Counted::no;
    }
    if (!result && kept.message().notification) {
        // It would be buried empty: the disk may give it later.
        for (spool::KeptRecipient& recipient : kept.recipients()) {
            note_reply(recipient, unreadable);
            recipient.next_try_ms = now_ms() + base::to_ms(untold_pause);
        }
        attempt.failure_untold = true;
        conclude(attempt);
        return;
    }
    if (!result && tries) {
        // Nothing damaged goes out, and nothing is thrown away: the disk may give it later.
        attempt.has_outcome = true;
        attempt.kind = Kind::refused;
        attempt.reply = unreadable;
        attempt.text = unreadable.text;
        process(attempt);
        return;
    }
    if (tries && put_off && !removed) {
        conclude(attempt);
        return;
    }
    if (!tries || removed) {
        process(attempt);
        return;
    }
    attempt.stage = Attempt::Stage::trying;
    attempt.with_relay = true;
    parts_.relay.submit(*attempt.submission);
}

/// What the relay said about one of the message's recipients.
const Said& Deliveries::said_of(const Attempt& attempt, std::uint32_t recipient) {
    const auto* const message = static_cast<const Grouped*>(attempt.submission->grouped);
    return message == nullptr ? attempt : static_cast<const Said&>(message->group_of(recipient));
}

/// Of the pool that it was for; of an orphan, the general ones.
const config::Retry& Deliveries::retry_of(const Said& said) const {
    return said.pool < terms_.size() ? terms_of(said.pool).retry : retry();
}

config::Retry Deliveries::retry_for(
    const spool::Kept& kept, const spool::KeptRecipient& recipient) {
    const std::optional<Queue::Way> way = way_of(kept, recipient);
    return way ? way->retry : retry();
}

/// `host`: which said so; empty: we do.
void Deliveries::note_reply(
    spool::KeptRecipient& recipient, const mail::Reply& reply, std::string_view host) {
    recipient.reply = spool_->shared_reply(ReplyText(reply).view(), host);
}

State Deliveries::refuse(
    const Attempt& attempt,
    const Said& said,
    spool::KeptRecipient& recipient,
    const mail::Reply& reply,
    std::string_view host) {
    const config::Retry& retry = retry_of(said);
    note_reply(recipient, reply, host);
    ++recipient.attempts;
    if (reply.permanent()) {
        return State::refused;
    }
    // Growing pauses: twice the last one each time.
    constexpr unsigned doublings_max = 20;
    const std::int64_t pause = base::to_ms(retry.first)
                               << std::min<unsigned>(recipient.attempts - 1, doublings_max);
    recipient.next_try_ms = std::min(
        now_ms() + std::min(pause, base::to_ms(retry.max)), expiry_ms(*attempt.kept, retry));
    return State::waiting;
}

/// The host takes fewer recipients at a time than those: the next try is of fewer.
bool Deliveries::goes_in_parts(const Said& said, const mail::Envelope& envelope) const {
    if (said.kind != Kind::too_many) {
        return false;
    }
    const relay::TransactionMax most = parts_.relay.transaction_max(said.pool);
    return !envelope.fits(most.recipients, most.domains);
}

/// What the relay said makes of a recipient that it was given.
State Deliveries::apply(
    const Attempt& attempt,
    const Said& said,
    const mail::Envelope& envelope,
    const mail::Recipient& recipient) {
    spool::KeptRecipient& kept = attempt.kept->recipients()[recipient.number];
    const mail::Reply& own = recipient.answer;
    const bool taken = said.kind == Kind::accepted && own.code < 400;
    if (kept.state != State::waiting && !(taken && kept.state == State::removed)) {
        return kept.state;
    }
    if (taken) {
        ++kept.attempts;
        note_reply(kept, said.reply, said.host);
        return State::delivered;
    }
    switch (said.kind) {
        case Kind::accepted:
        case Kind::divided:
            return own.code >= 400 ? refuse(attempt, said, kept, own, said.host) : State::waiting;
        case Kind::refused:
            return refuse(attempt, said, kept, own.code >= 400 ? own : said.reply, said.host);
        case Kind::unknown:
            return own.code >= 400 ? refuse(attempt, said, kept, own, said.host)
                                   : refuse(attempt, said, kept, sync_answer(said.kind));
        case Kind::too_many:
            // What it takes is known now. Hosts that say another thing each time are given time.
            if (!goes_in_parts(said, envelope)) {
                return refuse(attempt, said, kept, sync_answer(said.kind));
            }
            note_reply(kept, sync_answer(said.kind));
            break;
        case Kind::unreachable:
        case Kind::unresolved:
        case Kind::busy:
        case Kind::untrusted:
        case Kind::dropped:
            // The pool's trouble, and its pause: the message is ready for when it is over. But what
            // may be the trouble's cause lets others go first, or it would keep all from a host
            // that takes them.
            if (said.provoked) {
                return refuse(attempt, said, kept, sync_answer(said.kind));
            }
            note_reply(kept, sync_answer(said.kind));
            break;
    }
    return State::waiting;
}

/// What has been found out becomes the message's state, and its sender is told. Whom it is told of
/// as failed waits until that is on stable storage: what is written down meanwhile does not say
/// that it has been told.
void Deliveries::process(Attempt& attempt) {
    spool::Kept& kept = *attempt.kept;
    const std::span<spool::KeptRecipient> all = kept.recipients();
    std::vector<State> found;
    for (const spool::KeptRecipient& recipient : all) {
        found.push_back(recipient.state);
    }
    std::vector<bool> may_expire(all.size(), attempt.expire);  // whom this try was for
    if (attempt.has_outcome) {
        const auto apply_all = [&](const Said& said, const mail::Submission& submission) {
            const bool over = !goes_in_parts(said, submission.envelope);
            for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
                 r = r->next) {
                found[r->number] = apply(attempt, said, submission.envelope, *r);
                may_expire[r->number] = over;
            }
        };
        if (const auto* const message = static_cast<Grouped*>(attempt.submission->grouped)) {
            for (const Group& group : message->groups) {
                apply_all(group, *group.submission);
            }
        } else {
            apply_all(attempt, *attempt.submission);
        }
    }
    const std::int64_t now = now_ms();
    const std::int64_t delay_due_ms = kept.arrival_ms() + delay_ms(retry_of(attempt));
    bool any_expired = false;
    std::vector<Fate> relayed;
    std::vector<Fate> delayed;
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        spool::KeptRecipient& recipient = all[i];
        const bool expires = found[i] == State::waiting && may_expire[i] &&
                             now >= expiry_ms(kept, retry_for(kept, recipient));
        any_expired = any_expired || expires;
        const Fate fate{i, expires ? State::expired : found[i]};
        switch (fate.state) {
            case State::waiting:
                if (now >= delay_due_ms && !std::exchange(recipient.delay_told, true)) {
                    attempt.changed = true;
                    delayed.push_back(fate);
                }
                break;
            case State::delivered:
                if (std::exchange(recipient.state, fate.state) != fate.state &&
                    !said_of(attempt, i).host_has_dsn) {
                    relayed.push_back(fate);
                }
                break;
            case State::removed:
                if (owes_notice(recipient)) {
                    attempt.failed.push_back(fate);
                }
                break;
            case State::refused:
            case State::expired:
                if (recipient.state != State::waiting) {
                    break;
                }
                if (recipient.reply == nullptr) {
                    note_reply(recipient, expired);
                }
                attempt.failed.push_back(fate);
                break;
        }
    }
    if (any_expired) {
        parts_.lines.kept("expired", kept, attempt.text);
    }
    attempt.stage = Attempt::Stage::telling;
    attempt.notices = 1;  // until all of them are under way
    if (kept.message().notification) {
        if (!attempt.failed.empty()) {
            bury_notification(attempt);
        }
    } else {
        tell_sender(attempt, attempt.failed, notify::Action::failed);
        tell_sender(attempt, relayed, notify::Action::relayed);
        tell_sender(attempt, delayed, notify::Action::delayed);
    }
    if (--attempt.notices == 0) {
        conclude(attempt);
    }
}

/// Nothing is done for the message any more: it is over, or waits for its next time.
void Deliveries::conclude(Attempt& attempt) {
    spool::Kept& kept = *attempt.kept;
    const std::int64_t again_ms = now_ms() + base::to_ms(untold_pause);
    for (const Fate& fate : attempt.failed) {
        spool::KeptRecipient& recipient = kept.recipients()[fate.recipient];
        if (!attempt.failure_untold) {
            recipient.state = fate.state;
            recipient.delay_told = recipient.delay_told || fate.state == State::removed;
        } else {
            recipient.next_try_ms = again_ms;  // and told when it fails again
        }
    }
    kept.schedule.attempt = nullptr;
    attempt.stage = Attempt::Stage::over;
    const bool waits = any_waits(kept.recipients());
    const bool owes = !waits && any_owes_notice(kept);
    if ((waits || owes) && (attempt.changed || attempt.has_outcome || !attempt.failed.empty())) {
        spool_->note(kept);
    }
    if (waits) {
        watch_delay(kept, retry_of(attempt));
        queue_.schedule(kept, now_ms());
    } else if (owes) {
        owe_notice(kept, attempt.failure_untold ? again_ms : now_ms());
    } else {
        queue_.erase(kept);
        spool_->finish(kept);
    }
    look_ = true;
    free_if_over(attempt);
}

void Deliveries::free_if_over(Attempt& attempt) {
    if (attempt.stage == Attempt::Stage::over && !attempt.with_relay) {
        mail::Submission& submission = *attempt.submission;
        submission.attempt = nullptr;
        if (attempt.stays) {
            parts_.shares.stay_over(submission.pool, submission.reserved_octets);
        }
        attempts_.destroy(&attempt);
        discard(submission);
    }
}

// --- what senders are told though nothing is tried ----------------------------------------------

/// Its sender may want to know when it is not delivered for long.
void Deliveries::watch_delay(spool::Kept& kept, const config::Retry& retry) {
    const bool wanted =
        std::any_of(kept.recipients().begin(), kept.recipients().end(), [](const auto& recipient) {
            return (recipient.notify & set_of(mail::Notify::delay)) != 0 && !recipient.delay_told &&
                   recipient.state == State::waiting;
        });
    if (wanted && !kept.reverse_path().empty() && !kept.schedule.watched) {
        kept.schedule.watched = true;
        owe_notice(kept, kept.arrival_ms() + delay_ms(retry));
    }
}

void Deliveries::owe_notice(const spool::Kept& kept, std::int64_t due_ms) {
    owed_.push_back({due_ms, kept.id()});
    std::push_heap(owed_.begin(), owed_.end());
    look_ = true;
    // Those of messages that are over go when they are half of all.
    constexpr std::size_t owed_min = 1024;
    if (owed_.size() > owed_min && owed_.size() > 2 * queue_.index().size()) {
        std::erase_if(owed_, [this](const OwedNotice& owed) {
            return queue_.index().find(owed.id) == nullptr;
        });
        std::make_heap(owed_.begin(), owed_.end());
    }
}

void Deliveries::tell_what_is_owed() {
    const std::int64_t now = now_ms();
    // Bounded, so that senders are served in between.
    for (unsigned i = 0; i < Queue::window_max && !owed_.empty() && owed_.front().due_ms <= now;
         ++i) {
        const journal::Id id = owed_.front().id;
        std::pop_heap(owed_.begin(), owed_.end());
        owed_.pop_back();
        spool::Kept* const kept = queue_.index().find(id);
        if (kept == nullptr) {
            continue;
        }
        kept->schedule.watched = false;
        if (kept->schedule.attempt != nullptr) {
            continue;  // it is looked at when that ends
        }
        const std::uint32_t pool = queue_.pool_of(*kept).value_or(route::none);
        queue_.unschedule(*kept);
        if (!begin(*kept, pool, Purpose::tell)) {
            owe_notice(*kept, now + base::to_ms(untold_again));
            look_in(memory_pause);
            return;
        }
    }
    if (!owed_.empty()) {
        look_in(std::chrono::milliseconds(std::max<std::int64_t>(0, owed_.front().due_ms - now)));
    }
}

// --- for people ---------------------------------------------------------------------------------

std::string_view Deliveries::pool_of(const spool::Kept& kept, std::uint32_t recipient) {
    const std::optional<Queue::Way> way = way_of(kept, kept.recipients()[recipient]);
    return way ? parts_.generations.pool_name(way->pool) : std::string_view();
}

void Deliveries::retry(spool::Kept& kept) {
    if (kept.schedule.attempt != nullptr) {
        return;  // it is just being tried
    }
    queue_.unschedule(kept);
    for (spool::KeptRecipient& recipient : kept.recipients()) {
        recipient.next_try_ms = 0;
    }
    queue_.schedule(kept, now_ms());
    if (const auto pool = queue_.pool_of(kept)) {
        queue_.answered(*pool);  // looked at, though it did not answer last time
    }
    look_ = true;
}

void Deliveries::hold(spool::Kept& kept, bool held) {
    kept.set_held(held);
    spool_->note(kept);
    if (kept.schedule.attempt == nullptr) {
        queue_.unschedule(kept);
        queue_.schedule(kept, now_ms());
        look_ = true;
    }
}

/// No recipient that waits gets it, unless a smart host has it already. That its sender is to be
/// told is written down, and holds behind a restart.
void Deliveries::remove(spool::Kept& kept, bool notify) {
    parts_.lines.kept("removed", kept, {});
    const bool attempted = kept.schedule.attempt != nullptr;
    if (!attempted) {
        queue_.unschedule(kept);
    }
    if (!attempted && !notify) {
        queue_.erase(kept);
        spool_->finish(kept);
        return;
    }
    for (spool::KeptRecipient& recipient : kept.recipients()) {
        if (recipient.state == State::waiting) {
            recipient.state = State::removed;
            recipient.delay_told = !notify;
            note_reply(recipient, removed);
        }
    }
    spool_->note(kept);
    if (!attempted) {
        owe_notice(kept, now_ms());
    }
}

}  // namespace postern::shard

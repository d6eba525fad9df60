#include "deliveries.h"

#include <algorithm>
#include <array>

#include "postern/shard/mode.h"
#include "postern/shard/sync.h"

namespace postern::shard {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using State = journal::State;

/// How often senders that wait for an answer are looked at: hybrid_deadline holds so exactly.
constexpr base::Duration patience_look = 50ms;

/// Has a recipient such an answer?
template <class Is>
bool any_answer(const mail::Submission& submission, Is is) {
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (is(r->answer)) {
            return true;
        }
    }
    return false;
}

bool any_permanent(const mail::Submission& submission) {
    return any_answer(submission, [](const mail::Reply& answer) { return answer.permanent(); });
}

/// The first recipient that may be tried again; null: none.
const mail::Recipient* first_deferred(const mail::Submission& submission) {
    const mail::Recipient* r = submission.envelope.first_recipient;
    while (r != nullptr && !r->answer.temporary()) {
        r = r->next;
    }
    return r;
}

/// Nobody has got it, nor will by another try.
bool is_final_refusal(const mail::Submission& submission, const mail::Outcome& outcome) {
    return outcome.kind == Kind::divided ||
           (outcome.kind == Kind::refused && outcome.reply.permanent() &&
            first_deferred(submission) == nullptr);
}

/// What the sender is told. The 5xx to a body is none about whom the host did not take yet: as
/// among several pools, a recipient that may be tried again decides.
mail::Reply told_of(const mail::Submission& submission, const mail::Outcome& outcome) {
    if (outcome.kind == Kind::refused && outcome.reply.permanent()) {
        if (const mail::Recipient* deferred = first_deferred(submission)) {
            return deferred->answer;
        }
    }
    return sync_answer(outcome);
}

bool any_refused(const mail::Submission& submission) {
    return any_answer(submission, [](const mail::Reply& answer) { return answer.code >= 400; });
}

}  // namespace

Deliveries::Deliveries(World& world, const Parts& parts)
    : world_(world),
      parts_(parts),
      spool_(
          parts.segments == nullptr
              ? nullptr
              : std::make_unique<spool::Spool>(
                    parts.ring, parts.mailbox, *this, *parts.segments, parts.worker, parts.meters)),
      queue_(*this),
      attempts_(1U << 20),
      grouped_(1U << 20),
      arriving_(1U << 20) {}

// What is kept stays on the disk; its memory goes.
Deliveries::~Deliveries() {
    if (spool_ != nullptr) {
        spool_->abandon();
    }
    queue_.index().for_each([this](spool::Kept& kept) {
        queue_.unschedule(kept);
        spool::Kept::destroy(&kept);
    });
}

std::int64_t Deliveries::now_ms() const {
    return base::to_ms(parts_.ring.wall_now().time_since_epoch());
}

void Deliveries::take(const Snapshot& snapshot, const std::vector<std::uint32_t>& pools) {
    const config::Config& config = snapshot.config;
    const std::string& notify_pool = config::delivery_key(config, &config::Delivery::notify_pool);
    notify_pool_ = route::none;
    longest_pause_ms_ = base::to_ms(std::max(config.retry.max, untold_pause));
    for (std::size_t i = 0; i < pools.size(); ++i) {
        if (pools[i] == route::none) {
            continue;
        }
        terms_.resize(std::max<std::size_t>(terms_.size(), pools[i] + 1));
        const config::Pool& pool = snapshot.pool_config(static_cast<std::uint32_t>(i));
        terms_[pools[i]] = {
            pool.retry,
            own_defer(pool),
            own_mode(pool),
            waiting_max_of(pool.connections, parts_.workers)};
        waiting_.resize(terms_.size());
        longest_pause_ms_ = std::max(longest_pause_ms_, base::to_ms(pool.retry.max));
        if (!pool.name.empty() && pool.name == notify_pool) {
            notify_pool_ = pools[i];
        }
    }
    queue_.rules_changed();
    look_ = true;
}

mail::Mode Deliveries::mode_of(
    const std::optional<mail::Mode>& rule,
    std::uint32_t pool,
    const config::Listener& listener) const {
    return shard::mode_of(rule, terms_of(pool).mode, listener.delivery.mode);
}

// --- fresh mail ---------------------------------------------------------------------------------

void Deliveries::submit(mail::Submission& submission) {
    if (auto* const arriving = static_cast<Arriving*>(submission.arriving)) {
        submission.divide = mail::Divide::always;
        arriving->whole = true;
        if (arriving->piece.size() == 0) {
            store_rest(*arriving);
        }
        return;
    }
    if (spool_ != nullptr &&
        (submission.mode == mail::Mode::queue || (submission.spool_first && keeps()))) {
        submission.divide = mail::Divide::always;
        store(submission, false, nullptr);
        return;
    }
    if (submission.in_groups && submit_groups(submission)) {
        return;
    }
    if (submission.mode == mail::Mode::hybrid && keeps()) {
        submission.divide =
            submission.client.trusted ? mail::Divide::always : mail::Divide::when_temporary;
        wait_for_answer(submission);
    }
    parts_.relay.submit(submission);
}

void Deliveries::wait_for_answer(mail::Submission& submission) {
    const base::Duration deadline = world_.listener_of(submission.client).delivery.hybrid_deadline;
    auto its = std::find_if(patience_.begin(), patience_.end(), [&](const auto& one) {
        return one->deadline == deadline;
    });
    if (its == patience_.end()) {
        patience_.push_back(std::make_unique<Patience>());
        its = std::prev(patience_.end());
        (*its)->deadline = deadline;
    }
    (*its)->senders.push_back(submission);
    look_in(patience_look);
}

/// Whose time is over has its message stored, while the smart host goes on having it.
void Deliveries::look_at_senders() {
    const base::Instant now = parts_.ring.now();
    bool waited_for = false;
    for (const auto& one : patience_) {
        while (mail::Submission* const submission = one->senders.front()) {
            if (now < submission->completed + one->deadline) {
                break;
            }
            static_cast<base::ListLink<mail::Answering>&>(*submission).unlink();
            auto* const message = static_cast<Grouped*>(submission->grouped);
            if (must_not_be_kept(*submission)) {
                tell_divided(*submission);
                continue;
            }
            // Who has gone tries again: it is kept for nobody.
            const bool kept =
                submission->inbound_owner != nullptr && keeps() && !world_.has_gone(*submission);
            if (message != nullptr && message->lined) {
                leave_line(*message, kept);
            } else if (kept) {
                store(*submission, true, nullptr);
            } else if (message != nullptr) {
                end_waiting(*message);
            }
        }
        waited_for = waited_for || !one->senders.empty();
    }
    if (waited_for) {
        look_in(patience_look);
    }
}

/// One of its recipients is refused for good, and who sent it may be forged: a notification must
/// not go there.
bool Deliveries::must_not_be_kept(const mail::Submission& submission) {
    if (submission.client.trusted || submission.inbound_owner == nullptr) {
        return false;
    }
    const auto* const message = static_cast<const Grouped*>(submission.grouped);
    return message == nullptr
               ? any_permanent(submission)
               : message->stage == Grouped::Stage::asked && sum_of(*message).permanent > 0;
}

/// Nobody gets it, whatever the others' hosts say yet; the next try is told of the refusals.
void Deliveries::tell_divided(mail::Submission& submission) {
    submission.answered = true;
    if (auto* const message = static_cast<Grouped*>(submission.grouped)) {
        keep_refusals(*message);
        end_waiting(*message);
    } else {
        keep_refusals(submission);
    }
    world_.tell(submission, sync_answer(Kind::divided));
}

/// Is what the smart host said the sender's answer?
bool Deliveries::passes(const mail::Submission& submission, const mail::Outcome& outcome) const {
    if (submission.mode == mail::Mode::sync || submission.inbound_owner == nullptr) {
        return true;
    }
    if (outcome.kind == Kind::accepted) {
        return !any_refused(submission);
    }
    if (!keeps()) {
        return true;
    }
    switch (outcome.kind) {
        case Kind::refused:
            return (outcome.reply.permanent() && (submission.divide != mail::Divide::always ||
                                                  first_deferred(submission) == nullptr)) ||
                   defer_of(submission.pool, submission) == config::Defer::pass ||
                   (submission.divide != mail::Divide::always &&
                    any_answer(submission, [](const mail::Reply& answer) {
                        return answer.code >= 400 && !answer.temporary();
                    }));
        case Kind::accepted:
        case Kind::divided:
        case Kind::dropped:
            return true;
        case Kind::unreachable:
        case Kind::unresolved:
        case Kind::busy:
        case Kind::too_many:
        case Kind::untrusted:
        case Kind::unknown:
            break;
    }
    return false;
}

config::Defer Deliveries::defer_of(std::uint32_t pool, const mail::Submission& submission) const {
    return terms_of(pool).defer.value_or(world_.listener_of(submission.client).delivery.defer);
}

void Deliveries::answer(mail::Submission& submission, const mail::Outcome& outcome) {
    if (outcome.kind == Kind::accepted && !outcome.host_has_dsn) {
        tell_relayed(submission, outcome);
    }
    note_answer(submission, outcome);
    world_.tell(submission, told_of(submission, outcome));
}

/// What the smart host said is what the sender is told.
void Deliveries::note_answer(const mail::Submission& submission, const mail::Outcome& outcome) {
    if (outcome.kind == Kind::divided) {
        keep_refusals(submission);
    }
    note_told(submission, outcome, told_of(submission, outcome));
}

void Deliveries::keep_refusals(const mail::Submission& submission) {
    parts_.refusals.keep(
        submission, parts_.generations.pool_name(submission.pool), parts_.ring.now());
}

void Deliveries::note_told(
    const mail::Submission& submission, const mail::Outcome& outcome, const mail::Reply& told) {
    parts_.lines.message(
        world_.listener_of(submission.client).name,
        submission,
        parts_.generations.pool_name(submission.pool),
        outcome,
        told);
    if (told.permanent()) {
        world_.wrong_recipients(submission);
    }
}

void Deliveries::settled(mail::Submission& submission, const mail::Outcome& outcome) {
    if (submission.grouped != nullptr) {
        group_settled(submission, outcome);
        return;
    }
    static_cast<base::ListLink<mail::Answering>&>(submission).unlink();
    const bool answered = outcome.kind == Kind::accepted || outcome.kind == Kind::refused ||
                          outcome.kind == Kind::divided || outcome.kind == Kind::too_many;
    auto* attempt = static_cast<Attempt*>(submission.attempt);
    if (attempt == nullptr) {
        if (answered) {
            queue_.answered(submission.pool);
        }
        if (submission.answered) {
            mail::Outcome divided = outcome;
            divided.kind = Kind::divided;
            note_told(submission, divided, sync_answer(Kind::divided));
        } else if (passes(submission, outcome)) {
            answer(submission, outcome);
        } else if (outcome.kind != Kind::accepted && must_not_be_kept(submission)) {
            note_try(submission, outcome);
            tell_divided(submission);
        } else {
            if (outcome.kind == Kind::accepted || outcome.kind == Kind::refused) {
                note_try(submission, outcome);
            }
            if (outcome.kind == Kind::accepted && !outcome.host_has_dsn) {
                tell_relayed(submission, outcome);
            }
            store(submission, true, &outcome);
        }
        return;
    }
    attempt->remember(outcome);
    const Queue::Came came = answered || outcome.kind == Kind::unknown ? Queue::Came::answer
                             : outcome.kind == Kind::busy              ? Queue::Came::congested
                                                                       : Queue::Came::trouble;
    switch (std::exchange(attempt->counted, Attempt::Counted::no)) {
        case Attempt::Counted::waited:
            queue_.tried(submission.pool, came, parts_.ring.now());
            look_ = true;
            break;
        case Attempt::Counted::passed:
            queue_.passed(submission.pool, came, parts_.ring.now());
            look_ = true;
            break;
        case Attempt::Counted::no:
            if (answered) {
                queue_.answered(submission.pool);
            }
            break;
    }
    if (attempt->stage == Attempt::Stage::storing) {
        if (outcome.kind == Kind::accepted && !any_refused(submission)) {
            attempt->told = true;  // the host was faster than the disk
            parts_.lines.message(
                world_.listener_of(submission.client).name,
                submission,
                parts_.generations.pool_name(submission.pool),
                outcome,
                outcome.reply);
            world_.tell(submission, outcome.reply);
        } else if (submission.inbound_owner != nullptr && is_final_refusal(submission, outcome)) {
            attempt->withdrawn = true;
            note_answer(submission, outcome);
        } else {
            note_try(submission, outcome);
        }
        return;
    }
    note_try(submission, outcome);
    process(*attempt);
}

/// What the smart host said of a message that is kept, or is going to be.
void Deliveries::note_try(const mail::Submission& submission, const mail::Outcome& outcome) {
    parts_.lines.message(
        {},
        submission,
        parts_.generations.pool_name(submission.pool),
        outcome,
        sync_answer(outcome));
}

/// A group's submission is of no more use than its message.
void Deliveries::released(mail::Submission& submission) {
    if (auto* const message = static_cast<Grouped*>(submission.grouped);
        message != nullptr && &message->whole != &submission) {
        group_released(*message);
        return;
    }
    auto* attempt = static_cast<Attempt*>(submission.attempt);
    if (attempt == nullptr) {
        discard(submission);
        return;
    }
    attempt->with_relay = false;
    free_if_over(*attempt);
}

/// Nobody needs it any more.
void Deliveries::discard(mail::Submission& submission) {
    if (submission.grouped != nullptr) {
        forget_groups(submission);
    }
    if (beyond_ == &submission) {
        beyond_ = nullptr;
    }
    world_.free(submission);
}

bool Deliveries::has_dot_line(const mail::Body& body) {
    for (mail::Body::Cursor at = body.begin(); at.slice() != nullptr; at.advance()) {
        if (at.slice()->has_dot_line) {
            return true;
        }
    }
    return false;
}

/// Begins to bring a sender's message to stable storage, or what of it is not there yet.
void Deliveries::store(
    mail::Submission& submission, bool with_relay, const mail::Outcome* outcome) {
    const mail::Envelope& envelope = submission.envelope;
    journal::Message message;
    message.arrival_ms = now_ms();
    message.mode = submission.mode;
    message.body_type = envelope.body_type;
    message.ret = envelope.returned;
    message.smtputf8 = envelope.smtputf8;
    message.trusted = submission.client.trusted;
    message.has_eight_bit = submission.has_eight_bit;
    message.has_utf8_header = submission.has_utf8_header;
    auto* const arriving = static_cast<Arriving*>(submission.arriving);
    message.has_dot_line =
        has_dot_line(submission.body) || (arriving != nullptr && arriving->has_dot_line);
    message.reverse_path = envelope.reverse_path;
    message.envid = envelope.envelope_id;
    message.client = submission.client.address;
    std::vector<journal::Recipient> recipients;
    recipients.reserve(envelope.recipient_count);
    std::uint32_t number = 0;
    for (mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        r->number = number++;
        journal::Recipient& recipient = recipients.emplace_back();
        recipient.address = r->address;
        recipient.original = r->original_recipient;
        recipient.notify = r->notify;
        // A refusal is written down once its sender has been told of it.
        if (outcome != nullptr && outcome->kind == Kind::accepted && r->answer.code < 400) {
            recipient.state = State::delivered;
        }
    }
    const std::optional<journal::Id> id = journal::id_from_text(submission.id());
    POSTERN_ASSERT(id.has_value(), "an ID of ours is none");
    Attempt* const attempt = attempts_.make();
    POSTERN_ASSERT(attempt != nullptr, "more attempts than there can be messages");
    attempt->kept = spool::Kept::make(*id, message, submission.content_size(), recipients);
    attempt->kept->schedule.attempt = attempt;
    attempt->submission = &submission;
    attempt->pool = submission.pool;
    attempt->with_relay = with_relay;
    submission.attempt = attempt;
    if (outcome != nullptr) {
        attempt->remember(*outcome);
    }
    const journal::Content content(submission.body);
    if (arriving == nullptr) {
        spool_->keep(*attempt->kept, content);
    } else {
        spool_->keep(*attempt->kept, *arriving->begun, content);
        end_arriving(*arriving);
    }
}

void Deliveries::stored(spool::Kept& kept, bool safe) {
    if (const auto telling = tellings_.find(&kept); telling != tellings_.end()) {
        Attempt* const attempt = telling->second.attempt;
        const notify::Action action = telling->second.action;
        tellings_.erase(telling);
        if (safe) {
            queue_.add(kept);
            queue_.schedule(kept, now_ms());
            look_ = true;
        } else {
            parts_.lines.kept("not stored", kept, "a notification");
            spool::Kept::destroy(&kept);
        }
        told(attempt, action, safe);
        return;
    }
    Attempt& attempt = *static_cast<Attempt*>(kept.schedule.attempt);
    mail::Submission& submission = *attempt.submission;
    if (!safe) {
        not_stored(attempt);
        return;
    }
    if (attempt.withdrawn) {
        spool_->finish(kept);
        if (disk_matters_) {
            withdrawn_.push_back(&attempt);
        } else {
            kept.schedule.attempt = nullptr;
            tell_withdrawn(attempt);
        }
        return;
    }
    if (!std::exchange(attempt.told, true)) {
        std::array<char, 64> text;
        std::string_view words = "queued as ";
        char* const end = std::copy(words.begin(), words.end(), text.begin());
        const auto size = static_cast<std::size_t>(
            std::copy_n(submission.id().begin(), submission.id().size(), end) - text.begin());
        const mail::Reply reply{250, {2, 0, 0}, {text.data(), size}};
        parts_.lines.kept(
            "queued",
            world_.listener_of(submission.client).name,
            submission,
            parts_.generations.pool_name(submission.pool),
            attempt.has_outcome ? sync_answer(attempt.kind, attempt.reply) : reply);
        world_.tell(submission, reply);
    }
    submission.deadline = nobody_waits;
    queue_.add(kept);
    if (attempt.has_outcome) {
        process(attempt);
    } else if (attempt.with_relay) {
        attempt.stage = Attempt::Stage::trying;
        if (submission.grouped != nullptr) {
            groups_kept(attempt);
        } else if (!stays(attempt) && parts_.relay.take_back(submission)) {
            conclude(attempt);
        }
    } else {
        first_try(attempt);
    }
}

/// The sender is told so, unless a smart host still may take the message.
void Deliveries::not_stored(Attempt& attempt) {
    mail::Submission& submission = *attempt.submission;
    spool::Kept::destroy(std::exchange(attempt.kept, nullptr));
    if (attempt.with_relay && !attempt.has_outcome) {
        // What was written of it may be on the disk, and is going to be said to be over: should the
        // smart host fail, it is stored as another message.
        std::array<char, 32> id_text{};
        const std::size_t id_size = parts_.submissions.next_id(parts_.ring.wall_now(), id_text);
        const std::string goes_on = "goes on as " + std::string(id_text.data(), id_size);
        parts_.lines.kept(
            "not stored",
            world_.listener_of(submission.client).name,
            submission,
            parts_.generations.pool_name(submission.pool),
            {not_kept.code, not_kept.enhanced, goes_on});
        submission.id_text = id_text;
        submission.id_size = static_cast<std::uint8_t>(id_size);
        submission.attempt = nullptr;
        attempts_.destroy(&attempt);
        if (submission.grouped != nullptr) {
            groups_not_kept(*static_cast<Grouped*>(submission.grouped));
        }
        return;
    }
    if (!attempt.told) {
        const bool trouble =
            attempt.withdrawn || (attempt.has_outcome && attempt.kind != Kind::accepted &&
                                  attempt.kind != Kind::refused);
        const mail::Reply reply = trouble ? sync_answer(attempt.kind, attempt.reply) : not_kept;
        parts_.lines.kept(
            "deferred",
            world_.listener_of(submission.client).name,
            submission,
            parts_.generations.pool_name(submission.pool),
            reply);
        world_.tell(submission, reply);
    }
    attempt.stage = Attempt::Stage::over;
    free_if_over(attempt);
}

/// May it stay in memory until it was tried?
bool Deliveries::stays(Attempt& attempt) {
    attempt.stays =
        parts_.shares.stay(attempt.submission->pool, attempt.submission->reserved_octets);
    return attempt.stays;
}

/// What is in memory still goes out from there, unless it must wait for its pool anyway.
void Deliveries::first_try(Attempt& attempt) {
    mail::Submission& submission = *attempt.submission;
    if (!submission.spool_first && !shutting_down_ &&
        submission.generation == current().generation &&
        queue_.open(attempt.pool, parts_.ring.now()) && parts_.relay.room(attempt.pool) > 0 &&
        stays(attempt)) {
        attempt.stage = Attempt::Stage::trying;
        attempt.with_relay = true;
        queue_.passing(attempt.pool);
        attempt.counted = Attempt::Counted::passed;
        parts_.relay.submit(submission);
        return;
    }
    conclude(attempt);
}

}  // namespace postern::shard

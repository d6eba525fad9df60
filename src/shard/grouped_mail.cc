#include <algorithm>

#include "deliveries.h"
#include "postern/shard/sync.h"

/// What Deliveries does for a sender's message that goes in several transactions: no body goes
/// before the answers to all RCPTs are known, and then all of them or none; and what all came to is
/// the sender's answer, or the spool's.
namespace postern::shard {
namespace {

using Kind = mail::Outcome::Kind;
using Stage = Grouped::Stage;

constexpr mail::Reply no_memory{452, {4, 3, 1}, "memory is short, try again later"};
constexpr mail::Reply others_wait{
    451, {4, 4, 5}, "much mail for several smart hosts waits for their answers, try again later"};

/// Of the whole message; to be stored, and told.
mail::Outcome outcome_of(const Grouped& message, const Sum& sum) {
    mail::Outcome outcome;
    if (sum.accepted > 0) {
        const auto first =
            std::find_if(message.groups.begin(), message.groups.end(), [](const Group& group) {
                return group.kind == Kind::accepted;
            });
        return first->outcome();
    }
    outcome.kind = sum.unknown > 0 ? Kind::unknown : sum.of->kind;
    outcome.reply = sum.telling;
    return outcome;
}

/// The recipients of the whole message have each its own part.
void spread_answers(const Grouped& message) {
    std::vector<mail::Recipient*> all;
    for (mail::Recipient* r = message.whole.envelope.first_recipient; r != nullptr; r = r->next) {
        all.push_back(r);
    }
    for (const Group& group : message.groups) {
        for (const mail::Recipient* r = group.submission->envelope.first_recipient; r != nullptr;
             r = r->next) {
            all[r->number]->answer = answer_about(group, *r);
        }
    }
}

}  // namespace

/// False: it goes in one transaction after all.
bool Deliveries::submit_groups(mail::Submission& whole) {
    Grouped& message = *grouped_.make(whole);
    whole.grouped = &message;
    if (!make_groups(message)) {
        turn_away(whole, no_memory, whole.client.trusted && keeps());
        return true;
    }
    if (message.groups.size() == 1) {
        forget_groups(whole);
        return false;
    }
    if (keeps()) {
        wait_for_answer(whole);
    }
    if (begin_waiting(message)) {
        ask(message);
    } else if (keeps()) {
        message.lined = true;
        line_.push_back(&message);
    } else {
        turn_away(whole, others_wait, false);
    }
    return true;
}

void Deliveries::ask(Grouped& message) {
    for (Group& group : message.groups) {
        ++message.with_relay;
        parts_.relay.submit(*group.submission);
    }
}

/// Those that stand in line, as far as there is room now.
void Deliveries::ask_next() {
    if (!std::exchange(room_in_line_, false)) {
        return;
    }
    std::erase_if(line_, [this](Grouped* message) {
        message->lined = !begin_waiting(*message);
        if (!message->lined) {
            ask(*message);
        }
        return !message->lined;
    });
}

/// Its time is over before it was asked for. `kept`: it is promised all the same.
void Deliveries::leave_line(Grouped& message, bool kept) {
    std::erase(line_, &message);
    turn_away(message.whole, others_wait, kept);
}

/// False: it would hold connections that others need.
bool Deliveries::begin_waiting(Grouped& message) {
    // A few have room with any pool: most are over in milliseconds.
    static constexpr std::uint32_t few = 4;
    for (const Group& group : message.groups) {
        ++waiting_[group.pool];
    }
    message.waits =
        std::all_of(message.groups.begin(), message.groups.end(), [this](const Group& group) {
            return waiting_[group.pool] <= std::max(terms_of(group.pool).waiting_max, few);
        });
    if (!message.waits) {
        for (const Group& group : message.groups) {
            --waiting_[group.pool];
        }
    }
    return message.waits;
}

void Deliveries::stop_waiting(Grouped& message) {
    if (std::exchange(message.waits, false)) {
        for (const Group& group : message.groups) {
            --waiting_[group.pool];
        }
        room_in_line_ = true;
        look_ = look_ || !line_.empty();
    }
}

/// It is not asked for: stored, where it is `kept`; else its sender is told to come again.
void Deliveries::turn_away(mail::Submission& whole, const mail::Reply& reply, bool kept) {
    forget_groups(whole);
    if (kept) {
        whole.spool_first = true;
        store(whole, false, nullptr);
        return;
    }
    turned_away_.emplace_back(&whole, reply);
    look_ = true;
}

void Deliveries::tell_turned_away() {
    for (const auto& [whole, reply] : std::exchange(turned_away_, {})) {
        parts_.lines.kept(
            "deferred",
            world_.listener_of(whole->client).name,
            *whole,
            parts_.generations.pool_name(whole->pool),
            reply);
        world_.tell(*whole, reply);
        discard(*whole);
    }
}

/// Recipients of a pool stand together, as many as it takes. False: memory is short.
bool Deliveries::make_groups(Grouped& message) {
    std::uint32_t number = 0;
    for (mail::Recipient* r = message.whole.envelope.first_recipient; r != nullptr; r = r->next) {
        r->number = number++;
        const relay::TransactionMax most = parts_.relay.transaction_max(r->pool);
        auto its =
            std::find_if(message.groups.begin(), message.groups.end(), [&](const Group& group) {
                return group.pool == r->pool &&
                       takes_one_more(group.submission->envelope, r->pool, r->domain_key, most);
            });
        if (its == message.groups.end()) {
            mail::Submission* const part = parts_.submissions.make_part(message.whole);
            if (part == nullptr) {
                return false;
            }
            part->pool = r->pool;
            part->divide = mail::Divide::always;
            part->waits = true;
            part->grouped = &message;
            Group& group = message.groups.emplace_back();
            group.submission = part;
            group.pool = r->pool;
            its = std::prev(message.groups.end());
        }
        auto* const recipient = its->submission->arena.make<mail::Recipient>(*r);
        if (recipient == nullptr) {
            return false;
        }
        recipient->next = nullptr;
        its->submission->envelope.add(*recipient);
        message.group_numbers.push_back(static_cast<std::uint32_t>(its - message.groups.begin()));
    }
    return true;
}

/// REQUIRES: the relay needs none of them.
void Deliveries::forget_groups(mail::Submission& whole) {
    auto* const message = static_cast<Grouped*>(std::exchange(whole.grouped, nullptr));
    for (const Group& group : message->groups) {
        world_.free(*group.submission);
    }
    grouped_.destroy(message);
}

void Deliveries::held(mail::Submission& part) {
    look_at(*static_cast<Grouped*>(part.grouped));
}

void Deliveries::group_settled(mail::Submission& part, const mail::Outcome& outcome) {
    auto& message = *static_cast<Grouped*>(part.grouped);
    Group& group = message.group_of(part);
    group.remember(outcome);
    if (auto* const attempt = static_cast<Attempt*>(message.whole.attempt);
        attempt != nullptr && attempt->stage == Attempt::Stage::trying) {
        write_delivered(*attempt, group);
    }
    if (outcome.kind == Kind::accepted || outcome.kind == Kind::refused ||
        outcome.kind == Kind::divided || outcome.kind == Kind::too_many) {
        queue_.answered(part.pool);
    }
    message.whole.handed_over = std::max(message.whole.handed_over, part.handed_over);
    look_at(message);
}

void Deliveries::group_released(Grouped& message) {
    if (--message.with_relay == 0 && message.stage == Stage::over) {
        released(message.whole);
    }
}

/// Not from inside a call of the relay's: it is told what to do with others then.
void Deliveries::look_at(Grouped& message) {
    if (message.stage != Stage::over && !std::exchange(message.to_look_at, true)) {
        looked_at_.push_back(&message);
        look_ = true;
    }
}

void Deliveries::look_at_groups() {
    while (!looked_at_.empty()) {
        Grouped& message = *looked_at_.back();
        looked_at_.pop_back();
        message.to_look_at = false;
        advance(message);
    }
    ask_next();
    tell_turned_away();
}

void Deliveries::advance(Grouped& message) {
    const auto* const attempt = static_cast<const Attempt*>(message.whole.attempt);
    const bool storing = attempt != nullptr && attempt->stage == Attempt::Stage::storing;
    bool over = true;
    bool asked = true;
    for (const Group& group : message.groups) {
        over = over && group.has_outcome;
        asked = asked && (group.has_outcome || parts_.relay.holds(*group.submission));
    }
    if (!over && message.stage == Stage::asked && storing) {
        return;  // once it is promised nobody waits for anybody
    }
    if (!over && message.stage == Stage::asked && asked) {
        decide(message);
    } else if (!over && (message.stage == Stage::divided || message.stage == Stage::dropped)) {
        call_off(message);
    } else if (over) {
        stop_waiting(message);
        finish(message);
    }
}

/// All RCPTs are answered, some of them by a yes.
void Deliveries::decide(Grouped& message) {
    stop_waiting(message);
    if (world_.has_gone(message.whole)) {
        message.stage = Stage::dropped;
    } else if (may_go(sum_of(message), message.whole.client.trusted, keeps())) {
        let_go(message);
        return;
    } else {
        message.stage = Stage::divided;
    }
    call_off(message);
}

/// Nobody has it; what is not held yet is called off as it comes to be.
void Deliveries::call_off(const Grouped& message) {
    for (const Group& group : message.groups) {
        if (!group.has_outcome && parts_.relay.holds(*group.submission)) {
            parts_.relay.call_off(*group.submission);
        }
    }
}

/// The time to wait for all is over, and it is not kept.
void Deliveries::end_waiting(Grouped& message) {
    if (message.stage == Stage::asked) {
        stop_waiting(message);
        message.stage = !message.whole.answered && world_.has_gone(message.whole) ? Stage::dropped
                                                                                  : Stage::divided;
        call_off(message);
    }
}

/// From here on no group waits for another.
void Deliveries::let_go(Grouped& message) {
    stop_waiting(message);
    message.stage = Stage::going;
    for (const Group& group : message.groups) {
        if (!group.has_outcome) {
            parts_.relay.go_on(*group.submission);
        }
    }
    look_at(message);
}

/// The message is promised to its sender.
void Deliveries::groups_kept(Attempt& attempt) {
    auto& message = *static_cast<Grouped*>(attempt.submission->grouped);
    for (const Group& group : message.groups) {
        group.submission->deadline = nobody_waits;
        write_delivered(attempt, group);
    }
    let_go(message);
}

/// It has another ID, and goes on as if the time were not over.
void Deliveries::groups_not_kept(Grouped& message) {
    for (const Group& group : message.groups) {
        group.submission->id_text = message.whole.id_text;
        group.submission->id_size = message.whole.id_size;
    }
    look_at(message);
}

/// Who has it is written down before the other groups come to their end: after a power cut nobody
/// has it twice. But not before what its sender is to be told is.
void Deliveries::write_delivered(Attempt& attempt, const Group& group) {
    if (!group.has_outcome || group.kind != Kind::accepted) {
        return;
    }
    for (const mail::Recipient* r = group.submission->envelope.first_recipient; r != nullptr;
         r = r->next) {
        const bool wanted = (r->notify & set_of(mail::Notify::success)) != 0;
        if (r->answer.code < 400 && (group.host_has_dsn || !wanted)) {
            attempt.kept->recipients()[r->number].state =
                apply(attempt, group, group.submission->envelope, *r);
        }
    }
    spool_->note(*attempt.kept);
}

/// All groups have come to their end.
void Deliveries::finish(Grouped& message) {
    mail::Submission& whole = message.whole;
    static_cast<base::ListLink<mail::Answering>&>(whole).unlink();
    const Stage stage = std::exchange(message.stage, Stage::over);
    const mail::Reply divided = sync_answer(Kind::divided);
    switch (stage) {
        case Stage::divided:
            if (whole.answered) {
                note_groups(message, divided);
                break;
            }
            keep_refusals(message);
            tell_of_groups(message, divided);
            break;
        case Stage::dropped:
            tell_of_groups(message, sync_answer(Kind::dropped));
            break;
        case Stage::asked:
        case Stage::going:
        case Stage::over:
            settle_groups(message, stage == Stage::asked);
            break;
    }
    if (message.with_relay == 0) {
        released(whole);
    }
}

/// The next transaction that names them is told, each of its own pool's.
void Deliveries::keep_refusals(Grouped& message) {
    for (Group& group : message.groups) {
        if (group.kind == Kind::refused) {
            for (mail::Recipient* r = group.submission->envelope.first_recipient; r != nullptr;
                 r = r->next) {
                r->answer = answer_about(group, *r);
            }
        }
        keep_refusals(*group.submission);
    }
}

/// `reply`: the sender's, where it is not what the group was told.
void Deliveries::tell_of_groups(Grouped& message, const mail::Reply& reply) {
    note_groups(message, reply);
    world_.tell(message.whole, reply);
}

void Deliveries::note_groups(const Grouped& message, const mail::Reply& reply) {
    log_groups(message, world_.listener_of(message.whole.client).name, &reply);
    if (reply.permanent()) {
        for (const Group& group : message.groups) {
            world_.wrong_recipients(*group.submission);
        }
    }
}

void Deliveries::log_groups(
    const Grouped& message, std::string_view listener, const mail::Reply* reply) {
    for (const Group& group : message.groups) {
        log_group(group, listener, group.kind == Kind::accepted ? nullptr : reply);
    }
}

void Deliveries::log_group(
    const Group& group, std::string_view listener, const mail::Reply* reply) {
    const mail::Outcome outcome = group.outcome();
    parts_.lines.message(
        listener,
        *group.submission,
        parts_.generations.pool_name(group.pool),
        outcome,
        reply == nullptr ? sync_answer(outcome) : *reply);
}

/// Those that have it are done; of the others the sender is told where nobody has it, else they are
/// the spool's.
void Deliveries::settle_groups(Grouped& message, bool before_bodies) {
    mail::Submission& whole = message.whole;
    const Sum sum = sum_of(message);
    const mail::Outcome outcome = outcome_of(message, sum);
    spread_answers(message);
    const bool all = sum.temporary + sum.permanent == 0;
    if (auto* const attempt = static_cast<Attempt*>(whole.attempt)) {
        attempt->remember(outcome);
        if (attempt->stage != Attempt::Stage::storing) {
            log_groups(message, {}, nullptr);
            process(*attempt);
        } else if (all) {
            attempt->told = true;  // the hosts were faster than the disk
            tell_of_groups(message, outcome.reply);
        } else if (whole.inbound_owner != nullptr && sum.accepted + sum.temporary == 0) {
            attempt->withdrawn = true;  // nobody has it, nor will by another try
            note_groups(message, sum.telling);
        } else {
            log_groups(message, {}, nullptr);
        }
        return;
    }
    const bool any = sum.accepted + sum.unknown > 0;
    const bool left = !all && whole.inbound_owner != nullptr && (any || is_kept(sum, whole));
    for (const Group& group : message.groups) {
        if (group.kind == Kind::accepted && !group.host_has_dsn) {
            tell_relayed(*group.submission, group.outcome());
        }
        if (left && group.kind == Kind::accepted) {
            log_group(group, world_.listener_of(whole.client).name, nullptr);
        } else if (left && group.kind == Kind::refused) {
            log_group(group, {}, nullptr);
        }
    }
    if (left) {
        store(whole, true, &outcome);
    } else if (before_bodies && sum.permanent > 0 && sum.trouble && keeps()) {
        // It would be kept but for these: the next try is told of them, and kept for the others.
        keep_refusals(message);
        tell_of_groups(message, sync_answer(Kind::divided));
    } else {
        tell_of_groups(message, all ? outcome.reply : sum.telling);
    }
}

/// Nobody has the message: is it kept all the same?
bool Deliveries::is_kept(const Sum& sum, const mail::Submission& whole) const {
    if (sum.temporary == 0 || (sum.permanent > 0 && !whole.client.trusted) || !keeps()) {
        return false;
    }
    return sum.trouble || defer_of(sum.of->pool, whole) == config::Defer::spool;
}

}  // namespace postern::shard

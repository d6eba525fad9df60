#include "queue.h"

#include <algorithm>
#include <limits>

namespace postern::shard {
namespace {

/// So many messages are looked up again in a turn, so that senders do not wait for a reload.
constexpr unsigned looked_up_max = 500;
/// What no rule leads anywhere is looked up again after so long, and at a reload.
constexpr base::Duration orphan_look = std::chrono::minutes(10);

/// The clock is steered by less than this at a time.
constexpr base::Duration clock_step = std::chrono::seconds(1);

/// A message for which there was no memory is looked at again after so long, and others of its
/// pool.
constexpr base::Duration memory_pause = std::chrono::seconds(1);
constexpr base::Duration lane_rest = std::chrono::milliseconds(100);

/// So many recipients of a message are looked up to find a pool that answers.
constexpr unsigned looked_at_max = 32;

enum State : std::uint8_t { nowhere, ready, shared, delayed, orphan, unrouted };

State state_of(const spool::Kept& kept) {
    return static_cast<State>(kept.schedule.state);
}

}  // namespace

void Queue::add(spool::Kept& kept) {
    kept.schedule.state = nowhere;
    index_.insert(kept);
}

void Queue::erase(spool::Kept& kept) {
    POSTERN_ASSERT(state_of(kept) == nowhere, "a message that is scheduled was erased");
    index_.erase(kept);
}

Queue::Lane& Queue::lane(std::uint32_t pool) {
    if (lanes_.size() <= pool) {
        lanes_.resize(pool + 1);
    }
    return lanes_[pool];
}

void Queue::schedule(spool::Kept& kept, std::int64_t now_ms) {
    POSTERN_ASSERT(state_of(kept) == nowhere, "a message was scheduled twice");
    if (kept.held()) {
        return;
    }
    constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
    std::int64_t due = never;
    bool lost = false;
    std::optional<std::uint32_t> pool;  // one that answers, else the one that is tried next
    bool others = false;
    unsigned looked_at = 0;
    for (const spool::KeptRecipient& recipient : kept.recipients()) {
        if (recipient.state != journal::State::waiting) {
            continue;
        }
        if (!is_due(recipient, now_ms)) {
            due = std::min(due, recipient.next_try_ms);
            continue;
        }
        const std::optional<Way> way = router_.way_of(kept, recipient);
        if (!way) {
            lost = true;
            continue;
        }
        lane(way->pool).retry = way->retry;
        if (!pool) {
            pool = way->pool;
        } else if (way->pool != *pool) {
            others = true;
            if (lanes_[way->pool].opens() < lanes_[*pool].opens()) {
                pool = way->pool;
            }
        }
        if (++looked_at == looked_at_max || (others && lanes_[*pool].pause == base::Duration{})) {
            break;
        }
    }
    if (pool) {
        Lane& its = lanes_[*pool];
        kept.schedule.state = others ? shared : ready;
        kept.schedule.lane = *pool & 0xffffffU;  // no worker has so many
        (others ? its.shared : its.ready).push(kept);
        return;
    }
    if (lost) {
        const std::int64_t look = now_ms + base::to_ms(orphan_look);
        const std::int64_t expiry = expiry_ms(kept, router_.retry());
        due = std::min(due, expiry > now_ms ? std::min(look, expiry) : now_ms);
    }
    POSTERN_ASSERT(due != never, "a message without a recipient that waits was scheduled");
    kept.schedule.state = lost ? orphan : delayed;
    kept.schedule.due_ms = due;
    delayed_.push(kept);
}

void Queue::unschedule(spool::Kept& kept) {
    switch (state_of(kept)) {
        case nowhere:
            return;
        case ready:
            lanes_[kept.schedule.lane].ready.remove(kept);
            break;
        case shared:
            lanes_[kept.schedule.lane].shared.remove(kept);
            break;
        case delayed:
        case orphan:
            delayed_.remove(kept);
            break;
        case unrouted:
            unrouted_[kept.schedule.index] = nullptr;
            break;
    }
    kept.schedule.state = nowhere;
}

bool Queue::orphaned(const spool::Kept& kept) const {
    return state_of(kept) == orphan;
}

std::optional<std::uint32_t> Queue::pool_of(const spool::Kept& kept) const {
    const State state = state_of(kept);
    return state == ready || state == shared ? std::optional(kept.schedule.lane) : std::nullopt;
}

/// A time that no pause leads to was set by a clock that was wrong.
bool Queue::is_due(const spool::KeptRecipient& recipient, std::int64_t now_ms) const {
    return recipient.next_try_ms <= now_ms ||
           recipient.next_try_ms > now_ms + router_.longest_pause_ms();
}

/// It was set back: what waits for a time may be due.
void Queue::look_at_clock(std::int64_t now_ms) {
    if (now_ms < latest_ms_ - base::to_ms(clock_step)) {
        delayed_.take_all([this](spool::Kept& kept) { look_up_again(kept); });
    }
    latest_ms_ = now_ms;
}

bool Queue::has_room(const Lane& lane) {
    return lane.trying < lane.window && (lane.pause == base::Duration{} || lane.passing == 0);
}

bool Queue::may_try(const Lane& lane, base::Instant now) {
    return has_room(lane) && now >= lane.opens() && now >= lane.rests_until;
}

Queue::Next Queue::next(base::Instant now, std::int64_t now_ms) {
    look_at_clock(now_ms);
    unsigned left = looked_up_max;
    for (; left > 0 && !unrouted_.empty(); --left) {
        spool::Kept* const kept = unrouted_.back();
        unrouted_.pop_back();
        if (kept != nullptr) {
            kept->schedule.state = nowhere;
            schedule(*kept, now_ms);
        }
    }
    for (; left > 0 && !delayed_.empty() && delayed_.top().schedule.due_ms <= now_ms; --left) {
        spool::Kept& kept = delayed_.top();
        const bool was_orphan = orphaned(kept);
        delayed_.pop();
        kept.schedule.state = nowhere;
        if (was_orphan && now_ms >= expiry_ms(kept, router_.retry())) {
            return {&kept, 0, true};
        }
        schedule(kept, now_ms);
    }
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        const std::size_t pool = (turn_ + i) % lanes_.size();
        Lane& its = lanes_[pool];
        if (its.empty()) {
            continue;
        }
        spool::Kept& kept = its.oldest().top();
        const bool expired = its.silent && now_ms >= expiry_ms(kept, its.retry);
        if (!expired && !may_try(its, now)) {
            continue;
        }
        its.oldest().pop();
        kept.schedule.state = nowhere;
        if (!expired) {
            ++its.trying;
        }
        turn_ = pool + 1;
        return {&kept, static_cast<std::uint32_t>(pool), expired};
    }
    return {};
}

std::optional<base::Duration> Queue::wait(base::Instant now, std::int64_t now_ms) const {
    std::optional<base::Duration> soonest;
    const auto at = [&soonest](base::Duration wait) {
        soonest = std::max(base::Duration{}, soonest ? std::min(*soonest, wait) : wait);
    };
    if (!unrouted_.empty()) {
        at({});
    }
    if (!delayed_.empty()) {
        at(std::chrono::milliseconds(delayed_.top().schedule.due_ms - now_ms));
    }
    for (const Lane& lane : lanes_) {
        if (lane.empty()) {
            continue;
        }
        if (has_room(lane)) {
            at(std::max(lane.opens(), lane.rests_until) - now);
        }
        if (lane.silent) {
            at(std::chrono::milliseconds(expiry_ms(lane.oldest().top(), lane.retry) - now_ms));
        }
    }
    return soonest;
}

bool Queue::open(std::uint32_t pool, base::Instant now) const {
    return pool >= lanes_.size() || lanes_[pool].pause == base::Duration{} ||
           (now >= lanes_[pool].closed_until && lanes_[pool].trying == 0 &&
            lanes_[pool].passing == 0);
}

void Queue::tried(std::uint32_t pool, Came came, base::Instant now) {
    let_go(pool);
    learn(lane(pool), came, now);
}

void Queue::passed(std::uint32_t pool, Came came, base::Instant now) {
    Lane& its = lane(pool);
    POSTERN_ASSERT(its.passing > 0, "an attempt ended that had not begun");
    --its.passing;
    learn(its, came, now);
}

void Queue::learn(Lane& its, Came came, base::Instant now) {
    const bool answered_before = its.pause == base::Duration{};
    switch (came) {
        case Came::answer:
            answered(static_cast<std::uint32_t>(&its - lanes_.data()));
            its.window = std::min(2 * its.window, window_max);
            return;
        case Came::trouble: {
            its.window = 1;
            its.silent = true;
            if (its.pause != base::Duration{} && now < its.closed_until) {
                return;  // several were tried at once: one trouble
            }
            const auto bound = [](base::Duration mine, base::Duration theirs) {
                return theirs == base::Duration{} ? mine : std::min(mine, theirs);
            };
            its.pause = std::clamp(
                2 * its.pause,
                bound(pause_first, its.retry.first),
                bound(pause_max, its.retry.max));
            its.closed_until = now + its.pause;
            break;
        }
        case Came::congested:
            its.window = 1;
            its.pause = std::max(its.pause, pause_first);
            its.closed_until = now + its.pause;
            break;
    }
    if (answered_before) {
        look_for_other_pools(its);
    }
}

void Queue::let_go(std::uint32_t pool) {
    Lane& its = lane(pool);
    POSTERN_ASSERT(its.trying > 0, "an attempt ended that had not begun");
    --its.trying;
}

void Queue::put_off(spool::Kept& kept, std::uint32_t pool, base::Instant now, std::int64_t now_ms) {
    POSTERN_ASSERT(state_of(kept) == nowhere, "what is put off is not in the schedule");
    if (pool < lanes_.size()) {
        lanes_[pool].rests_until = now + lane_rest;
    }
    const auto recipients = kept.recipients();
    const bool any_waits = std::any_of(recipients.begin(), recipients.end(), [](const auto& each) {
        return each.state == journal::State::waiting;
    });
    if (any_waits && !kept.held()) {
        kept.schedule.state = delayed;
        kept.schedule.due_ms = now_ms + base::to_ms(memory_pause);
        delayed_.push(kept);
    }
}

void Queue::answered(std::uint32_t pool) {
    if (pool >= lanes_.size() || lanes_[pool].pause == base::Duration{}) {
        return;
    }
    lanes_[pool].pause = {};
    lanes_[pool].silent = false;
    for (Lane& other : lanes_) {
        if (other.pause != base::Duration{}) {
            look_for_other_pools(other);
        }
    }
}

KeptHeap<Queue::Older>& Queue::Lane::oldest() {
    const bool first = shared.empty() || (!ready.empty() && Older()(ready.top(), shared.top()));
    return first ? ready : shared;
}

void Queue::look_up_again(spool::Kept& kept) {
    kept.schedule.state = unrouted;
    kept.schedule.index = static_cast<std::uint32_t>(unrouted_.size());
    unrouted_.push_back(&kept);
}

/// The lane's pool does not answer; another may.
void Queue::look_for_other_pools(Lane& lane) {
    lane.shared.take_all([this](spool::Kept& kept) { look_up_again(kept); });
}

void Queue::rules_changed() {
    const auto again = [this](spool::Kept& kept) { look_up_again(kept); };
    for (Lane& lane : lanes_) {
        lane.ready.take_all(again);
        lane.shared.take_all(again);
        lane.pause = {};  // its number may stand for another pool now
        lane.silent = false;
        lane.window = 1;
    }
    std::vector<spool::Kept*> later;
    delayed_.take_all([&](spool::Kept& kept) {
        if (state_of(kept) == orphan) {
            again(kept);
        } else {
            later.push_back(&kept);
        }
    });
    for (spool::Kept* const kept : later) {
        delayed_.push(*kept);
    }
}

}  // namespace postern::shard

#include "postern/io/timer.h"

#include <algorithm>
#include <bit>

namespace postern::io {

namespace {

std::uint64_t tick_before(base::Instant when) {
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, when.time_since_epoch() / Timers::tick));
}

/// The first tick at which `when` has come: a deadline never fires early.
std::uint64_t tick_after(base::Instant when) {
    const std::uint64_t before = tick_before(when);
    return base::Instant(Timers::tick * static_cast<std::int64_t>(before)) < when ? before + 1
                                                                                  : before;
}

}  // namespace

Timers::Timers(base::Instant now) : now_tick_(tick_before(now)) {}

void Timers::set(Timer& timer, base::Instant deadline) {
    timer.deadline_ = deadline;
    if (timer.linked() && tick_after(deadline) >= timer.filed_tick_) {
        return;  // open() will find that it has moved
    }
    timer.unlink();
    file(timer, now_tick_ + 1);
}

void Timers::file(Timer& timer, std::uint64_t earliest_tick) {
    timer.filed_tick_ = std::max(tick_after(timer.deadline_), earliest_tick);
    const std::uint64_t differing = timer.filed_tick_ ^ now_tick_;
    const unsigned level =
        differing == 0 ? 0 : (static_cast<unsigned>(std::bit_width(differing)) - 1) / digit_bits;
    const auto index = static_cast<unsigned>(timer.filed_tick_ >> (level * digit_bits)) % slots;
    wheel_[level][index].push_back(timer);
    occupied_[level] |= std::uint64_t{1} << index;
}

void Timers::run(base::Instant now) {
    const std::uint64_t until = tick_before(now);
    Slot slot{};
    while (find_first(slot) && slot.begins <= until) {
        now_tick_ = slot.begins;
        open(slot);
    }
    now_tick_ = std::max(now_tick_, until);
}

bool Timers::find_first(Slot& slot) {
    for (unsigned level = 0; level < levels; ++level) {
        std::uint64_t& occupied = occupied_[level];
        while (occupied != 0) {
            const auto index = static_cast<unsigned>(std::countr_zero(occupied));
            if (wheel_[level][index].empty()) {
                occupied &= occupied - 1;  // its timers were cancelled
                continue;
            }
            const unsigned shift = level * digit_bits;
            const std::uint64_t block =
                (now_tick_ >> shift) >> digit_bits;  // what the levels above say
            slot = {level, index, ((block << digit_bits) | index) << shift};
            return true;
        }
    }
    return false;
}

void Timers::open(const Slot& slot) {
    // What a callback sets is at least a tick away, so it never comes into the slot that is being
    // emptied.
    while (Timer* timer = wheel_[slot.level][slot.index].pop_front()) {
        if (slot.level == 0 && tick_after(timer->deadline_) <= now_tick_) {
            timer->on_due_(*timer);
        } else {
            file(*timer, now_tick_);
        }
    }
}

base::Instant Timers::next() {
    Slot slot{};
    return find_first(slot) ? base::Instant(tick * static_cast<std::int64_t>(slot.begins))
                            : base::Instant::max();
}

}  // namespace postern::io

#pragma once

#include <array>
#include <cstdint>

#include "postern/base/list.h"
#include "postern/base/time.h"

namespace postern::io {

class Timers;

/// A deadline, embedded in what owns it. Moving it later costs one store: the wheel's entry moves
/// only when it fires early.
class Timer : public base::ListLink<> {
   public:
    using Function = void (*)(Timer& self);

    explicit Timer(Function on_due) : on_due_(on_due) {}

    bool set() const { return linked(); }

    base::Instant deadline() const { return deadline_; }

    void cancel() { unlink(); }

   private:
    friend class Timers;
    Function on_due_;
    base::Instant deadline_{};
    std::uint64_t filed_tick_ = 0;
};

/// One coarse wheel by worker. Pure: time is handed in. Fires never early, and late by at most a
/// tick.
///
/// Seven levels of 64 slots, enough for any Instant; a slot of level n is 64^n ticks wide. A timer
/// lies on the level of the highest digit (of six bits) in which its tick differs from now, so
/// every slot of a level is due before any of the next one, and a slot is opened once, when its
/// time begins: level 0 fires, the others are filed anew below.
class Timers {
   public:
    static constexpr base::Duration tick = std::chrono::milliseconds(8);
    explicit Timers(base::Instant now);

    /// From now on due at `deadline`; one in the past is due at the next tick. Also from inside a
    /// callback.
    void set(Timer& timer, base::Instant deadline);
    /// Runs what is due, earlier slots first. A timer is no longer set when its function runs.
    void run(base::Instant now);
    /// When run() has something to do next, at the earliest; Instant::max() for never.
    base::Instant next();

   private:
    static constexpr unsigned digit_bits = 6;
    static constexpr unsigned slots = 1u << digit_bits;
    static constexpr unsigned levels = 7;

    struct Slot {
        unsigned level;
        unsigned index;
        std::uint64_t begins;  // tick
    };

    void file(Timer& timer, std::uint64_t earliest_tick);
    bool find_first(Slot& slot);
    void open(const Slot& slot);

    std::uint64_t now_tick_;  // every tick up to this one has been run
    std::array<std::uint64_t, levels>
        occupied_{};  // a bit a slot; one may be left by a cancelled timer
    std::array<std::array<base::List<Timer>, slots>, levels> wheel_;
};

}  // namespace postern::io

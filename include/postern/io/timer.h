#pragma once

#include "postern/base/list.h"
#include "postern/base/time.h"

namespace postern::io {

class Timers;

/// A deadline, embedded in what owns it. Moving it later costs one store: the wheel's entry moves only when it fires early.
class Timer : public base::ListLink<Timer> {
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
    base::Instant filed_under_{};
};

/// One coarse wheel by worker. Pure: time is handed in. Fires never early, and late by at most `tick`.
class Timers {
   public:
    static constexpr base::Duration tick = std::chrono::milliseconds(8);
    explicit Timers(base::Instant now);

    void set(Timer& timer, base::Instant deadline);
    /// Runs what is due.
    void run(base::Instant now);
    /// When run() has something to do next, at the earliest; Instant::max() for never.
    base::Instant next() const;
};

}  // namespace postern::io

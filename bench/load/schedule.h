#pragma once

#include <cmath>
#include <cstdint>

#include "postern/base/time.h"

/// When messages are meant to start in an open loop: evenly spaced, whatever became of those
/// before. Pure: time is handed in.
namespace postern::bench {

class Schedule {
   public:
    /// `rate`: messages a second, above 0.
    Schedule(base::Instant start, double rate) : start_(start), interval_ns_(1e9 / rate) {}

    base::Instant intended(std::uint64_t number) const {
        return start_ + base::Duration(std::llround(interval_ns_ * static_cast<double>(number)));
    }

    /// The intended start of the next message that was not taken.
    base::Instant next() const { return intended(taken_); }

    bool due(base::Instant now) const { return next() <= now; }

    /// REQUIRES: due. Its intended start.
    base::Instant take() { return intended(taken_++); }

   private:
    base::Instant start_;
    double interval_ns_;
    std::uint64_t taken_ = 0;
};

}  // namespace postern::bench

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "postern/base/time.h"

namespace postern::metrics {

enum class Event : std::uint8_t {
    connected,
    left,
    began,
    submitted,
    abandoned,
    settled,
    refused,
    trouble,
    stopping,
};

/// A worker's flight recorder: its last events, always on, for the moment when something is wrong.
/// A few plain stores an event. One thread notes; any thread may print meanwhile, and leaves out
/// what is being overwritten.
class Recorder {
   public:
    static constexpr std::size_t events_max = 128;
    static constexpr std::size_t text_max = 32;  // octets kept of a text

    /// `number`: a reply's code, or whatever the event has. `text`: a message's id, an address.
    void note(base::Instant now, Event event, std::uint64_t number, std::string_view text);
    /// The oldest first, a line each. Allocates nothing: a failed assertion prints too.
    void print(std::FILE* out) const;

   private:
    static constexpr std::size_t words = text_max / sizeof(std::uint64_t);

    struct Entry {
        std::atomic<std::int64_t> time_ns{0};
        std::atomic<std::uint64_t> event_and_number{0};
        std::array<std::atomic<std::uint64_t>, words> text{};
    };

    // Law: the events [noted_ - events_max, noted_) are in the ring, event n at n % events_max,
    // but for the oldest while one is being noted.
    std::array<Entry, events_max> entries_;
    std::atomic<std::uint64_t> noted_{0};
};

}  // namespace postern::metrics

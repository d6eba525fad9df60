#include "postern/metrics/recorder.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

namespace postern::metrics {
namespace {

constexpr unsigned event_bits = 8;
constexpr const char* names[] = {
    "connected",
    "left",
    "began",
    "submitted",
    "abandoned",
    "settled",
    "refused",
    "trouble",
    "stopping"};

}  // namespace

void Recorder::note(base::Instant now, Event event, std::uint64_t number, std::string_view text) {
    const std::uint64_t noted = noted_.load(std::memory_order_relaxed);
    Entry& entry = entries_[noted % events_max];
    std::array<std::uint64_t, words> octets{};
    std::memcpy(octets.data(), text.data(), std::min(text.size(), text_max));
    // Released (a plain store on this machine): who sees one of them sees that `noted_` has come so
    // far that the entry's old event is out of the ring.
    entry.time_ns.store(now.time_since_epoch().count(), std::memory_order_release);
    entry.event_and_number.store(
        (number << event_bits) | static_cast<std::uint64_t>(event), std::memory_order_release);
    for (std::size_t i = 0; i < words; ++i) {
        entry.text[i].store(octets[i], std::memory_order_release);
    }
    noted_.store(noted + 1, std::memory_order_release);
}

void Recorder::print(std::FILE* out) const {
    const std::uint64_t end = noted_.load(std::memory_order_acquire);
    for (std::uint64_t n = end > events_max ? end - events_max : 0; n < end; ++n) {
        const Entry& entry = entries_[n % events_max];
        const std::int64_t time_ns = entry.time_ns.load(std::memory_order_acquire);
        const std::uint64_t what = entry.event_and_number.load(std::memory_order_acquire);
        std::array<std::uint64_t, words> octets;
        for (std::size_t i = 0; i < words; ++i) {
            octets[i] = entry.text[i].load(std::memory_order_acquire);
        }
        if (noted_.load(std::memory_order_relaxed) >= n + events_max) {
            continue;  // overwritten, or about to be
        }
        char text[text_max + 1] = {};
        std::memcpy(text, octets.data(), text_max);
        for (char& c : text) {  // a peer's octets may stand in it
            c = c == '\0' || (c > ' ' && c < '\x7f') ? c : '?';
        }
        std::fprintf(
            out,
            "  %" PRId64 ".%06" PRId64 " %s %" PRIu64 " %s\n",
            time_ns / 1'000'000'000,
            time_ns % 1'000'000'000 / 1000,
            names[what & ((1U << event_bits) - 1)],
            what >> event_bits,
            text);
    }
}

}  // namespace postern::metrics

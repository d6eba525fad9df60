#include "postern/shared/rates.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

constexpr std::uint32_t minute_s = 60;

std::size_t sets_for(std::size_t clients, std::size_t ways) {
    return std::bit_ceil(std::max<std::size_t>((clients + ways - 1) / ways, 1));
}

std::uint32_t seconds_of(base::Instant now) {
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
}

}  // namespace

RateTable::RateTable(std::size_t clients_max)
    : sets_(sets_for(clients_max, ways)),
      // Zeroed pages come as they are touched.
      entries_(static_cast<Entry*>(std::calloc(sets_ * ways, sizeof(Entry)))) {
    POSTERN_ASSERT(entries_ != nullptr, "address space for a table is there at start");
}

void RateTable::Free::operator()(Entry* entries) const {
    std::free(entries);
}

bool RateTable::add(
    std::uint64_t key, Kind kind, std::uint64_t amount, std::uint64_t bound, base::Instant now) {
    const std::uint32_t now_s = seconds_of(now);
    const std::lock_guard guard(lock_of(key));
    Entry& entry = find(key, now_s);
    if (!entry.fits(kind, amount, bound, now_s)) {
        return false;
    }
    entry.counts[static_cast<std::size_t>(kind)] += amount;
    return true;
}

bool RateTable::would_fit(
    std::uint64_t key, Kind kind, std::uint64_t amount, std::uint64_t bound, base::Instant now) {
    const std::uint32_t now_s = seconds_of(now);
    const std::lock_guard guard(lock_of(key));
    return find(key, now_s).fits(kind, amount, bound, now_s);
}

std::size_t RateTable::memory(std::size_t clients_max) {
    return sets_for(clients_max, ways) * ways * sizeof(Entry);
}

/// The client's place, its own or one that it takes now.
RateTable::Entry& RateTable::find(std::uint64_t key, std::uint32_t now_s) {
    POSTERN_ASSERT(key != 0, "a client has a key");
    Entry* const set = entries_.get() + set_of(key) * ways;
    Entry* found = std::find_if(set, set + ways, [key](const Entry& e) { return e.key == key; });
    if (found == set + ways) {
        found = std::min_element(set, set + ways, [now_s](const Entry& a, const Entry& b) {
            return a.worth(now_s) < b.worth(now_s);
        });
        if (found->key == 0) {
            taken_.fetch_add(1, std::memory_order_relaxed);
        }
        *found = {};
        found->key = key;
        found->began_s = now_s;
    } else {
        found->roll(now_s);
    }
    found->activity += found->activity < std::numeric_limits<std::uint32_t>::max() ? 1 : 0;
    return *found;
}

/// To the minute that holds `now_s`. Workers' clocks differ by a turn: it may lie before `began_s`.
void RateTable::Entry::roll(std::uint32_t now_s) {
    if (now_s < began_s + minute_s) {
        return;
    }
    if (now_s >= began_s + 2 * minute_s) {
        counts = {};
        before = {};
        activity = 0;
        began_s = now_s;
        return;
    }
    before = counts;
    counts = {};
    activity /= 2;
    began_s += minute_s;
}

/// The least goes first: what was never taken, what counts nothing any more, then by activity.
std::uint64_t RateTable::Entry::worth(std::uint32_t now_s) const {
    if (key == 0) {
        return 0;
    }
    if (now_s >= began_s + 2 * minute_s) {
        return 1;
    }
    const bool this_minute = now_s < began_s + minute_s;
    return std::uint64_t{2} + (this_minute ? activity : activity / 2);
}

bool RateTable::Entry::fits(
    Kind kind, std::uint64_t amount, std::uint64_t bound, std::uint32_t now_s) const {
    const auto i = static_cast<std::size_t>(kind);
    const std::uint32_t passed = now_s > began_s ? now_s - began_s : 0;
    // No overflow: a bound is less than 2^41 (config/keys.cc), and no count is larger.
    const std::uint64_t count = counts[i] + before[i] * (minute_s - passed) / minute_s;
    return amount <= bound && count <= bound - amount;
}

}  // namespace postern::shared

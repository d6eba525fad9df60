#include "postern/shared/hosts.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <mutex>
#include <string>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

constexpr unsigned step_max = 5;  // 1, 2, 4, 8, 16, 30 s

std::int64_t ms(base::Instant time) {
    return base::to_ms(time.time_since_epoch());
}

base::Duration pause(unsigned step) {
    return std::min(HostFacts::pause_min * (1 << step), HostFacts::pause_max);
}

}  // namespace

HostFacts::State HostFacts::unpack(std::uint64_t word) {
    return {
        static_cast<Health>(word & 3),
        static_cast<unsigned>(word >> 2 & 7),
        static_cast<std::int64_t>(word >> 5)};
}

std::uint64_t HostFacts::pack(const State& state) {
    return static_cast<std::uint64_t>(state.time_ms) << 5 | std::uint64_t{state.step} << 2 |
           static_cast<std::uint64_t>(state.health);
}

// `change` says what becomes of a state, and false where nothing does.
template <class Change>
bool HostFacts::change(Change&& change) {
    std::uint64_t word = state_.load(std::memory_order_relaxed);
    for (;;) {
        State state = unpack(word);
        if (!change(state)) {
            return false;
        }
        if (state_.compare_exchange_weak(word, pack(state), std::memory_order_relaxed)) {
            return true;
        }
    }
}

HostFacts::Health HostFacts::health() const {
    return unpack(state_.load(std::memory_order_relaxed)).health;
}

std::uint32_t HostFacts::window(base::Instant now) const {
    const State state = unpack(state_.load(std::memory_order_relaxed));
    if (state.health != Health::trusted) {
        return 0;
    }
    const std::int64_t steps = (ms(now) - state.time_ms) / base::to_ms(window_step);
    return state.time_ms == 0 || steps >= window_steps ? std::numeric_limits<std::uint32_t>::max()
                                                       : 1U << std::max<std::int64_t>(steps, 0);
}

bool HostFacts::fail(base::Instant now, bool probe) {
    const bool was_proven = proven(now);
    return change([&](State& state) {
        if (state.health == Health::aside || (state.health == Health::probing && !probe)) {
            return false;
        }
        state.step = was_proven || state.time_ms == 0 ? 0 : std::min(state.step + 1, step_max);
        state.health = Health::aside;
        state.time_ms = ms(now + pause(state.step));
        return true;
    });
}

bool HostFacts::begin_probe(base::Instant now, base::Duration lease) {
    return change([&](State& state) {
        if (state.health == Health::trusted || ms(now) < state.time_ms) {
            return false;
        }
        state.health = Health::probing;
        state.time_ms = ms(now + lease);
        return true;
    });
}

bool HostFacts::trust(base::Instant now) {
    return change([&](State& state) {
        if (state.health != Health::probing) {
            return false;
        }
        state.health = Health::trusted;
        state.time_ms = std::max<std::int64_t>(ms(now), 1);
        return true;
    });
}

void HostFacts::leave_probe(base::Instant now) {
    change([&](State& state) {
        if (state.health != Health::probing) {
            return false;
        }
        state.health = Health::aside;
        state.time_ms = ms(now);
        return true;
    });
}

bool HostFacts::begin_plain(base::Instant now) {
    const bool already = plain(now);
    plain_until_.store((now + plain_period).time_since_epoch().count(), std::memory_order_relaxed);
    return !already;
}

bool HostFacts::add_connection(std::uint32_t bound) {
    if (connections_.fetch_add(1, std::memory_order_relaxed) < bound) {
        return true;
    }
    connections_.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

void HostFacts::remove_connection() {
    const std::uint32_t before = connections_.fetch_sub(1, std::memory_order_relaxed);
    POSTERN_ASSERT(before > 0, "connections count down what they counted up");
}

HostTable::HostTable(std::size_t hosts_max, const base::HashKey& key)
    : key_(key),
      entries_(new Entry[hosts_max]),
      heads_(std::bit_ceil(std::max<std::size_t>(hosts_max, 1)), nobody) {
    for (auto i = static_cast<std::uint32_t>(hosts_max); i-- > 0;) {
        entries_[i].next = free_;
        free_ = i;
    }
}

HostFacts* HostTable::take(std::string_view pool, std::string_view host) {
    const std::uint64_t key = base::siphash(key_, std::string(pool) + '\n' + std::string(host));
    const std::lock_guard guard(lock_);
    std::uint32_t& head = head_of(key);
    for (std::uint32_t i = head; i != nobody; i = entries_[i].next) {
        if (entries_[i].key == key) {
            ++entries_[i].users;
            return &entries_[i].facts;
        }
    }
    if (free_ == nobody) {
        return nullptr;
    }
    const std::uint32_t made = free_;
    Entry& entry = entries_[made];
    free_ = entry.next;
    entry.key = key;
    entry.users = 1;
    entry.next = head;
    head = made;
    count_.fetch_add(1, std::memory_order_relaxed);
    return &entry.facts;
}

bool HostTable::give_back(HostFacts& facts) {
    static_assert(offsetof(Entry, facts) == 0);
    Entry& entry = reinterpret_cast<Entry&>(facts);
    const std::lock_guard guard(lock_);
    if (--entry.users > 0) {
        return false;
    }
    POSTERN_ASSERT(facts.connections() == 0, "a host's facts went before its connections");
    const auto index = static_cast<std::uint32_t>(&entry - entries_.get());
    std::uint32_t* link = &head_of(entry.key);
    while (*link != index) {
        link = &entries_[*link].next;
    }
    *link = entry.next;
    const bool in_trouble = facts.health() != HostFacts::Health::trusted;
    std::construct_at(&entry);
    entry.next = free_;
    free_ = index;
    count_.fetch_sub(1, std::memory_order_relaxed);
    return in_trouble;
}

}  // namespace postern::shared

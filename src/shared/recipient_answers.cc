#include "postern/shared/recipient_answers.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

using namespace std::chrono_literals;

/// A known answer that is younger is not written again.
constexpr base::Duration renewed_after = 1h;

std::int64_t to_ns(base::Instant time) {
    return time.time_since_epoch().count();
}

/// Never fewer than so many that all of one place's have one lock.
std::size_t count_for(std::size_t most, std::size_t ways) {
    return std::bit_ceil(std::max(most, ways * RecipientAnswers::locks_count));
}

}  // namespace

template <class T>
RecipientAnswers::Places<T> RecipientAnswers::make_places(std::size_t count) {
    // Pages come as they are touched; zeros are the empty state of all that lies here.
    Places<T> places(static_cast<T*>(std::calloc(count, sizeof(T))));
    POSTERN_ASSERT(places != nullptr, "address space for a table is there at start");
    return places;
}

void RecipientAnswers::Free::operator()(void* memory) const {
    std::free(memory);
}

RecipientAnswers::RecipientAnswers(const Bounds& bounds, const base::HashKey& key)
    : key_(key),
      accepted_count_(count_for(bounds.accepted_max, ways)),
      refused_count_(count_for(bounds.refused_max, ways)),
      accepted_(make_places<Accepted>(accepted_count_)),
      refused_tags_(new std::atomic<std::uint64_t>[refused_count_]()),
      refused_(make_places<Refused>(refused_count_)) {}

/// What is hashed together has a fixed size in front, so no two recipients can be one by where
/// their texts are cut.
base::Hash128 RecipientAnswers::identity(
    const base::Hash128& pool, std::string_view recipient) const {
    const std::array parts{pool, base::siphash128(key_, recipient)};
    base::Hash128 whole =
        base::siphash128(key_, {reinterpret_cast<const char*>(parts.data()), sizeof parts});
    whole.low = std::max<std::uint64_t>(1, whole.low);
    return whole;
}

base::Hash128 RecipientAnswers::pool_key(std::string_view definition) const {
    return base::siphash128(key_, definition);
}

std::optional<base::Instant> RecipientAnswers::accepted_at(const base::Hash128& identity) const {
    const Accepted* const places = accepted_.get() + place_of(identity, accepted_count_);
    for (std::size_t i = 0; i < ways; ++i) {
        if (places[i].low.load(std::memory_order_acquire) == identity.low &&
            places[i].high.load(std::memory_order_relaxed) == identity.high) {
            return base::Instant(base::Duration(places[i].at_ns.load(std::memory_order_relaxed)));
        }
    }
    return std::nullopt;
}

bool RecipientAnswers::refused(
    const base::Hash128& identity, base::Instant now, KeptAnswer& answer) {
    const std::size_t first = place_of(identity, refused_count_);
    for (std::size_t i = first; i < first + ways; ++i) {
        if (refused_tags_[i].load(std::memory_order_relaxed) != identity.low) {
            continue;
        }
        const std::lock_guard guard(lock_of(identity));
        if (refused_tags_[i].load(std::memory_order_relaxed) == identity.low &&
            refused_[i].identity == identity && now < refused_[i].expires) {
            answer = refused_[i].answer;
            return true;
        }
    }
    return false;
}

void RecipientAnswers::accept(const base::Hash128& identity, base::Instant now) {
    if (const auto known = accepted_at(identity); known && now - *known < renewed_after) {
        return;
    }
    const std::lock_guard guard(lock_of(identity));
    forget_refused(identity);
    Accepted* const places = accepted_.get() + place_of(identity, accepted_count_);
    // Its own place, else the one that was written longest ago: a free one never was.
    Accepted* place = places;
    for (std::size_t i = 0; i < ways; ++i) {
        if (places[i].low.load(std::memory_order_relaxed) == identity.low &&
            places[i].high.load(std::memory_order_relaxed) == identity.high) {
            place = &places[i];
            break;
        }
        if (places[i].at_ns.load(std::memory_order_relaxed) <
            place->at_ns.load(std::memory_order_relaxed)) {
            place = &places[i];
        }
    }
    if (place->at_ns.load(std::memory_order_relaxed) == 0) {
        held_octets_.fetch_add(sizeof(Accepted), std::memory_order_relaxed);
    }
    place->low.store(0, std::memory_order_relaxed);
    place->high.store(identity.high, std::memory_order_release);
    place->at_ns.store(to_ns(now), std::memory_order_release);
    place->low.store(identity.low, std::memory_order_release);
}

void RecipientAnswers::refuse(
    const base::Hash128& identity, const KeptAnswer& answer, base::Instant expires) {
    const std::lock_guard guard(lock_of(identity));
    forget_accepted(identity);
    const std::size_t first = place_of(identity, refused_count_);
    // Its own place, else a free one, else that of the oldest.
    std::size_t place = first;
    for (std::size_t i = first; i < first + ways; ++i) {
        if (refused_tags_[i].load(std::memory_order_relaxed) == identity.low &&
            refused_[i].identity == identity) {
            place = i;
            break;
        }
        const auto age = [&](std::size_t at) {
            const bool free = refused_tags_[at].load(std::memory_order_relaxed) == 0;
            return free ? base::Instant{} : refused_[at].expires;
        };
        if (age(i) < age(place)) {
            place = i;
        }
    }
    if (refused_[place].expires == base::Instant{}) {
        held_octets_.fetch_add(sizeof(Refused), std::memory_order_relaxed);
    }
    refused_[place] = {identity, expires, answer};
    refused_tags_[place].store(identity.low, std::memory_order_relaxed);
}

// With its lock held, here and below.
void RecipientAnswers::forget_accepted(const base::Hash128& identity) {
    Accepted* const places = accepted_.get() + place_of(identity, accepted_count_);
    for (std::size_t i = 0; i < ways; ++i) {
        if (places[i].low.load(std::memory_order_relaxed) == identity.low &&
            places[i].high.load(std::memory_order_relaxed) == identity.high) {
            places[i].low.store(0, std::memory_order_relaxed);
            places[i].at_ns.store(1, std::memory_order_relaxed);
        }
    }
}

void RecipientAnswers::forget_refused(const base::Hash128& identity) {
    const std::size_t first = place_of(identity, refused_count_);
    for (std::size_t i = first; i < first + ways; ++i) {
        if (refused_tags_[i].load(std::memory_order_relaxed) == identity.low &&
            refused_[i].identity == identity) {
            refused_tags_[i].store(0, std::memory_order_relaxed);
        }
    }
}

// Where all places are taken nobody is kept from asking: two then may ask the same.
bool RecipientAnswers::begin_question(
    const base::Hash128& identity, base::Instant now, base::Instant until) {
    Question* const places = questions_.data() + place_of(identity, questions_max);
    const std::lock_guard guard(lock_of(identity));
    Question* place = places;
    for (std::size_t i = 0; i < ways; ++i) {
        if (places[i].identity == identity && now < places[i].until) {
            return false;
        }
        if (places[i].until < place->until) {
            place = &places[i];
        }
    }
    *place = {identity, until};
    return true;
}

void RecipientAnswers::end_question(const base::Hash128& identity) {
    Question* const places = questions_.data() + place_of(identity, questions_max);
    const std::lock_guard guard(lock_of(identity));
    for (std::size_t i = 0; i < ways; ++i) {
        if (places[i].identity == identity) {
            places[i] = {};
        }
    }
}

std::size_t RecipientAnswers::memory(const Bounds& bounds) {
    return sizeof(RecipientAnswers) + count_for(bounds.accepted_max, ways) * sizeof(Accepted) +
           count_for(bounds.refused_max, ways) * (sizeof(Refused) + sizeof(std::uint64_t));
}

QuestionBudget::QuestionBudget(std::size_t places)
    : places_(std::bit_ceil(std::max<std::size_t>(1, places))),
      full_at_ns_(new std::atomic<std::int64_t>[places_]()) {}

bool QuestionBudget::take(
    std::uint64_t key, base::Instant now, base::Duration each, std::uint32_t at_once) {
    std::atomic<std::int64_t>& place = full_at_ns_[key & (places_ - 1)];
    std::int64_t before = place.load(std::memory_order_relaxed);
    for (;;) {
        const std::int64_t next = std::max(before, to_ns(now)) + each.count();
        if (next - to_ns(now) > each.count() * at_once) {
            return false;
        }
        if (place.compare_exchange_weak(before, next, std::memory_order_relaxed)) {
            return true;
        }
    }
}

std::size_t QuestionBudget::memory(std::size_t places) {
    return std::bit_ceil(std::max<std::size_t>(1, places)) * sizeof(std::int64_t);
}

}  // namespace postern::shared

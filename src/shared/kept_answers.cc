#include "postern/shared/kept_answers.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

std::int64_t to_ns(base::Instant time) {
    return time.time_since_epoch().count();
}

std::size_t bucket_count(std::size_t answers_max, std::size_t ways) {
    return std::bit_ceil(std::max<std::size_t>(1, answers_max / ways));
}

/// RFC 3463: X.1.x speaks of an address, X.2.x of a mailbox.
bool holds_for_every_client(const KeptAnswer& answer) {
    return answer.enhanced[1] == 1 || answer.enhanced[1] == 2;
}

}  // namespace

void KeptAnswer::set_text(std::string_view text) {
    if (text.size() > text_max) {
        const std::size_t line_end = text.rfind('\n', text_max);
        text = text.substr(0, line_end == std::string_view::npos ? text_max : line_end);
    }
    std::memcpy(text_octets.data(), text.data(), text.size());
    text_size = static_cast<std::uint16_t>(text.size());
}

KeptAnswers::KeptAnswers(std::size_t answers_max, const base::HashKey& key)
    : key_(key),
      buckets_(bucket_count(answers_max, ways)),
      tags_(new Tags[buckets_]()),
      // Pages come as they are touched: a table that keeps nothing costs its tags.
      slots_(static_cast<Slot*>(std::calloc(buckets_ * ways, sizeof(Slot)))) {
    POSTERN_ASSERT(slots_ != nullptr, "address space for a table is there at start");
}

void KeptAnswers::Free::operator()(void* memory) const {
    std::free(memory);
}

void KeptAnswers::keep(const KeptAnswerKey& key, const KeptAnswer& answer, base::Instant now) {
    const base::Hash128 wanted = identity(key, holds_for_every_client(answer) ? 0 : key.network);
    const std::size_t bucket = bucket_of(wanted);
    Tags& tags = tags_[bucket];
    Slot* const slots = slots_.get() + bucket * ways;
    const std::lock_guard guard(lock_of(bucket));
    // Its own place, else a free one, else that of the oldest: expired ones are older than all
    // others.
    std::size_t place = ways;
    for (std::size_t i = 0; i < ways; ++i) {
        const std::uint64_t tag = tags.tags[i].load(std::memory_order_relaxed);
        if (tag == wanted.low && slots[i].identity == wanted) {
            place = i;
            break;
        }
        const bool free = tag == 0;
        const bool place_free =
            place < ways && tags.tags[place].load(std::memory_order_relaxed) == 0;
        if (place == ways || (!place_free && (free || slots[i].expires < slots[place].expires))) {
            place = i;
        }
    }
    if (tags.tags[place].load(std::memory_order_relaxed) == 0) {
        count_.fetch_add(1, std::memory_order_relaxed);
    }
    slots[place] = {wanted, now + lifetime, answer};
    tags.tags[place].store(wanted.low, std::memory_order_relaxed);
    std::int64_t last = last_expiry_ns_.load(std::memory_order_relaxed);
    while (last < to_ns(now + lifetime) &&
           !last_expiry_ns_.compare_exchange_weak(
               last, to_ns(now + lifetime), std::memory_order_relaxed)) {
    }
}

bool KeptAnswers::take(const KeptAnswerKey& key, base::Instant now, KeptAnswer& answer) {
    return any(now) && (take_identity(identity(key, 0), now, answer) ||
                        take_identity(identity(key, key.network), now, answer));
}

bool KeptAnswers::take_identity(
    const base::Hash128& wanted, base::Instant now, KeptAnswer& answer) {
    const std::size_t bucket = bucket_of(wanted);
    Tags& tags = tags_[bucket];
    for (std::size_t i = 0; i < ways; ++i) {
        // Without the lock, for the many that find nothing.
        if (tags.tags[i].load(std::memory_order_relaxed) != wanted.low) {
            continue;
        }
        const std::lock_guard guard(lock_of(bucket));
        const Slot& slot = slots_[bucket * ways + i];
        if (tags.tags[i].load(std::memory_order_relaxed) != wanted.low || slot.identity != wanted) {
            continue;
        }
        tags.tags[i].store(0, std::memory_order_relaxed);
        count_.fetch_sub(1, std::memory_order_relaxed);
        if (now < slot.expires) {
            answer = slot.answer;
            return true;
        }
    }
    return false;
}

std::size_t KeptAnswers::memory(std::size_t answers_max) {
    return bucket_count(answers_max, ways) * (sizeof(Tags) + ways * sizeof(Slot));
}

/// Each text on its own first: what is hashed together has a fixed size, so no two keys can be one
/// by where their texts are cut.
base::Hash128 KeptAnswers::identity(const KeptAnswerKey& key, std::uint64_t network) const {
    const std::array parts{
        base::siphash128(key_, key.pool),
        base::siphash128(key_, key.reverse_path),
        base::siphash128(key_, key.recipient),
        base::Hash128{network, 0}};
    base::Hash128 whole =
        base::siphash128(key_, {reinterpret_cast<const char*>(parts.data()), sizeof parts});
    whole.low = std::max<std::uint64_t>(1, whole.low);
    return whole;
}

}  // namespace postern::shared

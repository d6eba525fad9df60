#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "postern/base/siphash.h"
#include "postern/base/time.h"
#include "postern/shared/spinlock.h"

/// Refusals that a smart host gave to some recipients of a divided message (product.md, section 3):
/// kept for six hours, known to all workers, and given once, to the next transaction that names the
/// recipient. In bounded memory: where there is no room, the oldest of a few goes, and its
/// recipient is asked for again at the smart host, which costs the sender one more try and loses
/// nothing. Any thread.
namespace postern::shared {

/// An answer by value: no view outlives the table.
struct KeptAnswer {
    static constexpr std::size_t text_max = 464;

    std::uint16_t code = 0;
    std::array<std::uint16_t, 3> enhanced{};  // class, subject, detail; zeros: none
    std::uint16_t text_size = 0;
    std::array<char, text_max> text_octets;

    std::string_view text() const { return {text_octets.data(), text_size}; }

    /// Longer texts are cut at the end of a line that still fits, or else at text_max.
    void set_text(std::string_view text);
};

/// What an answer belongs to.
struct KeptAnswerKey {
    std::string_view pool;          // by name
    std::string_view reverse_path;  // as the sender wrote it
    std::string_view recipient;
    std::uint64_t network = 0;  // the client's (network_key)
};

class KeptAnswers {
   public:
    static constexpr base::Duration lifetime = std::chrono::hours(6);

    /// Room for `answers_max` answers, rounded up to a power of two.
    KeptAnswers(std::size_t answers_max, const base::HashKey& key);
    KeptAnswers(const KeptAnswers&) = delete;
    KeptAnswers& operator=(const KeptAnswers&) = delete;

    /// Keeps an answer in place of an older one with that key. One about the recipient or the
    /// sender's address itself (X.1.x) or the mailbox (X.2.x) holds for every client, any other for
    /// the client network that it was given to.
    void keep(const KeptAnswerKey& key, const KeptAnswer& answer, base::Instant now);

    /// Could `take` find anything? Two relaxed loads: before a key is made.
    bool any(base::Instant now) const {
        return count() != 0 &&
               now.time_since_epoch().count() < last_expiry_ns_.load(std::memory_order_relaxed);
    }

    /// Takes out the answer for this client, if there is one: it is given to one caller only.
    [[nodiscard]] bool take(const KeptAnswerKey& key, base::Instant now, KeptAnswer& answer);

    /// Answers in the table, expired ones that nobody asked for included.
    std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }

    /// Octets of memory that a table may come to hold; mapped as it is used.
    static std::size_t memory(std::size_t answers_max);

   private:
    static constexpr std::size_t ways = 8;  // places that one key may take

    struct Slot {
        base::Hash128 identity;
        base::Instant expires;
        KeptAnswer answer;
    };

    // What a lookup looks at: the low half of each identity, 0 for none.
    struct alignas(64) Tags {
        std::array<std::atomic<std::uint64_t>, ways> tags;
    };

    struct alignas(64) Lock {
        Spinlock lock;
    };

    struct Free {
        void operator()(void* memory) const;
    };

    base::Hash128 identity(const KeptAnswerKey& key, std::uint64_t network) const;
    bool take_identity(const base::Hash128& identity, base::Instant now, KeptAnswer& answer);

    std::size_t bucket_of(const base::Hash128& identity) const {
        return identity.high & (buckets_ - 1);
    }

    Spinlock& lock_of(std::size_t bucket) { return locks_[bucket % locks_count].lock; }

    static constexpr std::size_t locks_count = 64;

    const base::HashKey key_;
    const std::size_t buckets_;  // a power of two
    std::unique_ptr<Tags[]> tags_;
    std::unique_ptr<Slot[], Free> slots_;  // `ways` by bucket
    std::array<Lock, locks_count> locks_;
    alignas(64) std::atomic<std::uint32_t> count_{0};
    std::atomic<std::int64_t> last_expiry_ns_{0};  // behind it everything has expired
};

}  // namespace postern::shared

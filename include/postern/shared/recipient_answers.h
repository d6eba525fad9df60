#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "postern/base/siphash.h"
#include "postern/base/time.h"
#include "postern/shared/kept_answers.h"
#include "postern/shared/spinlock.h"

/// What smart hosts have said of recipients, for the pools that ask them (`verify = "rcpt"`): who
/// exists, who does not and in which words, and who is being asked about now. Fixed tables, known
/// to all workers; where there is no room the oldest of a few goes, and is asked about again. Any
/// thread.
namespace postern::shared {

class RecipientAnswers {
   public:
    /// Room for so many, rounded up to powers of two.
    struct Bounds {
        std::size_t accepted_max = 0;
        std::size_t refused_max = 0;
    };

    RecipientAnswers(const Bounds& bounds, const base::HashKey& key);
    RecipientAnswers(const RecipientAnswers&) = delete;
    RecipientAnswers& operator=(const RecipientAnswers&) = delete;

    /// Stands for a recipient of a pool: 128 keyed bits, of which 18 or more choose the place and
    /// all are compared. `pool`: what pool_key gave.
    base::Hash128 identity(const base::Hash128& pool, std::string_view recipient) const;
    /// Stands for a pool by its definition: with another one nothing is known of it.
    base::Hash128 pool_key(std::string_view definition) const;

    /// When a host of the pool last took it; nullopt: not known. A few relaxed loads.
    std::optional<base::Instant> accepted_at(const base::Hash128& identity) const;
    /// Whether it was refused, and that still holds. Without a lock while nothing is known.
    [[nodiscard]] bool refused(
        const base::Hash128& identity, base::Instant now, KeptAnswer& answer);

    /// A host took it. Writes nothing while an answer is known that is not much older: what
    /// ordinary mail teaches is most often known.
    void accept(const base::Hash128& identity, base::Instant now);
    /// A host said that there is no such recipient; holds until `expires`.
    void refuse(const base::Hash128& identity, const KeptAnswer& answer, base::Instant expires);

    /// True: the caller is to ask about it, and says end_question when it is done; at `until`
    /// others take it for gone. False: somebody else asks.
    [[nodiscard]] bool begin_question(
        const base::Hash128& identity, base::Instant now, base::Instant until);
    void end_question(const base::Hash128& identity);

    /// Octets of memory that answers hold, expired ones included.
    std::uint64_t held_octets() const { return held_octets_.load(std::memory_order_relaxed); }

    /// Octets of memory that the tables may come to hold; mapped as they are used.
    static std::size_t memory(const Bounds& bounds);

    static constexpr std::size_t locks_count = 64;

   private:
    static constexpr std::size_t ways = 8;  // places that one identity may take
    static constexpr std::size_t questions_max = 4096;

    // `low` is 0 where nothing is; written last, so that who finds it finds the rest. `at_ns` is 0
    // where nothing ever was.
    struct Accepted {
        std::atomic<std::uint64_t> low;
        std::atomic<std::uint64_t> high;
        std::atomic<std::int64_t> at_ns;
    };

    struct Refused {
        base::Hash128 identity;
        base::Instant expires;
        KeptAnswer answer;
    };

    struct Question {
        base::Hash128 identity;
        base::Instant until;
    };

    struct alignas(64) Lock {
        Spinlock lock;
    };

    struct Free {
        void operator()(void* memory) const;
    };

    template <class T>
    using Places = std::unique_ptr<T[], Free>;

    template <class T>
    static Places<T> make_places(std::size_t count);

    /// The first place of those that the identity may take, of `count`.
    static std::size_t place_of(const base::Hash128& identity, std::size_t count) {
        return (identity.high & (count / ways - 1)) * ways;
    }

    Spinlock& lock_of(const base::Hash128& identity) {
        return locks_[identity.high % locks_count].lock;
    }

    void forget_accepted(const base::Hash128& identity);
    void forget_refused(const base::Hash128& identity);

    const base::HashKey key_;
    const std::size_t accepted_count_;
    const std::size_t refused_count_;
    Places<Accepted> accepted_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> refused_tags_;  // `low` of each, 0: nothing
    Places<Refused> refused_;
    std::array<Question, questions_max> questions_{};
    std::array<Lock, locks_count> locks_;  // by identity: of all three tables
    std::atomic<std::uint64_t> held_octets_{0};
};

/// How many questions may be asked: for each key so many at once, and one more in every interval. A
/// table of fixed size without identities: keys that meet in a place share it, which is rare and
/// costs one of them questions, never an answer. Any thread.
class QuestionBudget {
   public:
    explicit QuestionBudget(std::size_t places);

    /// REQUIRES: the same `each` and `at_once` for all calls with that key.
    [[nodiscard]] bool take(
        std::uint64_t key, base::Instant now, base::Duration each, std::uint32_t at_once);

    static std::size_t memory(std::size_t places);

   private:
    const std::size_t places_;  // a power of two
    // When the place would have all its questions back: the "theoretical arrival time" of the
    // generic cell rate algorithm (ITU-T I.371).
    std::unique_ptr<std::atomic<std::int64_t>[]> full_at_ns_;
};

}  // namespace postern::shared

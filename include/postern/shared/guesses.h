#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "postern/base/time.h"
#include "postern/shared/spinlock.h"

/// Wrong passwords by client: from the fourth on within ten minutes each answer is held back,
/// longer each time, and behind the tenth nothing is checked any more for that client until the ten
/// minutes are over. In bounded memory: where there is no room, the client with the fewest wrong
/// ones is forgotten, so that who comes from many addresses drives out none that is near its limit.
namespace postern::shared {

class Guesses {
   public:
    static constexpr std::uint32_t free_max = 3;
    static constexpr std::uint32_t wrong_max = 10;
    static constexpr base::Duration window = std::chrono::minutes(10);
    static constexpr base::Duration delay_max = std::chrono::seconds(5);

    /// Room for `clients_max` clients, rounded up to a power of two.
    explicit Guesses(std::size_t clients_max);
    Guesses(const Guesses&) = delete;
    Guesses& operator=(const Guesses&) = delete;

    /// Has this client (client_key) guessed too often? Any thread; takes no lock.
    bool exhausted(std::uint64_t client, base::Instant now) const;
    /// It has guessed wrong: for how long is the answer held back? Workers' threads.
    base::Duration wrong(std::uint64_t client, base::Instant now);

    /// Octets of memory that a table holds.
    static std::size_t memory(std::size_t clients_max);

   private:
    static constexpr std::size_t ways = 8;  // places that one client may take
    static constexpr std::size_t locks_count = 64;

    struct alignas(64) Bucket {
        // 0: empty. The client's 64 keyed bits are taken for the identity.
        std::array<std::atomic<std::uint64_t>, ways> clients;
        std::array<std::atomic<std::uint32_t>, ways> began_s;  // the ten minutes, with the first
        std::array<std::atomic<std::uint32_t>, ways> counts;
    };

    struct alignas(64) Lock {
        Spinlock lock;
    };

    /// Wrong ones within the ten minutes that are under way.
    static std::uint32_t count(const Bucket& bucket, std::size_t place, std::uint32_t now_s);

    std::size_t bucket_of(std::uint64_t client) const { return client & (count_ - 1); }

    const std::size_t count_;  // of buckets: a power of two
    std::unique_ptr<Bucket[]> buckets_;
    std::array<Lock, locks_count> locks_;
};

}  // namespace postern::shared

#include "postern/shared/guesses.h"

#include <algorithm>
#include <bit>
#include <mutex>

namespace postern::shared {
namespace {

constexpr base::Duration delay_first = std::chrono::seconds(1);

std::uint32_t to_s(base::Instant time) {
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count());
}

}  // namespace

Guesses::Guesses(std::size_t clients_max)
    : count_(std::bit_ceil(std::max<std::size_t>(1, clients_max / ways))),
      buckets_(new Bucket[count_]()) {}

std::uint32_t Guesses::count(const Bucket& bucket, std::size_t place, std::uint32_t now_s) {
    constexpr auto window_s = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(window).count());
    const std::uint32_t age = now_s - bucket.began_s[place].load(std::memory_order_relaxed);
    return age < window_s ? bucket.counts[place].load(std::memory_order_relaxed) : 0;
}

bool Guesses::exhausted(std::uint64_t client, base::Instant now) const {
    const Bucket& bucket = buckets_[bucket_of(client)];
    for (std::size_t i = 0; i < ways; ++i) {
        if (bucket.clients[i].load(std::memory_order_relaxed) == client) {
            return count(bucket, i, to_s(now)) >= wrong_max;
        }
    }
    return false;
}

base::Duration Guesses::wrong(std::uint64_t client, base::Instant now) {
    Bucket& bucket = buckets_[bucket_of(client)];
    const std::lock_guard guard(locks_[bucket_of(client) % locks_count].lock);
    // Its own place, else that of who has guessed least: an empty one, or one whose time is over,
    // has guessed nothing.
    std::size_t place = 0;
    for (std::size_t i = 0; i < ways; ++i) {
        if (bucket.clients[i].load(std::memory_order_relaxed) == client) {
            place = i;
            break;
        }
        if (count(bucket, i, to_s(now)) < count(bucket, place, to_s(now))) {
            place = i;
        }
    }
    const bool known = bucket.clients[place].load(std::memory_order_relaxed) == client;
    const std::uint32_t before = known ? count(bucket, place, to_s(now)) : 0;
    if (before == 0) {
        bucket.began_s[place].store(to_s(now), std::memory_order_relaxed);
    }
    bucket.counts[place].store(before + 1, std::memory_order_relaxed);
    bucket.clients[place].store(client, std::memory_order_relaxed);
    if (before < free_max) {
        return {};
    }
    constexpr std::uint32_t doubled_max = 8;
    return std::min(delay_max, delay_first * (1U << std::min(before - free_max, doubled_max)));
}

std::size_t Guesses::memory(std::size_t clients_max) {
    return std::bit_ceil(std::max<std::size_t>(1, clients_max / ways)) * sizeof(Bucket);
}

}  // namespace postern::shared

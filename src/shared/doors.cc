#include "postern/shared/doors.h"

#include <limits>
#include <utility>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

/// So many more than another are clearly more: with few connections two, with many an eighth, since
/// handing over costs a wake-up.
std::uint32_t clearly_more_than(std::uint32_t connections) {
    return connections + 2 + connections / 8;
}

}  // namespace

Doors::Doors(std::uint32_t workers) : workers_(workers), doors_(new Door[workers]) {}

void Doors::open(std::uint32_t worker, Taker& taker) {
    const std::lock_guard lock(doors_[worker].mutex);
    doors_[worker].taker = &taker;
}

void Doors::close(std::uint32_t worker) {
    const std::lock_guard lock(doors_[worker].mutex);
    doors_[worker].taker = nullptr;
}

void Doors::tell(std::uint32_t worker, std::uint32_t connections, std::uint64_t generation) {
    doors_[worker].connections.store(connections, std::memory_order_relaxed);
    doors_[worker].generation.store(generation, std::memory_order_relaxed);
}

void Doors::arrived(std::uint32_t worker) {
    const std::uint32_t before = doors_[worker].coming.fetch_sub(1, std::memory_order_release);
    POSTERN_ASSERT(before > 0, "a connection arrives that was handed over");
}

bool Doors::hand_over(
    std::uint32_t from,
    std::uint32_t connections,
    std::uint64_t generation,
    std::shared_ptr<const void> terms,
    int descriptor) {
    // Known at once, and not only with the next `tell`: many may be accepted in one turn.
    doors_[from].connections.store(connections + 1, std::memory_order_relaxed);
    std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
    Door* to = nullptr;
    for (std::uint32_t i = 0; i < workers_; ++i) {
        Door& door = doors_[i];
        const std::uint32_t load = door.connections.load(std::memory_order_relaxed) +
                                   door.coming.load(std::memory_order_relaxed);
        if (i != from && load < least &&
            door.generation.load(std::memory_order_relaxed) >= generation) {
            least = load;
            to = &door;
        }
    }
    if (to == nullptr || connections < clearly_more_than(least)) {
        return false;
    }
    const std::lock_guard lock(to->mutex);
    if (to->taker == nullptr) {
        return false;
    }
    doors_[from].connections.store(connections, std::memory_order_relaxed);
    to->coming.fetch_add(1, std::memory_order_relaxed);
    to->taker->take_over(std::move(terms), descriptor);
    return true;
}

}  // namespace postern::shared

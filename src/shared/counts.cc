#include "postern/shared/counts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

constexpr std::size_t shards_max = 256;
constexpr std::size_t keys_in_shard = 256;

/// The first `v4_octets` or 8 octets of an address, told apart by a leading family.
std::uint64_t prefix_key(
    const base::HashKey& key, const base::IpAddress& address, std::size_t v4_octets) {
    std::array<char, 9> bytes{};
    const std::size_t size = address.is_v4() ? v4_octets : 8;
    bytes[0] = static_cast<char>(address.size);
    std::memcpy(bytes.data() + 1, address.octets.data(), size);
    return std::max<std::uint64_t>(1, base::siphash(key, {bytes.data(), size + 1}));
}

}  // namespace

std::uint64_t client_key(const base::HashKey& key, const base::IpAddress& address) {
    return prefix_key(key, address, 4);
}

std::uint64_t network_key(const base::HashKey& key, const base::IpAddress& address) {
    return prefix_key(key, address, 3);
}

bool Gauge::add(std::uint32_t bound) {
    if (value_.fetch_add(1, std::memory_order_relaxed) < bound) {
        return true;
    }
    value_.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

void Gauge::remove() {
    const std::uint32_t before = value_.fetch_sub(1, std::memory_order_relaxed);
    POSTERN_ASSERT(before > 0, "a gauge counts down what it counted up");
}

CountTable::CountTable(std::size_t keys_max)
    : shape_(shape(keys_max)),
      shards_(new Shard[shape_.shards]),
      // Zeroed pages come as they are touched: a table for ten million costs what is in it.
      slots_(static_cast<Slot*>(std::calloc(shape_.shards * shape_.slots, sizeof(Slot)))) {
    POSTERN_ASSERT(slots_ != nullptr, "address space for a table is there at start");
}

void CountTable::Free::operator()(Slot* slots) const {
    std::free(slots);
}

bool CountTable::add(std::uint64_t key, std::uint64_t amount, std::uint64_t bound) {
    POSTERN_ASSERT(key != 0 && amount != 0, "a count has a key and an amount");
    Shard& shard = shard_of(key);
    const std::lock_guard guard(shard.lock);
    Slot& slot = find(shard, key);
    if (amount > bound || slot.number > bound - amount) {
        return false;
    }
    if (slot.key == 0) {
        // A free slot always remains, so every search ends.
        if (shard.keys + 1 == shape_.slots) {
            return false;
        }
        ++shard.keys;
        slot.key = key;
    }
    slot.number += amount;
    return true;
}

void CountTable::remove(std::uint64_t key, std::uint64_t amount) {
    Shard& shard = shard_of(key);
    const std::lock_guard guard(shard.lock);
    Slot& slot = find(shard, key);
    POSTERN_ASSERT(
        slot.key == key && slot.number >= amount, "a table counts down what it counted up");
    slot.number -= amount;
    if (slot.number == 0) {
        erase(shard, slot);
        --shard.keys;
    }
}

std::uint64_t CountTable::value(std::uint64_t key) const {
    const Shard& shard = shard_of(key);
    const std::lock_guard guard(shard.lock);
    return find(shard, key).number;
}

std::size_t CountTable::memory(std::size_t keys_max) {
    const Shape shape = CountTable::shape(keys_max);
    return shape.shards * (sizeof(Shard) + shape.slots * sizeof(Slot));
}

CountTable::Shape CountTable::shape(std::size_t keys_max) {
    const std::size_t shards =
        std::clamp<std::size_t>(std::bit_ceil(keys_max / keys_in_shard + 1), 1, shards_max);
    // Twice a shard's fair share, and some: keyed hashes spread so evenly that no shard is full
    // before the table is.
    return {shards, std::bit_ceil(2 * (keys_max / shards) + 64)};
}

CountTable::Slot* CountTable::slots_of(const Shard& shard) const {
    return slots_.get() + static_cast<std::size_t>(&shard - shards_.get()) * shape_.slots;
}

/// The key's slot, or the empty one where it would be.
CountTable::Slot& CountTable::find(const Shard& shard, std::uint64_t key) const {
    Slot* const slots = slots_of(shard);
    std::size_t i = key & (shape_.slots - 1);
    while (slots[i].key != 0 && slots[i].key != key) {
        i = (i + 1) & (shape_.slots - 1);
    }
    return slots[i];
}

/// Empties a slot and moves back what was pushed behind it, so that no search ends too early.
void CountTable::erase(const Shard& shard, Slot& slot) {
    Slot* const slots = slots_of(shard);
    const std::size_t mask = shape_.slots - 1;
    auto hole = static_cast<std::size_t>(&slot - slots);
    for (std::size_t i = (hole + 1) & mask; slots[i].key != 0; i = (i + 1) & mask) {
        const std::size_t home = slots[i].key & mask;
        // It may move if its home is not between the hole and where it is now.
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            slots[hole] = slots[i];
            hole = i;
        }
    }
    slots[hole] = {};
}

}  // namespace postern::shared

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "postern/base/assert.h"

namespace postern::base {

/// Storage for objects of one type that come and go with traffic: made and destroyed in place,
/// memory kept, at most `count_max` at a time. Grows a chunk at a time, so that the steady state
/// allocates nothing. One thread.
template <class T>
class ObjectPool {
   public:
    explicit ObjectPool(std::uint32_t count_max) : count_max_(count_max) {}

    ObjectPool(const ObjectPool&) = delete;
    ObjectPool& operator=(const ObjectPool&) = delete;

    ~ObjectPool() { POSTERN_ASSERT(used_ == 0, "a pool was destroyed while objects of it lived"); }

    /// nullptr at the bound.
    template <class... Arguments>
    T* make(Arguments&&... arguments) {
        if (free_ == nullptr && !grow()) {
            return nullptr;
        }
        Cell* cell = free_;
        free_ = cell->next_free;
        ++used_;
        return new (cell->memory) T(std::forward<Arguments>(arguments)...);
    }

    void destroy(T* object) {
        object->~T();
        Cell* cell = reinterpret_cast<Cell*>(object);
        cell->next_free = free_;
        free_ = cell;
        --used_;
    }

    std::uint32_t used() const { return used_; }

    /// Octets of memory held now, for objects that live or did.
    std::size_t held_octets() const { return chunks_.size() * chunk_count * sizeof(Cell); }

    /// Octets of memory that one more object costs.
    static constexpr std::size_t cell_octets() { return sizeof(Cell); }

   private:
    static constexpr std::uint32_t chunk_count = 64;

    union Cell {
        Cell* next_free;
        alignas(T) unsigned char memory[sizeof(T)];
    };

    bool grow() {
        const std::uint32_t existing = static_cast<std::uint32_t>(chunks_.size()) * chunk_count;
        if (existing >= count_max_) {
            return false;
        }
        const std::uint32_t count = std::min(chunk_count, count_max_ - existing);
        chunks_.push_back(std::make_unique<Cell[]>(count));
        Cell* chunk = chunks_.back().get();
        for (std::uint32_t i = count; i-- > 0;) {
            chunk[i].next_free = free_;
            free_ = &chunk[i];
        }
        return true;
    }

    std::uint32_t count_max_;
    std::uint32_t used_ = 0;
    Cell* free_ = nullptr;
    std::vector<std::unique_ptr<Cell[]>> chunks_;
};

}  // namespace postern::base

#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>

#include "postern/base/block.h"

namespace postern::base {

/// Memory for what lives and dies together (a transaction's envelope): bump allocation in blocks of
/// one pool, freed at once. Only for trivially destructible things of at most one block. One
/// thread: the pool's.
class Arena {
   public:
    explicit Arena(BlockPool& pool) : pool_(&pool) {}

    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    ~Arena() { reset(); }

    /// nullptr when the pool is at its bound. REQUIRES: size <= size_max(); alignment <= 16.
    void* allocate(std::size_t size, std::size_t alignment);

    template <class T, class... Arguments>
    T* make(Arguments&&... arguments) {
        static_assert(std::is_trivially_destructible_v<T>, "an arena runs no destructors");
        void* memory = allocate(sizeof(T), alignof(T));
        return memory == nullptr ? nullptr : new (memory) T{std::forward<Arguments>(arguments)...};
    }

    /// The most octets of one thing.
    std::size_t size_max() const { return pool_->block_size() - header_octets; }

    /// A copy that lives as long as the arena's content; nullopt when the pool is at its bound, or
    /// `text` is larger than size_max().
    std::optional<std::string_view> copy(std::string_view text);

    /// Gives all blocks back; what was allocated is gone.
    void reset();

    /// How far the arena is filled; `rewind` to it takes back all that was allocated since.
    struct Mark {
        Block* newest;
        std::size_t used;
    };

    Mark mark() const { return {newest_, used_}; }

    void rewind(const Mark& mark);

   private:
    static constexpr std::size_t header_octets = 16;

    BlockPool* pool_;
    Block* newest_ = nullptr;  // each block begins with a pointer to the one before it
    std::size_t used_ = 0;     // octets of `newest_`
};

}  // namespace postern::base

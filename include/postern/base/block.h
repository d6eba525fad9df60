#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "postern/base/assert.h"

/// Fixed-size pieces of memory with a plain (not atomic) reference count, and the pool that owns
/// them. Everything that comes and goes with traffic lives in blocks, so the steady state allocates
/// nothing and every holder has a bound. One thread only: a pool, its blocks and all references to
/// them belong to one worker.
namespace postern::base {

class BlockPool;

/// The header in front of a block's memory. `data()` is 64-byte aligned.
struct alignas(64) Block {
    BlockPool* pool;
    Block* next_free;
    std::uint32_t references;
    std::uint32_t capacity;  // octets behind the header

    char* data() { return reinterpret_cast<char*>(this + 1); }

    const char* data() const { return reinterpret_cast<const char*>(this + 1); }
};

/// One counted reference. Copying counts, moving does not.
class BlockRef {
   public:
    BlockRef() = default;

    /// Takes over one reference that the caller holds.
    static BlockRef adopt(Block* block) {
        BlockRef ref;
        ref.block_ = block;
        return ref;
    }

    BlockRef(const BlockRef& other) : block_(other.block_) {
        if (block_ != nullptr) {
            ++block_->references;
        }
    }

    BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}

    BlockRef& operator=(BlockRef other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }

    ~BlockRef() { release(); }

    Block* get() const { return block_; }

    Block* operator->() const { return block_; }

    explicit operator bool() const { return block_ != nullptr; }

    /// Gives the reference out of hand: the caller now holds it.
    Block* detach() { return std::exchange(block_, nullptr); }

   private:
    void release();
    Block* block_ = nullptr;
};

/// Hands out blocks of one size. Memory is mapped in slabs as it is first needed and kept; never
/// more than `count_max` blocks.
class BlockPool {
   public:
    /// `block_size`: octets of data in each, a multiple of 64.
    BlockPool(std::uint32_t block_size, std::uint32_t count_max);
    ~BlockPool();
    BlockPool(const BlockPool&) = delete;
    BlockPool& operator=(const BlockPool&) = delete;

    /// A block with one reference, content undefined; an empty reference at the bound.
    BlockRef take();

    std::uint32_t block_size() const { return block_size_; }

    std::uint32_t count_max() const { return count_max_; }

    std::uint32_t used() const { return used_; }

    std::uint32_t available() const { return count_max_ - used_; }

    /// Octets mapped so far, headers included.
    std::size_t mapped() const { return mapped_; }

   private:
    friend class BlockRef;
    void give(Block* block);
    bool grow();
    Block* carve();

    std::uint32_t block_size_;
    std::uint32_t count_max_;
    std::uint32_t count_ = 0;  // blocks that exist
    std::uint32_t used_ = 0;
    std::size_t mapped_ = 0;
    Block* free_ = nullptr;
    char* fresh_ = nullptr;  // blocks of the newest slab that were never handed out
    char* fresh_end_ = nullptr;
    std::vector<std::pair<void*, std::size_t>> slabs_;
};

inline void BlockRef::release() {
    if (block_ != nullptr) {
        POSTERN_ASSERT(block_->references > 0, "a block was released more often than taken");
        if (--block_->references == 0) {
            block_->pool->give(block_);
        }
        block_ = nullptr;
    }
}

}  // namespace postern::base

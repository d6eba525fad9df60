#include "postern/base/block.h"

#include <sys/mman.h>

#include <algorithm>

namespace postern::base {

namespace {
constexpr std::size_t slab_size = std::size_t{1} << 20;
}

BlockPool::BlockPool(std::uint32_t block_size, std::uint32_t count_max)
    : block_size_(block_size), count_max_(count_max) {
    POSTERN_ASSERT(block_size > 0 && block_size % 64 == 0, "a block's size is a multiple of 64");
    const std::size_t per_slab = std::max<std::size_t>(1, slab_size / (block_size + sizeof(Block)));
    slabs_.reserve(count_max / per_slab + 1);
}

BlockPool::~BlockPool() {
    POSTERN_ASSERT(used_ == 0, "a pool was destroyed while blocks of it were in use");
    for (const auto& [memory, size] : slabs_) {
        munmap(memory, size);
    }
}

BlockRef BlockPool::take() {
    Block* block = free_;
    if (block != nullptr) {
        free_ = block->next_free;
    } else if (fresh_ != fresh_end_ || grow()) {
        block = carve();
    } else {
        return {};
    }
    block->references = 1;
    ++used_;
    return BlockRef::adopt(block);
}

void BlockPool::give(Block* block) {
    POSTERN_ASSERT(used_ > 0, "a pool was given more blocks than it handed out");
    block->next_free = free_;
    free_ = block;
    --used_;
}

bool BlockPool::grow() {
    const std::size_t stride = block_size_ + sizeof(Block);
    const std::size_t wanted = std::max<std::size_t>(1, slab_size / stride);
    const std::size_t count = std::min<std::size_t>(wanted, count_max_ - count_);
    if (count == 0) {
        return false;
    }
    const std::size_t size = count * stride;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return false;  // the same as the bound: the caller has an answer for that
    }
    slabs_.emplace_back(memory, size);
    mapped_ += size;
    fresh_ = static_cast<char*>(memory);
    fresh_end_ = fresh_ + size;
    count_ += static_cast<std::uint32_t>(count);
    return true;
}

/// A block of the newest slab that nobody has had yet: its pages are touched only now.
Block* BlockPool::carve() {
    auto* block = new (fresh_) Block{};
    block->pool = this;
    block->capacity = block_size_;
    fresh_ += block_size_ + sizeof(Block);
    return block;
}

}  // namespace postern::base

#include "postern/base/arena.h"

namespace postern::base {

void* Arena::allocate(std::size_t size, std::size_t alignment) {
    POSTERN_ASSERT(size <= size_max(), "an arena holds nothing larger than a block");
    POSTERN_ASSERT(alignment <= 16, "an arena aligns to 16 at most");
    std::size_t offset = (used_ + alignment - 1) & ~(alignment - 1);
    if (newest_ == nullptr || offset + size > newest_->capacity) {
        Block* block = pool_->take().detach();
        if (block == nullptr) {
            return nullptr;
        }
        std::memcpy(block->data(), &newest_, sizeof newest_);
        newest_ = block;
        offset = header_octets;
    }
    used_ = offset + size;
    return newest_->data() + offset;
}

std::optional<std::string_view> Arena::copy(std::string_view text) {
    if (text.empty()) {
        return std::string_view{};
    }
    if (text.size() > size_max()) {
        return std::nullopt;
    }
    void* memory = allocate(text.size(), 1);
    if (memory == nullptr) {
        return std::nullopt;
    }
    std::memcpy(memory, text.data(), text.size());
    return std::string_view(static_cast<char*>(memory), text.size());
}

void Arena::reset() {
    rewind({nullptr, 0});
}

void Arena::rewind(const Mark& mark) {
    while (newest_ != mark.newest) {
        const BlockRef block = BlockRef::adopt(newest_);
        std::memcpy(&newest_, block->data(), sizeof newest_);
    }
    used_ = mark.used;
}

}  // namespace postern::base

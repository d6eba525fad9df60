#include "postern/mail/body.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "postern/base/assert.h"

namespace postern::mail {

/// A block of the chain: slices one after the other, constructed as they are added.
struct Body::Chunk {
    base::Block* next = nullptr;
    std::uint32_t count = 0;

    static Chunk* of(base::Block* block) {
        return std::launder(reinterpret_cast<Chunk*>(block->data()));
    }

    static const Chunk* of(const base::Block* block) {
        return std::launder(reinterpret_cast<const Chunk*>(block->data()));
    }

    Slice* slices() { return reinterpret_cast<Slice*>(this + 1); }

    const Slice* slices() const { return reinterpret_cast<const Slice*>(this + 1); }
};

namespace {

/// A run shorter than this is copied: a copy costs less than a slice of its own does, here and when
/// it is sent.
constexpr std::size_t reference_size_min = 512;

std::uint64_t octets_of(const base::Block& block) {
    return sizeof(base::Block) + block.capacity;
}

}  // namespace

bool Body::append(
    const base::BlockRef& block, std::string_view run, bool begins_line, bool has_dot_line) {
    if (run.empty()) {
        return true;
    }
    const bool pinned_already = last_referenced_ == block.get();
    if (pinned_already && last_->data + last_->size == run.data()) {
        extend_last(run.size(), has_dot_line);
        return true;
    }
    if (run.size() < reference_size_min ||
        (!pinned_already && run.size() * pinned_per_held_max < block->capacity)) {
        return append_copy(run, begins_line, has_dot_line);
    }
    Slice* slice = add_slice();
    if (slice == nullptr) {
        return false;
    }
    *slice = {block, run.data(), static_cast<std::uint32_t>(run.size()), begins_line, has_dot_line};
    size_ += run.size();
    pinned_ += pinned_already ? 0 : octets_of(*block.get());
    last_referenced_ = block.get();
    return true;
}

bool Body::append_copy(std::string_view text, bool begins_line, bool has_dot_line) {
    while (!text.empty()) {
        if (!tail_ || tail_used_ == tail_->capacity) {
            tail_ = tail_pool_->take();
            if (!tail_) {
                return false;
            }
            tail_used_ = 0;
            pinned_ += octets_of(*tail_.get());
        }
        const std::string_view part = text.substr(0, tail_->capacity - tail_used_);
        char* const into = tail_->data() + tail_used_;
        if (last_ != nullptr && last_->data + last_->size == into &&
            last_->block.get() == tail_.get()) {
            extend_last(part.size(), has_dot_line);
        } else {
            Slice* slice = add_slice();
            if (slice == nullptr) {
                return false;
            }
            *slice = {
                tail_, into, static_cast<std::uint32_t>(part.size()), begins_line, has_dot_line};
            size_ += part.size();
        }
        std::memcpy(into, part.data(), part.size());
        tail_used_ += static_cast<std::uint32_t>(part.size());
        begins_line = part.back() == '\n';
        text.remove_prefix(part.size());
    }
    return true;
}

/// The octets behind the last slice are more of it. Its marks stay right: a line that begins in
/// them begins in the slice.
void Body::extend_last(std::size_t octets, bool has_dot_line) {
    last_->size += static_cast<std::uint32_t>(octets);
    last_->has_dot_line |= has_dot_line;
    size_ += octets;
}

/// nullptr: the chain cannot grow.
Slice* Body::add_slice() {
    const std::size_t chunk_slices_max =
        (chain_pool_->block_size() - sizeof(Chunk)) / sizeof(Slice);
    if (last_chunk_ == nullptr || Chunk::of(last_chunk_)->count == chunk_slices_max) {
        base::Block* block = chain_pool_->take().detach();
        if (block == nullptr) {
            return nullptr;
        }
        new (block->data()) Chunk{};
        pinned_ += octets_of(*block);
        (last_chunk_ == nullptr ? first_chunk_ : Chunk::of(last_chunk_)->next) = block;
        last_chunk_ = block;
    }
    Chunk* chunk = Chunk::of(last_chunk_);
    last_ = new (chunk->slices() + chunk->count++) Slice{};
    ++slice_count_;
    return last_;
}

void Body::refer_to(const Body& other) {
    POSTERN_ASSERT(first_chunk_ == nullptr, "a body with content was made another's");
    refers_ = true;
    first_chunk_ = other.first_chunk_;
    last_ = other.last_;
    slice_count_ = other.slice_count_;
    size_ = other.size_;
}

void Body::take(Body& other) {
    POSTERN_ASSERT(
        first_chunk_ == nullptr && !other.refers_,
        "a body takes what is another's own, and has nothing before");
    first_chunk_ = std::exchange(other.first_chunk_, nullptr);
    last_ = other.last_;
    slice_count_ = other.slice_count_;
    size_ = other.size_;
    pinned_ = other.pinned_;
    other.clear();
}

void Body::clear() {
    if (std::exchange(refers_, false)) {
        first_chunk_ = nullptr;
    }
    while (first_chunk_ != nullptr) {
        const base::BlockRef block = base::BlockRef::adopt(first_chunk_);
        Chunk* chunk = Chunk::of(first_chunk_);
        first_chunk_ = chunk->next;
        std::destroy_n(chunk->slices(), chunk->count);
    }
    last_chunk_ = nullptr;
    last_ = nullptr;
    last_referenced_ = nullptr;
    tail_ = {};
    tail_used_ = 0;
    slice_count_ = 0;
    size_ = 0;
    pinned_ = 0;
}

bool Body::ends_with_crlf() const {
    return last_ != nullptr && last_->data[last_->size - 1] == '\n';  // no LF stands without its CR
}

Body::Cursor Body::begin() const {
    Cursor cursor;
    cursor.chunk_ = first_chunk_;
    return cursor;
}

const Slice* Body::Cursor::slice() const {
    return chunk_ == nullptr ? nullptr : Chunk::of(chunk_)->slices() + index_;
}

void Body::Cursor::advance() {
    const Chunk* chunk = Chunk::of(chunk_);
    if (++index_ == chunk->count) {
        chunk_ = chunk->next;
        index_ = 0;
    }
}

}  // namespace postern::mail

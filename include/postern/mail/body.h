#pragma once

#include <cstdint>
#include <string_view>

#include "postern/base/block.h"

/// A message's content, kept by reference: a chain of slices of receive buffers. One worker's
/// thread.
namespace postern::mail {

/// A run of the content. What the slices hold, one after the other, is the message in its canonical
/// form: lines end in CRLF and in nothing else, dots are not stuffed. Sent by BDAT they go as they
/// lie; sent by DATA a dot is put in front of each line that begins with one (RFC 5321, 4.5.2): the
/// two marks tell where that may be needed, so nothing is scanned twice but such slices.
struct Slice {
    base::BlockRef block;  // pins the memory; empty for text that lives for ever
    const char* data = nullptr;
    std::uint32_t size = 0;     // octets, at least 1
    bool begins_line = false;   // its first octet is the first of a line
    bool has_dot_line = false;  // some line that begins in this slice begins with a dot

    std::string_view view() const { return {data, size}; }
};

/// Appended to while a message is received, then read only. Small pieces, and pieces that would pin
/// much more memory than they hold, are copied into a tail block instead of being referenced.
/// Memory comes from two pools that the worker owns.
class Body {
   public:
    /// `tail_pool`: blocks into which small pieces are copied. `chain_pool`: blocks that hold the
    /// chain of slices.
    Body(base::BlockPool& tail_pool, base::BlockPool& chain_pool)
        : tail_pool_(&tail_pool), chain_pool_(&chain_pool) {}

    /// One that only ever holds what it takes from another.
    Body() = default;
    Body(const Body&) = delete;
    Body& operator=(const Body&) = delete;

    ~Body() { clear(); }

    /// Appends a run of canonical content that lies in `block`. False: a pool is at its bound, and
    /// the body is incomplete: it can only be cleared. `begins_line` and `has_dot_line` as in
    /// Slice.
    [[nodiscard]] bool append(
        const base::BlockRef& block, std::string_view run, bool begins_line, bool has_dot_line);

    /// Appends a copy of `text`; else as `append`.
    [[nodiscard]] bool append_copy(std::string_view text, bool begins_line, bool has_dot_line);

    /// From now on it holds what `other` does, whose it stays: that one outlives it, and is not
    /// appended to meanwhile. REQUIRES: it is empty.
    void refer_to(const Body& other);

    /// All that `other` holds, which goes on empty. REQUIRES: it is empty itself; `other` refers to
    /// none.
    void take(Body& other);

    void clear();

    /// A run that would be the first of its block is referenced only when the block is at most so
    /// many times as large.
    static constexpr std::uint64_t pinned_per_held_max = 4;

    /// Octets of canonical content: what BDAT sends.
    std::uint64_t size() const { return size_; }

    std::uint32_t slice_count() const { return slice_count_; }

    /// Octets of memory that this body pins, its chain included: what bounds on memory count.
    std::uint64_t pinned() const { return pinned_; }

    bool ends_with_crlf() const;

    /// Walks the slices in order; stays valid while the body is not appended to or cleared.
    class Cursor {
       public:
        Cursor() = default;
        /// nullptr behind the last.
        const Slice* slice() const;
        void advance();

       private:
        friend class Body;
        const base::Block* chunk_ = nullptr;
        std::uint32_t index_ = 0;
    };

    Cursor begin() const;

   private:
    struct Chunk;
    Slice* add_slice();
    void extend_last(std::size_t octets, bool has_dot_line);

    base::BlockPool* tail_pool_ = nullptr;
    base::BlockPool* chain_pool_ = nullptr;
    base::Block* first_chunk_ = nullptr;
    base::Block* last_chunk_ = nullptr;
    base::BlockRef tail_;
    std::uint32_t tail_used_ = 0;
    std::uint32_t slice_count_ = 0;
    std::uint64_t size_ = 0;
    std::uint64_t pinned_ = 0;
    Slice* last_ = nullptr;
    const base::Block* last_referenced_ = nullptr;  // the block that was appended by reference last
    bool refers_ = false;                           // the chain is another body's
};

}  // namespace postern::mail

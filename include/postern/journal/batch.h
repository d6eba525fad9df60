#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "postern/journal/format.h"
#include "postern/journal/record.h"
#include "postern/mail/body.h"

namespace postern::journal {

/// Content that is on its way into records: so many octets of a body from a place in it, or a text.
/// Taking moves the place. The body or text must outlive it.
class Content {
   public:
    Content() = default;

    explicit Content(std::string_view text) : run_(text), left_(text.size()) {}

    explicit Content(const mail::Body& body) : Content(body.begin(), body.size()) {}

    /// The `size` octets from the slice at `at` on.
    Content(mail::Body::Cursor at, std::uint64_t size) : at_(at), left_(size) {}

    /// Octets not taken yet.
    std::uint64_t left() const { return left_; }

    /// The next octets that lie together, at most `size_max`; empty only when none is left.
    std::string_view take(std::uint64_t size_max);

   private:
    std::string_view run_;  // of the text, or of the slice before at_
    mail::Body::Cursor at_;
    std::uint64_t left_ = 0;
};

/// Where a record lies: what is needed to read it again.
struct Extent {
    std::uint32_t offset = 0;  // of its header in the segment
    std::uint32_t size = 0;    // header and payload
};

/// The records of one write, encoded one behind the other into a buffer of the caller's: content is
/// copied once and summed up while it is in cache. Nothing is allocated. Begun, filled, sealed,
/// written by the caller, and begun again; one thread. What does not fit leaves no trace.
class Batch {
   public:
    /// Where the write will go.
    struct Place {
        HostId host;
        std::uint64_t epoch = 0;
        std::uint32_t offset = 0;  // in the segment: behind the write before, at first block_size
        std::uint32_t write = 1;   // its number in the segment, from 1
    };

    /// REQUIRES: `buffer`'s size and place.offset are multiples of block_size, and the write ends
    /// inside the segment.
    void begin(std::span<char> buffer, const Place& place);

    bool empty() const { return used_ == 0; }

    /// Octets that the write would have now.
    std::size_t size() const { return (used_ + block_size - 1) / block_size * block_size; }

    /// Octets of payload that one more record can have.
    std::size_t room() const {
        return buffer_.size() - used_ < RecordHeader::size_octets
                   ? 0
                   : buffer_.size() - used_ - RecordHeader::size_octets;
    }

    /// Octets of payload of a message record with `content_size` octets of content behind `parts`.
    static std::size_t message_size(
        const Message& message,
        std::span<const Recipient> recipients,
        std::span<const Part> parts,
        std::uint64_t content_size);

    /// A message, or a later copy of one with all that is known by then. Takes all of `content`;
    /// what came before it is in `parts`, which are on stable storage or in this write. nullopt:
    /// does not fit.
    std::optional<Extent> message(
        const Id& id,
        std::uint32_t revision,
        const Message& message,
        std::span<const Recipient> recipients,
        std::span<const Part> parts,
        Content& content);

    /// As much of `content` as fits, `size_max` octets at most; `at` says where. 0: nothing fits. A
    /// message has as many parts as it needs, and the caller keeps the list.
    std::uint32_t part(
        const Id& id, Content& content, Extent& at, std::size_t size_max = ~std::size_t{0});

    std::optional<Extent> progress(
        const Id& id, std::uint32_t revision, bool held, std::span<const Step> steps);

    std::optional<Extent> done(const Id& id, std::uint32_t revision);

    /// What to write, a multiple of block_size. Nothing can be added any more. REQUIRES: not empty.
    std::span<const char> seal();

   private:
    bool fits(std::uint64_t payload_size) const;
    Extent finish(
        Type type,
        const Id& id,
        std::uint32_t revision,
        std::uint32_t size,
        std::uint64_t payload_check);

    std::span<char> buffer_;
    Place place_;
    std::size_t used_ = 0;  // a multiple of 8
    std::size_t last_ = 0;  // where the last record begins
    RecordHeader last_header_;
};

}  // namespace postern::journal

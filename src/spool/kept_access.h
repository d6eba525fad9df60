#pragma once

#include "postern/spool/kept.h"

namespace postern::spool {

/// The spool's own part of a Kept. While the message is one of an earlier life, that of the thread
/// that makes it; from when it is handed to its worker, that worker's.
struct KeptAccess {
    /// What is to be written of it; a message record (Intake) is not among these.
    enum Wants : std::uint8_t { progress = 1, done = 2 };

    using Parts = Kept::Parts;

    static Place& place(Kept& kept) { return kept.place_; }

    static const Place& place(const Kept& kept) { return kept.place_; }

    static bool stored(const Kept& kept) { return kept.place_.segment != nullptr; }

    static Segment*& progress_segment(Kept& kept) { return kept.progress_segment_; }

    static std::uint32_t& progress_size(Kept& kept) { return kept.progress_size_; }

    static std::unique_ptr<Parts>& parts(Kept& kept) { return kept.parts_; }

    static std::span<const PartPlace> parts(const Kept& kept) {
        return kept.parts_ == nullptr ? std::span<const PartPlace>() : std::span(*kept.parts_);
    }

    static std::uint32_t& revision(Kept& kept) { return kept.revision_; }

    static std::uint32_t& oldest(Kept& kept) { return kept.oldest_; }

    static std::uint8_t& wants(Kept& kept) { return kept.wants_; }

    static std::uint8_t& under_way(Kept& kept) { return kept.under_way_; }

    static bool loading(const Kept& kept) { return kept.loading_; }

    static void set_loading(Kept& kept, bool loading) { kept.loading_ = loading; }

    static bool over(const Kept& kept) { return kept.over_; }

    static void set_over(Kept& kept) { kept.over_ = true; }

    static bool moving(const Kept& kept) { return kept.moving_; }

    static void set_moving(Kept& kept, bool moving) { kept.moving_ = moving; }

    /// Octets of content in the message record itself, at its end.
    static std::uint32_t tail_size(const Kept& kept) {
        std::uint32_t size = kept.content_size_;
        for (const PartPlace& part : parts(kept)) {
            size -= part.size;
        }
        return size;
    }
};

}  // namespace postern::spool

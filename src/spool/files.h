#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "postern/journal/format.h"
#include "segment.h"

namespace postern::spool {

/// The files of a spool's folder, and their lives: made, zeroed, begun, ended. Blocks; the thread
/// of the segments.
class Files {
   public:
    /// `spare`: so many files that hold nothing are kept, and as many as hold something.
    Files(std::string folder, std::uint64_t segment_octets, std::uint32_t spare, Unheld& unheld);
    ~Files();
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    enum class Purpose : std::uint8_t { read, write };

    /// Locks the folder, opens all that is there, and looks at its first blocks. To write, a folder
    /// that is not there is made, and what an earlier life left half made goes.
    base::Result<void> open(Purpose purpose);

    const std::string& folder() const { return folder_; }

    const journal::HostId& host() const { return host_; }

    std::string path_of(const Segment& segment) const;

    /// All, by slot.
    std::deque<Segment>& all() { return segments_; }

    /// Octets of all.
    std::uint64_t octets() const;
    /// Of those that hold nothing.
    std::uint64_t unused_octets() const;

    /// A file that holds nothing, zeroed or not; null: none.
    Segment* find(Segment::State state);

    /// A new one of zeros, at the end.
    base::Result<Segment*> create();
    /// One that is dirty becomes clean.
    base::Result<void> zero(Segment& segment);
    /// A life begins, and files that nobody needs any more go: one that is clean is in use.
    base::Result<void> begin(Segment& segment, std::uint32_t worker);
    /// A life ends: what was in it is gone for ever. REQUIRES: nothing needs it (format.md, the
    /// writer's duty 4).
    base::Result<void> end(Segment& segment);

    bool direct() const { return direct_; }

    /// What open() could not read and left alone, a sentence each.
    std::vector<std::string> troubles;

   private:
    base::Result<void> open_host(bool is_there);
    std::uint32_t slots_needed(const Segment& beginning) const;
    base::Result<void> replace(Segment& segment);

    std::string folder_;
    std::uint64_t segment_octets_;
    std::uint32_t spare_;
    Unheld& unheld_;
    int lock_ = -1;
    journal::HostId host_;
    std::deque<Segment> segments_;
    std::uint64_t sequence_ = 0;  // the highest that was given
    bool direct_ = true;
    std::unique_ptr<char, void (*)(void*)> block_;  // for headers
};

}  // namespace postern::spool

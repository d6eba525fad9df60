#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "postern/journal/format.h"
#include "postern/spool/segments.h"
#include "segment.h"

namespace postern::spool {

/// The files of a spool's folder, and their lives: made, zeroed, begun, ended. Blocks; the thread
/// of the segments.
class Files {
   public:
    /// As many files that hold nothing are kept as there are workers, and as many as hold
    /// something.
    Files(const SegmentsSettings& settings, Unheld& unheld);
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

    /// The first in that state, of so many octets at least; null: none.
    Segment* find(Segment::State state, std::uint64_t octets = 0);
    /// Octets of a segment for a worker that has begun so many since the start.
    std::uint64_t octets_behind(std::uint32_t begun) const;

    /// Some file becomes clean, of so many octets: one that is dirty, or takes the place of a
    /// shorter one, or is new. Where none can be made, or `may_make` is not set, any that is dirty,
    /// or a shorter new one; why is in `trouble` then.
    base::Result<Segment*> clean(std::uint64_t octets, bool may_make);
    std::string trouble;
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
    bool may_be_used_again(const Segment& segment) const;
    base::Result<Segment*> zero(Segment& segment);
    base::Result<Segment*> create(std::uint64_t octets);
    base::Result<Segment*> replace(Segment& segment, std::uint64_t octets);
    void name_is_lost(Segment& segment);

    std::string folder_;
    std::uint64_t segment_octets_;
    std::uint64_t first_octets_;
    std::uint32_t workers_;
    Unheld& unheld_;
    int lock_ = -1;
    journal::HostId host_;
    std::deque<Segment> segments_;
    std::uint64_t sequence_ = 0;  // the highest that was given
    bool direct_ = true;
    std::unique_ptr<char, void (*)(void*)> block_;  // for headers
};

}  // namespace postern::spool

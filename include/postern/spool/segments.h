#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/journal/recovery.h"
#include "postern/spool/kept.h"

/// The files of a spool, for all workers: prepared, recycled and read again on a thread of their
/// own.
namespace postern::spool {

struct SegmentsSettings {
    std::string folder;
    std::uint64_t min_free = 0;  // octets: below it no mail is kept
    std::uint32_t workers = 1;
    std::uint64_t segment_octets = std::uint64_t{64} << 20;
    /// What a worker begins first after a start has so many, each further one twice as many as the
    /// one before, up to `segment_octets`: a slow disk is not busy with zeros while the first
    /// messages come, and who keeps little takes little room. A power of two goes between them.
    std::uint64_t first_octets = std::uint64_t{4} << 20;
};

/// What people are shown of a spool. Values of one moment.
struct SpoolState {
    std::uint32_t segments = 0;
    std::uint64_t octets = 0;       // of all segments
    std::uint64_t free_octets = 0;  // of the file system, and of segments that hold nothing
    bool below_min_free = false;
    bool recovering = false;         // an earlier life's messages are still being read
    std::uint64_t recovered = 0;     // messages, so far
    std::uint64_t dead_letters = 0;  // files in the folder for what could not be delivered
    bool direct = true;              // false: the file system refuses O_DIRECT
    std::string trouble;             // the last that went wrong with the disk; empty: nothing
};

/// Made by the control thread before the workers, destroyed behind them. What is said per function
/// about threads holds; the rest is for `Spool` (src/spool/segments.cc).
class Segments {
   public:
    /// Makes the folder, locks it, draws the host's number or reads it, and looks at the headers of
    /// the segments that are there. Blocks. The error is one sentence that says what to do.
    static base::Result<std::unique_ptr<Segments>> open(const SegmentsSettings& settings);
    ~Segments();

    /// Called for each finding of recovery and each trouble with the disk: one sentence, for the
    /// log. On the thread of the segments. Before start().
    void set_on_sentence(std::function<void(const std::string&)> say);
    /// Starts the thread: a segment for each worker is made ready, then what an earlier life kept
    /// is read and handed to the workers' Spools, which may keep new mail meanwhile.
    void start();
    /// A piece of what the thread does; false: nothing to do. For a simulated world, which has no
    /// threads and calls this instead of start().
    bool step();

    /// spool.min_free may change by a reload. Any thread.
    void set_min_free(std::uint64_t octets);
    SpoolState state() const;  // any thread

    /// A file of that name in the folder of dead letters, `FOLDER/dead/NAME`. `done` is called on
    /// the thread of the segments: it is on stable storage, or could not be written. Any thread.
    void bury(std::string name, std::string content, std::function<void(bool saved)> done);

    struct Implementation;

   private:
    explicit Segments(std::unique_ptr<Implementation> implementation);
    friend class Spool;
    std::unique_ptr<Implementation> implementation_;
};

/// A spool that no process has open, for reading: what `postern queue` lists and exports then.
/// Blocks; any thread.
class Archive {
   public:
    static base::Result<Archive> open(const std::string& folder);
    Archive(Archive&&) noexcept;
    Archive& operator=(Archive&&) noexcept;
    ~Archive();

    /// By ID, which is by time.
    const std::vector<const Kept*>& messages() const;
    const std::vector<journal::Finding>& findings() const;
    /// Canonical content, checked.
    base::Result<std::string> content(const Kept& kept) const;

   private:
    struct Implementation;
    explicit Archive(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::spool

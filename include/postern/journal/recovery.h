#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "postern/journal/format.h"
#include "postern/journal/record.h"

/// What a spool's segments say when they are read again. The decisions are a table, in
/// src/journal/findings.cc and, row by row, in format.md. Pure: octets in, values out.
namespace postern::journal {

/// Situations that are worth a word; the rest (records whose message is gone, parts that no message
/// names, the same message twice) goes without.
enum class Situation : std::uint8_t {
    torn_tail,        // the last write is not whole: nothing good behind the gap
    torn_middle,      // the last write is not whole: good records behind the gap
    older_life,       // records of an earlier life behind the last
    damaged_record,   // a sum is wrong in a write that was acknowledged
    damaged_header,   // the segment's first block
    torn_header,      // the same, and no record behind it
    shortened,        // the file has fewer octets than its header says
    missing_segment,  // no file of that number
    missing_part,     // a message names a part that is not there
    misplaced,        // the file's name and its header give different numbers
    skipped_type,     // a record of a type that is not known here and may be passed over
    unknown_type,     // one that may not
    other_version,    // a segment of another version of the format
    other_host,       // a segment of another spool
    foreign_file,     // no segment at all
};

enum class Gravity : std::uint8_t {
    note,     // nothing that was acknowledged is lost
    damage,   // something that was acknowledged may be lost
    refused,  // the file was not read: what is in it waits
};

struct Finding {
    Situation situation = Situation::torn_tail;
    Gravity gravity = Gravity::note;
    std::uint32_t slot = 0;
    std::uint32_t offset = 0;  // 0: of the file as a whole
    std::uint32_t size = 0;    // octets; 0: of the file as a whole
    Id id;                     // of the message concerned, where it is known
    std::string text;          // one sentence: file, place, what was found and done, what to do
};

/// A message that is not over.
struct Live {
    Id id;
    std::uint32_t segment = 0;   // index in Recovered::segments
    std::uint32_t offset = 0;    // of its message record: give these octets to MessageView
    std::uint32_t size = 0;      // of that record, header included
    std::uint32_t revision = 0;  // the highest yet; the next record about it has a higher one
    std::uint32_t first_recipient = 0;  // index in Recovered::recipients
    std::uint32_t recipient_count = 0;
    std::int64_t arrival_ms = 0;
    std::uint32_t oldest = 0;  // the first segment, by age, that has a message record of it: index
    bool held = false;
};

struct LiveRecipient {
    std::int64_t next_try_ms = 0;
    std::uint32_t attempts = 0;
    std::uint32_t segment =
        0;  // where the record lies that said this: its reply is read from there
    std::uint32_t offset = 0;
    State state = State::waiting;
    bool delay_told = false;
};

/// One file that was given. None is ever written to again in its present life.
struct Segment {
    enum class Verdict : std::uint8_t {
        unused,     // holds nothing: zero it (a crash may have cut that short) and begin a life
        dead,       // holds nothing that counts any more: as unused, the oldest first
        in_use,     // live messages, or what keeps messages of other segments from coming back
        set_aside,  // read, and damaged: rename it when nothing in it is live, do not reuse it
        left_alone  // not read, do not touch
    };
    std::uint32_t slot = 0;
    Verdict verdict = Verdict::unused;
    SegmentHeader header;    // zero where it could not be read, but for the epoch of its records
    std::uint32_t live = 0;  // messages whose record is here, and parts of messages
    std::uint64_t live_octets = 0;  // of these records: what copying them would write

    static constexpr std::uint64_t about_none = ~std::uint64_t{0};
    /// The lowest sequence of a segment with a message that records of this one are about. It must
    /// outlive all segments from that to its own.
    std::uint64_t about_oldest = about_none;
};

struct Recovered {
    std::vector<Live> messages;  // by ID, which is by time
    std::vector<LiveRecipient> recipients;
    std::vector<Segment> segments;  // as they were given
    std::vector<Finding> findings;
    std::uint64_t sequence_max = 0;  // new segments begin above it
};

/// Takes a spool's segments, in any order, and says what is live. Allocates; for start only. What
/// it gives back takes 56 octets a message and 24 a recipient; on the way there a record takes up
/// to 128 more, and each recipient that it names 48.
class Recovery {
   public:
    explicit Recovery(const HostId& host);
    ~Recovery();
    Recovery(const Recovery&) = delete;
    Recovery& operator=(const Recovery&) = delete;

    /// A whole file; its octets are not needed any more when this returns.
    void add(std::uint32_t slot, std::span<const char> octets);

    /// Once, after the last file.
    Recovered finish();

   private:
    struct Work;
    std::unique_ptr<Work> work_;
};

}  // namespace postern::journal

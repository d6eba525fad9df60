#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What stands at the head of a segment and of a record. Every octet is in src/journal/format.md;
/// writer and reader share this and nothing else. Plain values and pure functions; any thread.
namespace postern::journal {

constexpr std::uint32_t format_version = 1;

/// What the disk writes whole or not at all is no larger; writes begin and end at multiples of it.
constexpr std::uint32_t block_size = 4096;

/// The ID that Received:, log and answers show, packed into 16 octets. Zero: none.
struct Id {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    auto operator<=>(const Id&) const = default;
};

/// The number of characters that an Id holds.
constexpr std::size_t id_text_max = 25;

/// nullopt: not 1 to 25 characters of 0-9 A-Z without I, L, O and U.
std::optional<Id> id_from_text(std::string_view text);

/// Writes the text that `id` was made from into `into`; returns its length.
std::uint8_t id_to_text(const Id& id, std::array<char, 32>& into);

std::string text_of(const Id& id);

/// Whose spool this is: random, drawn once when the folder is made, kept beside the segments and
/// told to nobody: checks of records are keyed with it, so no message can hold a record that
/// passes.
struct HostId {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    bool operator==(const HostId&) const = default;
};

/// A segment's first block, written before anything else of its life.
struct SegmentHeader {
    HostId host;
    std::uint64_t epoch = 0;     // random, another for each life of the file; never 0
    std::uint64_t sequence = 0;  // of the host, over all workers: a later life has a higher one
    std::uint32_t slot = 0;      // the number in the file's name
    std::uint32_t slots = 0;     // how many files the spool had then: those with a lower number
    std::uint32_t worker = 0;    // who writes it; for the log
    std::uint64_t size = 0;      // octets of the file, this block included; under 4 GiB
    std::int64_t begun_ms = 0;   // wall clock
    bool operator==(const SegmentHeader&) const = default;
};

/// "segment-000007".
std::string segment_file_name(std::uint32_t slot);

void write_header(const SegmentHeader& header, std::span<char, block_size> into);

enum class HeaderLook : std::uint8_t {
    good,
    unused,         // all zero: the file waits for its first life, or for its next
    other_version,  // a header of another version than ours; nothing else of it can be known
    damaged,        // a header in part, or one whose sum is wrong
    foreign,        // anything else
};

/// `into` is set when good.
HeaderLook read_header(std::span<const char> segment, SegmentHeader& into);

enum class Type : std::uint8_t {
    message = 1,   // a message whole, or all of it that is not in parts, and all that is known
    part = 2,      // a piece of a body; of no meaning before its message names it
    progress = 3,  // what is new about a message's recipients
    done = 4,      // a message is over
};

/// What stands in front of each record's payload.
struct RecordHeader {
    static constexpr std::uint32_t size_octets = 56;

    std::uint64_t epoch = 0;
    Id id;                       // of the message that it is about
    std::uint32_t size = 0;      // octets of the payload
    std::uint32_t write = 0;     // which write of its segment brought it, from 1
    std::uint32_t revision = 0;  // grows with each record about the message but parts
    std::uint8_t type = 0;       // a Type, or one of a later version
    bool skippable = false;      // who does not know the type may pass over it
    bool ends_write = false;     // the last of its write: zeros up to the next block
    std::uint64_t payload_check = 0;
};

/// Writes 56 octets. `offset`: where in the segment.
void write_record_header(
    const RecordHeader& header, const HostId& host, std::uint32_t offset, char* into);

/// False: at `offset` of the segment stands no header of a record, of whatever epoch, that was
/// written there by this host, or its payload would not end inside the segment.
bool read_record_header(
    std::span<const char> segment, std::uint32_t offset, const HostId& host, RecordHeader& into);

/// The same, where its 56 octets alone are there, `from` on: of a segment of `segment_size` octets.
bool read_record_header(
    const char* from,
    std::uint32_t offset,
    std::uint64_t segment_size,
    const HostId& host,
    RecordHeader& into);

/// The sum of a payload: XXH3, 64 bits.
std::uint64_t check_of(std::string_view payload);

/// The same, of a payload that comes piece by piece.
class Check {
   public:
    Check();
    void add(std::string_view octets);
    std::uint64_t result();

    static constexpr std::size_t state_size = 576;

   private:
    alignas(64) std::byte state_[state_size];
};

}  // namespace postern::journal

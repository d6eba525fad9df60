#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "postern/journal/batch.h"
#include "postern/journal/recovery.h"

/// Segments in memory, and the obvious model of what must be found in them.
namespace postern::journal::test {

constexpr HostId host{0x1122334455667788, 0x99aabbccddeeff00};

Id id_of(std::uint32_t number);

/// A message, as text that lives.
struct Letter {
    Id id;
    std::string reverse_path;
    std::vector<std::string> recipients;
    std::string content;
};

Letter letter(std::uint32_t number, std::size_t content_size = 100, std::uint32_t recipients = 1);

/// What is known of a recipient.
struct Told {
    State state = State::waiting;
    std::uint32_t attempts = 0;
    std::int64_t next_try_ms = 0;
    bool operator==(const Told&) const = default;
};

/// A file, filled as a spool would fill it: one write behind the other.
struct SegmentFile {
    explicit SegmentFile(
        std::uint32_t slot,
        std::uint32_t slots = 1,
        std::uint32_t blocks = 16,
        HostId whose = host);

    /// The write that is gathered reaches the file.
    void flush();

    /// Puts `letter` into the write that is gathered. False: does not fit.
    bool put(
        const Letter& letter,
        std::uint32_t revision = 0,
        const std::vector<Told>& told = {},
        const std::vector<Part>& parts = {},
        std::size_t in_parts = 0);

    bool put_step(const Id& id, std::uint32_t revision, std::uint32_t recipient, const Told& told);

    SegmentHeader header;
    std::string octets;
    Batch batch;
    std::uint32_t offset = block_size;  // of the write that is gathered
    std::uint32_t last_from = 0;        // the last that reached the file
    std::uint32_t last_to = 0;
    std::uint32_t write = 1;

   private:
    void begin();
    std::string buffer_;
};

Recovered recover(const std::vector<std::string>& files);

/// The content of a live message, read from `files`, which were given in the order of their slots.
std::string content_of(
    const Live& live, const Recovered& recovered, const std::vector<std::string>& files);

/// A spool that does what `choose` says, a number below its argument.
class Spooled {
   public:
    explicit Spooled(std::function<std::uint32_t(std::uint32_t)> choose);

    /// A message, news of one, a copy of one or its end goes into the write that is gathered.
    void step();

    /// The write reaches the file and is acknowledged.
    void acknowledge();

    /// It reaches the file, and nobody said so.
    void write_only();

    std::vector<std::string> files() const;

    const SegmentFile& current() const { return *segments_.back(); }

    /// Empty: `recovered`, read from `files`, is all that was acknowledged, with some of what was
    /// not. `damaged`: any of it may be missing, and nothing may be other than it was.
    std::string check(
        const Recovered& recovered, const std::vector<std::string>& files, bool damaged) const;

   private:
    enum class Known : std::uint8_t { no, maybe, yes };

    struct Tracked {
        Letter letter;
        std::uint32_t revision = 0;
        std::vector<std::vector<Told>> told;  // by recipient: acknowledged, then what may be
        std::vector<std::vector<Told>> ever;
        Known stored = Known::maybe;
        Known over = Known::no;
    };

    void append();
    void copy(Tracked& tracked);
    void news(Tracked& tracked);
    void end(Tracked& tracked);
    void until_it_fits(const std::function<bool(SegmentFile&)>& put);
    SegmentFile& open();
    std::string check_one(
        const Tracked& tracked,
        const Live& live,
        const Recovered& recovered,
        const std::vector<std::string>& files,
        bool damaged) const;

    std::function<std::uint32_t(std::uint32_t)> choose_;
    std::vector<std::unique_ptr<SegmentFile>> segments_;
    std::map<Id, Tracked> tracked_;
    std::uint32_t count_ = 0;
};

}  // namespace postern::journal::test

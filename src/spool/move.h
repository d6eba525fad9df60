#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "load.h"
#include "postern/io/ring.h"
#include "postern/spool/spool.h"

namespace postern::spool {

struct Intake;

/// Copies messages out of segments that are being cleared (Segment::clearing), a bounded number at
/// a time: their records are read into a buffer of its own, checked, and written anew like those of
/// new messages. The worker's.
class Mover {
   public:
    explicit Mover(Spool::Implementation& spool) : spool_(spool) {}

    ~Mover();
    Mover(const Mover&) = delete;
    Mover& operator=(const Mover&) = delete;

    /// A round begins: all messages are looked at.
    void begin_round();
    /// Once a turn.
    void go_on();
    /// A write has ended well: maybe with the end of a piece of a message that is copied piece by
    /// piece.
    void on_written();
    /// A copy has ended, whatever came of it.
    void on_ended(const Intake& intake);
    /// The message goes.
    void forget(Kept& kept);
    /// It does not arrive any more.
    void forget(const Intake& intake);
    /// The copy of a part that on_ended() will be told of is on the disk.
    void on_part_written(Intake& copy);

    /// They can not be written now: no more of them in this round.
    void leave_parts() { parts_wait_ = true; }

    /// Something is being read.
    bool under_way() const;

    /// Of memory.
    std::size_t held_octets() const { return buffer_ == nullptr ? 0 : buffer_octets; }

    static constexpr std::size_t buffer_octets =
        (std::size_t{1} << 20) + 2 * std::size_t{journal::block_size};

   private:
    /// A record on its way into the buffer.
    struct Record final : io::Completion {
        explicit Record(Mover& owner);
        void read_on();

        Mover& mover;
        Kept* kept = nullptr;
        Source source;
        char* into = nullptr;       // where its first block goes
        std::uint32_t from = 0;     // of that block in the segment
        std::uint32_t size = 0;     // whole blocks
        std::uint32_t arrived = 0;  // octets of them
        std::string trouble;
        bool of_copy = false;  // one piece more for intake_
        bool of_part = false;  // for part_copy_
    };

    bool collect(Kept& kept);
    bool collect_part();
    bool collect_part_of(Intake& intake);
    bool add(Kept& kept, const Source& source);
    bool read(Kept& kept, const Source& source);
    void take_part(Record& record);
    void on_read(Record& record, std::int32_t result);
    void on_all_read();
    std::string_view content_of(const Record& record) const;
    bool good(Record& record) const;
    void report(const Record& record);

    Spool::Implementation& spool_;
    bool in_round_ = false;
    Kept* next_ = nullptr;  // to be looked at next; null: that was all
    std::unique_ptr<char, void (*)(void*)> buffer_{nullptr, std::free};
    std::size_t used_ = 0;
    std::vector<std::unique_ptr<Record>> records_;
    std::uint32_t reads_ = 0;   // under way
    std::uint32_t copies_ = 0;  // not ended
    // Of one that is copied piece by piece:
    std::vector<Source> pieces_;
    std::size_t piece_ = 0;     // index of the one in the buffer
    Intake* intake_ = nullptr;  // null: its first piece is not read yet, or it has ended
    // Of a message that is not whole yet one part is copied at a time.
    bool parts_wait_ = false;
    Intake* part_copy_ = nullptr;
    Intake* arriving_ = nullptr;  // whose part it is; null: nobody's any more
    std::size_t part_ = 0;
};

}  // namespace postern::spool

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kept_access.h"
#include "load.h"
#include "move.h"
#include "postern/base/list.h"
#include "postern/base/object_pool.h"
#include "postern/journal/batch.h"
#include "postern/spool/spool.h"
#include "segments_implementation.h"
#include "shared_replies.h"

namespace postern::spool {

constexpr std::size_t write_octets_max = std::size_t{1} << 20;

/// A message record on its way to the disk: of a new message, or of one that is copied out of a
/// segment. What does not fit into one write goes in front of it in parts.
struct Intake : base::ListLink<> {
    Kept* kept = nullptr;
    bool moves = false;  // the message is stored already
    /// Of a message that comes piece by piece: behind `left` comes more.
    bool more = false;
    journal::Content left;         // what is in no part yet
    std::vector<PartPlace> parts;  // on stable storage, or in the write under way; each is held
    journal::Content left_before;  // as they were before the write that is under way
    std::size_t parts_before = 0;
    bool in_write = false;  // something of it is
    bool whole = false;     // its message record is
    // Of a message that is not whole yet, `kept` has the ID only, and is the spool's.
    bool arrives = false;
    void* whose = nullptr;
    bool given_up = false;     // to be told so
    bool copies_part = false;  // of another that arrives: the Mover's
};

/// A record in the write that is under way.
struct Written {
    journal::Type type = journal::Type::done;
    Kept* kept = nullptr;
    Intake* intake = nullptr;  // of a message or a part
    journal::Extent at;
    bool moves = false;  // of an intake that does
};

/// What may still be found of a message that was refused in the end: a record of it may have come
/// through in a write that failed. It is said to be over as soon as something can be written.
struct Ghost {
    journal::Id id;
    std::uint32_t revision = 0;
    std::uint32_t oldest = 0;
};

/// All of it is the worker's thread's; `segments` is shared.
struct Spool::Implementation final : Hearer {
    Implementation(
        io::Ring& given_ring,
        World& given_world,
        Segments::Implementation& given_segments,
        std::uint32_t given_worker,
        metrics::Meters& given_meters);

    // --- write.cc: what goes to the disk ---------------------------------------------------------
    Intake& make_intake(Kept& kept);
    Intake& add_intake(Kept& kept, const journal::Content& content, bool moves, bool more);
    Intake& begin(const journal::Id& id, void* whose);
    void drop(Intake& intake);
    void become_whole(Intake& intake, Kept& kept, const journal::Content& rest);
    void note_pieces();
    void tell_of_pieces();
    void want(Kept& kept, KeptAccess::Wants what);
    bool something_waits();
    void begin_write();
    bool enter_segment();
    void leave_segment();
    void fill(journal::Batch& batch);
    void fill_wishes(journal::Batch& batch);
    void fill_intakes(journal::Batch& batch);
    bool fill_intake(journal::Batch& batch, Intake& intake, std::size_t capacity);
    std::uint64_t kept_free() const;
    bool may_note(const journal::Batch& batch) const;
    std::size_t room_for_mail(const journal::Batch& batch) const;
    bool put_progress(journal::Batch& batch, Kept& kept);
    std::span<const journal::Recipient> recipients_of(const Kept& kept, std::size_t reply_max);
    void on_written(std::int32_t result);
    void commit(const Written& written);
    void write_failed();
    void give_up();
    void let_go_of_what_is_over();
    void refuse(const std::vector<Kept*>& told);
    void end_intake(Intake& intake);
    void drop_parts(Intake& intake, std::size_t from);
    void does_not_fit();
    void grow_buffer(std::size_t octets);
    std::uint64_t room() const;
    bool resting() const;
    bool gathers();
    void await_segment();

    struct Writing final : io::Completion {
        explicit Writing(Implementation& owner);
        Implementation& spool;
    };

    // --- spool.cc --------------------------------------------------------------------------------
    void on_news() override;
    void add(Kept& kept);
    void forget(Kept& kept);
    void release_places(Kept& kept);
    void abandon();

    io::Ring& ring;
    World& world;
    Segments::Implementation& segments;
    const std::uint32_t worker;
    metrics::Series& meters;

    base::List<Kept, Waiting> all;
    std::uint64_t count = 0;
    std::uint64_t kept_octets = 0;     // of those messages
    base::List<Kept, ToWrite> wishes;  // progress and done
    base::List<Intake> intakes;        // those in the write under way too
    base::List<Intake> pausing;        // those whose next piece has not come yet
    std::vector<Intake*> pieces;       // of these, whose owners are to be told; null: not any more
    base::ObjectPool<Intake> intake_pool{1u << 24};
    std::vector<Ghost> ghosts;

    Segment* segment = nullptr;  // written to
    bool segment_is_full = false;
    bool next_is_ready = false;  // when the present write was begun
    bool awaits_segment = false;
    std::uint32_t failures = 0;  // segments in a row that did not take a write
    base::Instant rests_until{};
    base::Instant gathers_until{};  // zero: it does not
    Writing writing;
    std::unique_ptr<char, void (*)(void*)> buffer{nullptr, std::free};
    std::size_t buffer_size = 0;
    std::size_t buffer_needed = 0;  // the largest record that is known of needs it
    std::size_t write_size = 0;
    bool has_written = false;      // or tried to, since the start
    std::vector<Written> records;  // of the write under way
    std::vector<Ghost> ghosts_in_write;
    std::vector<journal::Recipient> recipients_scratch;
    std::vector<journal::Part> parts_scratch;
    std::vector<journal::Step> steps_scratch;
    std::vector<Written> told_scratch;
    std::vector<Kept*> refused;  // to be told so, in a turn

    // --- load.cc ---------------------------------------------------------------------------------
    void load(Kept& kept, mail::Body& into, std::uint64_t octets_max);

    base::List<Load, Loading> loading;
    base::ObjectPool<Load> loads{1u << 24};
    std::unique_ptr<Mover> mover;

    SharedReplies replies;
};

}  // namespace postern::spool

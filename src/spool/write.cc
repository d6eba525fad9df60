#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "postern/base/assert.h"
#include "spool_implementation.h"

/// How records come to the disk. One write is under way at a time; what comes meanwhile waits in
/// lists, by reference, and is copied when the next begins.
namespace postern::spool {
namespace {

using journal::Batch;
using journal::Type;
using metrics::Metric;

/// A part is no smaller than this where more can be had in the next write.
constexpr std::size_t part_octets_min = std::size_t{64} << 10;
constexpr std::uint32_t failures_max = 3;
/// Of a segment, where that is no more than a quarter.
constexpr std::uint64_t kept_free_min = std::uint64_t{1} << 20;
constexpr base::Duration rest = std::chrono::seconds(1);

constexpr std::size_t header_size = journal::RecordHeader::size_octets;
/// As most records of progress.
constexpr std::size_t small_record = 256;

}  // namespace

Spool::Implementation::Writing::Writing(Implementation& owner)
    : Completion([](Completion& self, io::Done done) {
          static_cast<Writing&>(self).spool.on_written(done.result);
      }),
      spool(owner) {}

Intake& Spool::Implementation::make_intake(Kept& kept) {
    Intake* intake = intake_pool.make();
    POSTERN_ASSERT(intake != nullptr, "there are fewer messages at once than that");
    intake->kept = &kept;
    ++KeptAccess::under_way(kept);
    return *intake;
}

Intake& Spool::Implementation::add_intake(
    Kept& kept, const journal::Content& content, bool moves, bool more) {
    Intake& intake = make_intake(kept);
    intake.left = content;
    intake.moves = moves;
    intake.more = more;
    intakes.push_back(intake);
    return intake;
}

Intake& Spool::Implementation::begin(const journal::Id& id, void* whose) {
    Intake& intake = make_intake(*Kept::make(id, {}, 0, {}));
    intake.more = intake.arrives = true;
    intake.whose = whose;
    pausing.push_back(intake);
    return intake;
}

void Spool::Implementation::drop(Intake& intake) {
    POSTERN_ASSERT(intake.arrives, "what is dropped has not become a message");
    std::replace(pieces.begin(), pieces.end(), &intake, static_cast<Intake*>(nullptr));
    mover->forget(intake);
    if (intake.in_write) {
        // It goes before the next write; what it viewed may go now.
        KeptAccess::set_over(*intake.kept);
        intake.left = intake.left_before = {};
    } else {
        end_intake(intake);
    }
}

void Spool::Implementation::become_whole(Intake& intake, Kept& kept, const journal::Content& rest) {
    mover->forget(intake);
    --KeptAccess::under_way(*intake.kept);
    Kept::destroy(std::exchange(intake.kept, &kept));
    ++KeptAccess::under_way(kept);
    intake.arrives = intake.more = false;
    intake.whose = nullptr;
    intake.left = rest;
    static_cast<base::ListLink<>&>(intake).unlink();
    intakes.push_back(intake);
}

/// Behind a write: whose piece is whole on the disk.
void Spool::Implementation::note_pieces() {
    Intake* next = nullptr;
    for (Intake* intake = intakes.front(); intake != nullptr; intake = next) {
        next = intakes.next(*intake);
        if (intake->copies_part && intake->left.left() == 0) {
            mover->on_part_written(*intake);
            end_intake(*intake);
        } else if (
            intake->arrives && intake->left.left() == 0 && !KeptAccess::over(*intake->kept)) {
            static_cast<base::ListLink<>&>(*intake).unlink();
            pausing.push_back(*intake);
            pieces.push_back(intake);
        }
    }
}

/// Whoever is told may drop others.
void Spool::Implementation::tell_of_pieces() {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        Intake* const intake = std::exchange(pieces[i], nullptr);
        if (intake == nullptr) {
            continue;
        }
        void* const whose = intake->whose;
        const bool safe = !intake->given_up;
        if (!safe) {
            end_intake(*intake);
        }
        world.piece_written(whose, safe);
    }
    pieces.clear();
}

void Spool::Implementation::want(Kept& kept, KeptAccess::Wants what) {
    KeptAccess::wants(kept) |= what;
    if (!static_cast<base::ListLink<ToWrite>&>(kept).linked()) {
        wishes.push_back(kept);
    }
}

bool Spool::Implementation::something_waits() {
    return !wishes.empty() || !intakes.empty() || !ghosts.empty();
}

bool Spool::Implementation::resting() const {
    return ring.now() < rests_until;
}

std::uint64_t Spool::Implementation::room() const {
    return segment == nullptr ? 0 : segment->size - segment->used;
}

void Spool::Implementation::leave_segment() {
    segment->sealed = true;
    std::exchange(segment, nullptr)->release(0);
    segment_is_full = false;
}

void Spool::Implementation::await_segment() {
    if (!std::exchange(awaits_segment, true)) {
        segments.await_ready(worker);
    }
}

/// False: there is none to write to yet.
bool Spool::Implementation::enter_segment() {
    if (segment != nullptr && (segment_is_full || room() == 0) && segments.has_ready(worker)) {
        leave_segment();
    }
    if (segment == nullptr) {
        segment = segments.take(worker);
        awaits_segment = awaits_segment && segment == nullptr;
    }
    if (segment == nullptr || segment_is_full || room() == 0) {
        await_segment();
    }
    return segment != nullptr && room() > 0;
}

/// While no other segment is ready the end of this one is for what lets others go: progress and
/// what is over, the half of it for the latter alone.
std::uint64_t Spool::Implementation::kept_free() const {
    return std::max(segment->size / 16, std::min(segment->size / 4, kept_free_min));
}

bool Spool::Implementation::may_note(const Batch& batch) const {
    return next_is_ready || room() - batch.size() >= kept_free() / 2;
}

/// Octets of payload that a record with content can have. The first of a segment has all of it: it
/// may fit in no other way.
std::size_t Spool::Implementation::room_for_mail(const Batch& batch) const {
    const bool is_first = batch.empty() && segment->used == journal::block_size;
    if (is_first || next_is_ready) {
        return batch.room();
    }
    const std::uint64_t without = kept_free() + header_size;
    const std::uint64_t left = room() - batch.size();
    return left <= without ? 0 : std::min<std::uint64_t>(batch.room(), left - without);
}

/// What was tried waits for the next write, and that for the next segment where this one ends with
/// the present write.
void Spool::Implementation::does_not_fit() {
    segment_is_full = segment_is_full || room() <= buffer_size;
}

void Spool::Implementation::grow_buffer(std::size_t octets) {
    octets = (octets + journal::block_size - 1) / journal::block_size * journal::block_size;
    buffer.reset(static_cast<char*>(std::aligned_alloc(io::file_block_size, octets)));
    POSTERN_ASSERT(buffer != nullptr, "there is no memory for a write");
    buffer_size = octets;
}

/// Each write takes a block at least, and where no segment can be made those that are left have to
/// do until so many messages are over that one goes: what says so waits until it fills a block, or
/// for a moment.
bool Spool::Implementation::gathers() {
    constexpr std::size_t fill_a_block = journal::block_size / (header_size + 8);
    constexpr base::Duration moment = std::chrono::seconds(1);
    std::size_t count = 0;
    for (Kept* kept = wishes.front(); kept != nullptr && count < fill_a_block;
         kept = wishes.next(*kept)) {
        ++count;
    }
    // Mail has no room there in any case.
    if (count == fill_a_block || !ghosts.empty() || room() > kept_free() ||
        segments.has_ready(worker)) {
        gathers_until = {};
        return false;
    }
    if (gathers_until == base::Instant{}) {
        gathers_until = ring.now() + moment;
    }
    if (ring.now() >= gathers_until) {
        gathers_until = {};
        return false;
    }
    segment_is_full = segment_is_full || !intakes.empty();
    if (segment_is_full) {
        await_segment();
    }
    segments.call_later(worker);
    return true;
}

void Spool::Implementation::begin_write() {
    if (writing.armed() || !something_waits() || resting() || !enter_segment() || gathers()) {
        return;
    }
    buffer_needed =
        std::max(buffer_needed, std::min<std::size_t>(write_octets_max, segments.segment_octets()));
    if (buffer_size < buffer_needed) {
        grow_buffer(buffer_needed);
    }
    Batch batch;
    const auto begin = [&] {
        next_is_ready = segments.has_ready(worker);
        batch.begin(
            {buffer.get(), std::min<std::size_t>(buffer_size, room())},
            {segments.host(),
             segment->epoch,
             static_cast<std::uint32_t>(segment->used),
             segment->writes + 1});
    };
    begin();
    fill(batch);
    if (batch.empty() && segment_is_full && segments.has_ready(worker) && enter_segment()) {
        begin();
        fill(batch);
    }
    if (batch.empty()) {
        if (segment_is_full) {
            await_segment();
        }
        return;
    }
    const std::span<const char> octets = batch.seal();
    write_size = octets.size();
    has_written = true;
    ring.write(writing, segment->file.descriptor, octets, segment->used);
}

void Spool::Implementation::fill(Batch& batch) {
    while (!ghosts.empty()) {
        const Ghost& ghost = ghosts.back();
        if (!batch.done(ghost.id, ghost.revision)) {
            does_not_fit();
            return;
        }
        segment->note_about(ghost.oldest);
        ghosts_in_write.push_back(ghost);
        ghosts.pop_back();
    }
    fill_wishes(batch);
    fill_intakes(batch);
}

void Spool::Implementation::fill_wishes(Batch& batch) {
    Kept* next = nullptr;
    for (Kept* kept = wishes.front(); kept != nullptr; kept = next) {
        next = wishes.next(*kept);
        const bool over = KeptAccess::over(*kept);
        if (over && KeptAccess::moving(*kept)) {
            continue;  // as soon as that has ended
        }
        if (!over && !may_note(batch)) {
            segment_is_full = true;
            continue;
        }
        if (over) {
            const auto at = batch.done(kept->id(), ++KeptAccess::revision(*kept));
            if (!at) {
                --KeptAccess::revision(*kept);
                does_not_fit();
                return;
            }
            records.push_back({Type::done, kept, nullptr, *at, false});
        } else if (!put_progress(batch, *kept)) {
            if (batch.room() < small_record) {
                return;
            }
            continue;  // a large one: those behind it are not
        }
        segment->note_about(KeptAccess::oldest(*kept));
        KeptAccess::wants(*kept) = 0;
        ++KeptAccess::under_way(*kept);
        static_cast<base::ListLink<ToWrite>&>(*kept).unlink();
    }
}

/// False: it waits for the next write.
bool Spool::Implementation::put_progress(Batch& batch, Kept& kept) {
    const std::size_t capacity = segments.segment_octets() - journal::block_size;
    // Where the replies do not fit into a whole segment, they are cut: only people read them.
    for (const std::size_t reply_max : {journal::text_max, std::size_t{128}, std::size_t{0}}) {
        steps_scratch.clear();
        std::size_t size = header_size + 8;
        for (const KeptRecipient& each : kept.recipients()) {
            const std::string_view reply =
                each.reply == nullptr ? std::string_view()
                                      : std::string_view(each.reply->text).substr(0, reply_max);
            steps_scratch.push_back(
                {static_cast<std::uint32_t>(steps_scratch.size()),
                 each.attempts,
                 each.next_try_ms,
                 each.state,
                 each.delay_told,
                 reply});
            size += 20 + reply.size();
        }
        if (size > capacity && reply_max != 0) {
            continue;
        }
        const auto at =
            batch.progress(kept.id(), KeptAccess::revision(kept) + 1, kept.held(), steps_scratch);
        if (at) {
            ++KeptAccess::revision(kept);
            records.push_back({Type::progress, &kept, nullptr, *at, false});
            return true;
        }
        buffer_needed = std::max(buffer_needed, size);
        does_not_fit();
        return false;
    }
    return false;
}

std::span<const journal::Recipient> Spool::Implementation::recipients_of(
    const Kept& kept, std::size_t reply_max) {
    recipients_scratch.clear();
    for (const KeptRecipient& each : kept.recipients()) {
        recipients_scratch.push_back(
            {each.address,
             each.original,
             each.reply == nullptr ? std::string_view()
                                   : std::string_view(each.reply->text).substr(0, reply_max),
             each.next_try_ms,
             each.attempts,
             each.notify,
             each.state,
             each.delay_told});
    }
    return recipients_scratch;
}

/// The first large one has half of the write, those that are small come beside it, and what room is
/// left then is for the large ones again.
void Spool::Implementation::fill_intakes(Batch& batch) {
    const auto large = [this](const Intake& intake) {
        return intake.more || !intake.parts.empty() ||
               header_size + intake.left.left() > buffer_size / 2;
    };
    Intake* next = nullptr;
    bool any_large = false;
    for (Intake* intake = intakes.front(); intake != nullptr; intake = next) {
        next = intakes.next(*intake);
        if (KeptAccess::over(*intake->kept)) {
            end_intake(*intake);  // a copy of what is over by now
            continue;
        }
        const std::size_t room = room_for_mail(batch);
        if (room == 0 && batch.room() > 0) {
            segment_is_full = true;
            return;
        }
        if (!large(*intake)) {
            if (!fill_intake(batch, *intake, room)) {
                break;
            }
        } else if (!std::exchange(any_large, true)) {
            fill_intake(batch, *intake, next == nullptr ? room : std::min(room, buffer_size / 2));
        }
    }
    for (Intake* intake = any_large ? intakes.front() : nullptr; intake != nullptr; intake = next) {
        next = intakes.next(*intake);
        if (large(*intake) && !intake->whole && !KeptAccess::over(*intake->kept) &&
            (!fill_intake(batch, *intake, room_for_mail(batch)) &&
             room_for_mail(batch) < part_octets_min)) {
            return;
        }
    }
}

/// False: something of it waits for the next write.
bool Spool::Implementation::fill_intake(Batch& batch, Intake& intake, std::size_t capacity) {
    Kept& kept = *intake.kept;
    if (!intake.in_write) {
        intake.left_before = intake.left;
        intake.parts_before = intake.parts.size();
    }
    const journal::Message message = kept.message();
    std::span<const journal::Recipient> recipients = recipients_of(kept, journal::text_max);
    const std::size_t whole_segment = segments.segment_octets() - journal::block_size;
    const auto envelope_size = [&](std::uint64_t content) {
        parts_scratch.resize(intake.parts.size());
        return header_size + Batch::message_size(message, recipients, parts_scratch, content);
    };
    for (const std::size_t reply_max : {std::size_t{128}, std::size_t{0}}) {
        if (envelope_size(0) > whole_segment) {
            recipients = recipients_of(kept, reply_max);
        }
    }
    const auto put_message = [&]() -> bool {
        parts_scratch.clear();
        for (const PartPlace& part : intake.parts) {
            parts_scratch.push_back({part.segment->epoch, part.offset, part.size});
        }
        const auto at = batch.message(
            kept.id(),
            KeptAccess::revision(kept) + 1,
            message,
            recipients,
            parts_scratch,
            intake.left);
        if (!at) {
            return false;
        }
        ++KeptAccess::revision(kept);
        if (intake.moves) {
            segment->note_about(KeptAccess::oldest(kept));
        } else if (KeptAccess::oldest(kept) == 0) {
            KeptAccess::oldest(kept) = static_cast<std::uint32_t>(segment->sequence);
        }
        records.push_back({Type::message, &kept, &intake, *at, intake.moves});
        intake.in_write = true;
        intake.whole = true;
        return true;
    };
    const std::size_t limit = std::min(buffer_size, whole_segment);
    const std::size_t need = envelope_size(intake.left.left());
    // Where what is left is kept for others only another segment takes it; else the next write
    // does.
    const auto not_here = [&] {
        does_not_fit();
        segment_is_full = segment_is_full || room_for_mail(batch) < batch.room();
    };
    if (!intake.more && need <= limit) {
        if (need <= room_for_mail(batch) + header_size && put_message()) {
            return true;
        }
        not_here();
        return false;
    }
    if (!intake.more && intake.left.left() <= limit / 2) {
        // All but the envelope would fit: more recipients than a write usually has room for.
        if (need > whole_segment) {
            POSTERN_ASSERT(!intake.moves, "what was written once can be written again");
            refused.push_back(&kept);
            segments.call_again(worker);
            end_intake(intake);
            return true;
        }
        buffer_needed = std::max(buffer_needed, need);
        does_not_fit();
        return false;
    }
    if (intake.left.left() == 0) {
        return false;  // its next piece is being read
    }
    const std::size_t least = std::min<std::uint64_t>(
        std::min<std::size_t>(part_octets_min, limit / 4), intake.left.left());
    if (capacity < least) {
        not_here();
        return false;
    }
    journal::Content piece = intake.left;
    journal::Extent at;
    const std::uint32_t size = batch.part(kept.id(), piece, at, capacity);
    POSTERN_ASSERT(size > 0, "a part fits where there is room");
    intake.left = piece;
    segment->hold(header_size + size);
    intake.parts.push_back({segment, at.offset, size});
    intake.in_write = true;
    records.push_back({Type::part, &kept, &intake, at, intake.moves});
    return false;
}

void Spool::Implementation::on_written(std::int32_t result) {
    meters.count<Metric::spool_writes>();
    if (result != static_cast<std::int32_t>(write_size)) {
        meters.count<Metric::spool_failures>();
        segments.report(
            "a write to " + journal::segment_file_name(segment->slot) +
            " failed: " + (result < 0 ? strerrordesc_np(-result) : "it was cut short") +
            "; what was to be written goes to another segment");
        write_failed();
        return;
    }
    meters.add<Metric::spool_bytes>(result);
    segment->used += write_size;
    ++segment->writes;
    failures = 0;
    rests_until = {};
    ghosts_in_write.clear();
    std::vector<Written> told = std::exchange(records, std::move(told_scratch));
    for (const Written& written : told) {
        commit(written);
    }
    mover->on_written();
    note_pieces();
    // Only now, when all of it is known: who is told may ask for more.
    for (const Written& written : told) {
        if (written.type == Type::message && !written.moves) {
            world.stored(*written.kept, true);
        } else if (written.type == Type::done) {
            world.finished(*written.kept);
        }
    }
    told.clear();
    told_scratch = std::move(told);
    tell_of_pieces();
}

/// A record is on stable storage: from now on its message holds on to where it lies.
void Spool::Implementation::commit(const Written& written) {
    Kept& kept = *written.kept;
    const std::uint32_t size = written.at.size;
    switch (written.type) {
        case Type::part:
            written.intake->in_write = false;
            break;
        case Type::message: {
            Intake& intake = *written.intake;
            release_places(kept);
            KeptAccess::place(kept) = {segment, written.at.offset, size};
            segment->hold(size);
            if (!intake.parts.empty()) {
                KeptAccess::parts(kept) =
                    std::make_unique<KeptAccess::Parts>(std::move(intake.parts));
                intake.parts = {};
            }
            end_intake(intake);
            break;
        }
        case Type::progress:
            if (Segment* before = std::exchange(KeptAccess::progress_segment(kept), segment)) {
                before->release(KeptAccess::progress_size(kept));
            }
            KeptAccess::progress_size(kept) = size;
            segment->hold(size);
            --KeptAccess::under_way(kept);
            break;
        case Type::done:
            --KeptAccess::under_way(kept);
            release_places(kept);
            forget(kept);
            break;
    }
}

/// Of what was in it anything may be on the disk. It goes into another segment, under the same ID
/// and with a higher revision.
void Spool::Implementation::write_failed() {
    for (std::size_t i = records.size(); i-- > 0;) {
        const Written& written = records[i];
        Kept& kept = *written.kept;
        switch (written.type) {
            case Type::part:
            case Type::message: {
                Intake& intake = *written.intake;
                if (intake.in_write) {
                    intake.in_write = intake.whole = false;
                    drop_parts(intake, intake.parts_before);
                    intake.left = intake.left_before;
                }
                break;
            }
            case Type::progress:
            case Type::done:
                --KeptAccess::under_way(kept);
                KeptAccess::wants(kept) |=
                    written.type == Type::done ? KeptAccess::done : KeptAccess::progress;
                if (!static_cast<base::ListLink<ToWrite>&>(kept).linked()) {
                    wishes.push_front(kept);
                }
                break;
        }
    }
    records.clear();
    ghosts.insert(ghosts.end(), ghosts_in_write.begin(), ghosts_in_write.end());
    ghosts_in_write.clear();
    leave_segment();
    if (++failures >= failures_max) {
        give_up();
    }
}

/// Nothing can be written now. Who waits for an answer gets it; what must be written some time
/// waits for a better one.
void Spool::Implementation::give_up() {
    rests_until = ring.now() + rest;
    segments.call_later(worker);
    std::vector<Kept*> told = std::exchange(refused, {});
    Intake* next = nullptr;
    for (Intake* intake = intakes.front(); intake != nullptr; intake = next) {
        next = intakes.next(*intake);
        if (intake->in_write) {
            continue;
        }
        if (intake->arrives && !intake->copies_part && !KeptAccess::over(*intake->kept)) {
            intake->given_up = true;
            pieces.push_back(intake);
            continue;
        }
        if (!intake->moves && !intake->arrives) {
            told.push_back(intake->kept);
        }
        if (intake->copies_part) {
            mover->leave_parts();
        }
        end_intake(*intake);
    }
    refuse(told);
    tell_of_pieces();
}

/// After a start without room for one more segment nothing can be written before a file goes. It
/// may, when all in it is over, and nobody needs to have read so (format.md, the writer's duty 5):
/// what is known of these messages from before the start is all that is on the disk. Their done
/// records wait on, for the files that stay.
void Spool::Implementation::let_go_of_what_is_over() {
    if (has_written) {
        return;
    }
    for (Kept* kept = wishes.front(); kept != nullptr; kept = wishes.next(*kept)) {
        const std::span<const PartPlace> parts = KeptAccess::parts(std::as_const(*kept));
        const Segment* const its = KeptAccess::place(*kept).segment;
        const bool in_one = std::all_of(
            parts.begin(), parts.end(), [its](const auto& part) { return part.segment == its; });
        if (KeptAccess::over(*kept) && in_one) {
            release_places(*kept);
        }
    }
}

void Spool::Implementation::refuse(const std::vector<Kept*>& told) {
    for (Kept* kept : told) {
        if (KeptAccess::oldest(*kept) != 0) {
            ghosts.push_back(
                {kept->id(), KeptAccess::revision(*kept) + 1, KeptAccess::oldest(*kept)});
        }
        forget(*kept);
    }
    for (Kept* kept : told) {
        world.stored(*kept, false);
    }
}

void Spool::Implementation::drop_parts(Intake& intake, std::size_t from) {
    for (std::size_t i = from; i < intake.parts.size(); ++i) {
        intake.parts[i].segment->release(header_size + intake.parts[i].size);
    }
    intake.parts.resize(from);
}

void Spool::Implementation::end_intake(Intake& intake) {
    Kept& kept = *intake.kept;
    drop_parts(intake, 0);
    --KeptAccess::under_way(kept);
    if (intake.moves) {
        KeptAccess::set_moving(kept, false);
    }
    if (intake.moves || intake.copies_part) {
        mover->on_ended(intake);
    }
    if (intake.arrives) {
        mover->forget(intake);
        Kept::destroy(&kept);
    }
    static_cast<base::ListLink<>&>(intake).unlink();
    intake_pool.destroy(&intake);
}

}  // namespace postern::spool

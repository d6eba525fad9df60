#include "deliveries.h"

/// What Deliveries does for a large message that goes to the spool while it arrives (product.md,
/// section 3), so that memory holds two pieces of it and no more.
namespace postern::shard {

/// By what it takes of memory, too: that may be more than it holds.
bool Deliveries::has_piece(const mail::Submission& submission) const {
    const mail::Body& body = submission.body;
    return body.size() >= parts_.piece_octets || body.pinned() >= 2 * parts_.piece_octets;
}

/// More of a body has come. False: what came before is lost, and it can not be kept any more.
bool Deliveries::grown(mail::Submission& submission, bool memory_is_short) {
    auto* arriving = static_cast<Arriving*>(submission.arriving);
    if (arriving == nullptr) {
        const bool goes = submission.mode == mail::Mode::queue ||
                          (submission.mode == mail::Mode::hybrid && memory_is_short);
        // One that is little longer than a piece is given to its host from memory, as shorter ones
        // are: two pieces are held of longer ones, too.
        if (!goes || submission.body.pinned() < 2 * parts_.piece_octets || !keeps()) {
            return true;
        }
        const std::optional<journal::Id> id = journal::id_from_text(submission.id());
        POSTERN_ASSERT(id.has_value(), "an ID of ours is none");
        arriving = arriving_.make();
        POSTERN_ASSERT(arriving != nullptr, "no more messages arrive than there can be");
        arriving->submission = &submission;
        arriving->begun = &spool_->begin(*id, arriving);
        submission.arriving = arriving;
        submission.spool_first = true;
    }
    if (arriving->begun == nullptr) {
        return false;
    }
    if (has_piece(submission)) {
        if (arriving->piece.size() == 0) {
            write_piece(*arriving);
        } else {
            submission.pauses = true;  // the sender is faster than the disk
        }
    }
    return true;
}

/// Where the disk has no room for it now, it stays in memory.
void Deliveries::write_piece(Arriving& arriving) {
    mail::Submission& submission = *arriving.submission;
    const std::uint64_t size = submission.body.size();
    if (!keeps() || !world_.reserve_on_disk(submission, size)) {
        return;
    }
    arriving.on_disk_octets += size;
    submission.octets_before += size;
    arriving.piece.take(submission.body);
    arriving.has_dot_line = arriving.has_dot_line || has_dot_line(arriving.piece);
    POSTERN_ASSERT(
        submission.reserved_octets >= arriving.piece.pinned(), "memory is reserved, then filled");
    arriving.reserved_octets = arriving.piece.pinned();
    submission.reserved_octets -= arriving.reserved_octets;
    spool_->write(*arriving.begun, arriving.piece);
}

void Deliveries::piece_written(void* whose, bool safe) {
    Arriving& arriving = *static_cast<Arriving*>(whose);
    let_piece_go(arriving);
    if (!safe) {
        arriving.begun = nullptr;
    }
    mail::Submission& submission = *arriving.submission;
    const bool paused = std::exchange(submission.pauses, false);
    if (arriving.whole) {
        store_rest(arriving);
        return;
    }
    if (safe && has_piece(submission)) {
        write_piece(arriving);
    }
    if (paused) {
        world_.go_on(submission);
    }
}

void Deliveries::let_piece_go(Arriving& arriving) {
    arriving.piece.clear();
    world_.give_back(*arriving.submission, std::exchange(arriving.reserved_octets, 0));
}

/// It is whole, and no piece of it is being written.
void Deliveries::store_rest(Arriving& arriving) {
    if (arriving.begun != nullptr) {
        store(*arriving.submission, false, nullptr);
        return;
    }
    turned_away_.emplace_back(arriving.submission, not_kept);
    look_ = true;
}

void Deliveries::forget_arriving(mail::Submission& submission) {
    auto* const arriving = static_cast<Arriving*>(submission.arriving);
    if (arriving == nullptr) {
        return;
    }
    if (arriving->begun != nullptr) {
        spool_->drop(*arriving->begun);
    }
    let_piece_go(*arriving);
    end_arriving(*arriving);
}

void Deliveries::end_arriving(Arriving& arriving) {
    world_.give_back_on_disk(*arriving.submission, arriving.on_disk_octets);
    arriving.submission->arriving = nullptr;
    arriving_.destroy(&arriving);
}

}  // namespace postern::shard

#include "move.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "postern/base/assert.h"
#include "spool_implementation.h"

namespace postern::spool {
namespace {

constexpr std::uint32_t block_size = journal::block_size;
constexpr std::size_t records_max = 64;
/// Messages that are looked at in one turn.
constexpr int looked_at_max = 1000;

bool clears(const Segment* segment) {
    return segment != nullptr && segment->clearing.load(std::memory_order_relaxed);
}

}  // namespace

Mover::Record::Record(Mover& owner)
    : Completion([](Completion& self, io::Done done) {
          Record& record = static_cast<Record&>(self);
          record.mover.on_read(record, done.result);
      }),
      mover(owner) {}

void Mover::Record::read_on() {
    mover.spool_.ring.read(
        *this, source.segment->file.descriptor, {into + arrived, size - arrived}, from + arrived);
}

Mover::~Mover() {
    for (const auto& record : records_) {
        if (!record->of_copy && !record->of_part) {
            KeptAccess::set_moving(*record->kept, false);
        }
    }
}

bool Mover::under_way() const {
    return std::any_of(
        records_.begin(), records_.end(), [](const auto& record) { return record->armed(); });
}

void Mover::begin_round() {
    in_round_ = true;
    parts_wait_ = false;
    next_ = spool_.all.front();
}

void Mover::forget(Kept& kept) {
    if (next_ == &kept) {
        next_ = spool_.all.next(kept);
    }
}

void Mover::forget(const Intake& intake) {
    if (arriving_ == &intake) {
        arriving_ = nullptr;
    }
}

void Mover::go_on() {
    if (!in_round_ || copies_ > 0 || reads_ > 0) {
        return;
    }
    used_ = 0;
    pieces_.clear();
    int looked_at = 0;
    if (parts_wait_ || !collect_part()) {
        while (next_ != nullptr && looked_at++ < looked_at_max && collect(*next_)) {
            next_ = spool_.all.next(*next_);
        }
    }
    if (!records_.empty()) {
        for (const auto& record : records_) {
            ++reads_;
            record->source.segment->hold(0);
            record->read_on();
        }
    } else if (next_ != nullptr) {
        spool_.segments.call_again(spool_.worker);
    } else {
        in_round_ = false;
        buffer_.reset();
        spool_.segments.round_is_over(spool_.worker);
    }
}

/// False: it does not fit beside the others, and is looked at again.
bool Mover::collect(Kept& kept) {
    const std::span<const PartPlace> parts = KeptAccess::parts(std::as_const(kept));
    if (!KeptAccess::stored(kept) || KeptAccess::over(kept) || KeptAccess::moving(kept) ||
        KeptAccess::under_way(kept) != 0) {
        return true;  // it goes by itself, or the next round finds it
    }
    const bool content_moves = clears(KeptAccess::place(kept).segment) ||
                               std::any_of(parts.begin(), parts.end(), [](const PartPlace& part) {
                                   return clears(part.segment);
                               });
    if (!content_moves) {
        if (clears(KeptAccess::progress_segment(kept))) {
            spool_.want(kept, KeptAccess::progress);
        }
        return true;
    }
    if (parts.empty()) {
        return add(kept, sources_of(kept)[0]);
    }
    if (!records_.empty()) {
        return false;
    }
    pieces_ = sources_of(kept);
    piece_ = 0;
    if (add(kept, pieces_[0])) {
        next_ = spool_.all.next(kept);
    }
    return false;  // alone
}

/// Were a message that is not whole yet left where it is, the segment would stay as long as it
/// takes to arrive, and all that came behind it. True: a part of one is read.
bool Mover::collect_part() {
    for (base::List<Intake>* const list : {&spool_.pausing, &spool_.intakes}) {
        for (Intake* intake = list->front(); intake != nullptr; intake = list->next(*intake)) {
            if (intake->arrives && !intake->copies_part && !KeptAccess::over(*intake->kept) &&
                collect_part_of(*intake)) {
                return true;
            }
        }
    }
    return false;
}

bool Mover::collect_part_of(Intake& intake) {
    const auto found =
        std::find_if(intake.parts.begin(), intake.parts.end(), [](const PartPlace& part) {
            return clears(part.segment) && !part.segment->unreadable;
        });
    if (found == intake.parts.end()) {
        return false;
    }
    constexpr std::uint32_t header_size = journal::RecordHeader::size_octets;
    Intake& copy = spool_.begin(intake.kept->id(), nullptr);
    copy.copies_part = true;
    const bool reads =
        read(*copy.kept, {found->segment, found->offset, header_size + found->size, header_size});
    ++copies_;
    part_copy_ = &copy;
    arriving_ = &intake;
    part_ = static_cast<std::size_t>(found - intake.parts.begin());
    if (!reads || records_.empty()) {
        spool_.end_intake(copy);  // a writer of another size made it
        return false;
    }
    records_.back()->of_part = true;
    return true;
}

bool Mover::add(Kept& kept, const Source& source) {
    const std::size_t before = records_.size();
    if (!read(kept, source)) {
        return false;
    }
    if (records_.size() > before && !KeptAccess::moving(kept)) {
        KeptAccess::set_moving(kept, true);
        ++copies_;
    }
    return true;
}

/// False: there is no room for it beside the others.
bool Mover::read(Kept& kept, const Source& source) {
    const std::uint32_t from = source.offset / block_size * block_size;
    const std::uint32_t size =
        (source.offset + source.size - from + block_size - 1) / block_size * block_size;
    if (size > buffer_octets) {
        return true;  // a writer of another size made it: it stays until it is over
    }
    if (used_ + size > buffer_octets || records_.size() == records_max) {
        return false;
    }
    if (buffer_ == nullptr) {
        buffer_.reset(static_cast<char*>(std::aligned_alloc(block_size, buffer_octets)));
        POSTERN_ASSERT(buffer_ != nullptr, "there is no memory to copy messages");
    }
    auto record = std::make_unique<Record>(*this);
    record->kept = &kept;
    record->source = source;
    record->into = buffer_.get() + used_;
    record->from = from;
    record->size = size;
    used_ += size;
    records_.push_back(std::move(record));
    return true;
}

void Mover::on_read(Record& record, std::int32_t result) {
    if (result > 0) {
        record.arrived += static_cast<std::uint32_t>(result);
    } else if (result != -EINTR && result != -EAGAIN) {
        record.trouble = result < 0 ? strerrordesc_np(-result) : "the file ends before it";
    }
    const bool over = record.from + record.arrived >= record.source.offset + record.source.size;
    if (!over && record.trouble.empty()) {
        record.arrived = record.arrived / block_size * block_size;
        record.read_on();
        return;
    }
    record.source.segment->release(0);
    if (--reads_ == 0) {
        on_all_read();
    }
}

std::string_view Mover::content_of(const Record& record) const {
    return {
        record.into + (record.source.offset - record.from) + record.source.content_at,
        record.source.size - record.source.content_at};
}

bool Mover::good(Record& record) const {
    if (!record.trouble.empty()) {
        return false;
    }
    const char* from = record.into + (record.source.offset - record.from);
    const std::string_view payload(
        from + journal::RecordHeader::size_octets,
        record.source.size - journal::RecordHeader::size_octets);
    journal::RecordHeader header;
    const bool good = journal::read_record_header(
                          from,
                          record.source.offset,
                          record.source.segment->size,
                          spool_.segments.host(),
                          header) &&
                      header.id == record.kept->id() && header.size == payload.size() &&
                      header.epoch == record.source.segment->epoch &&
                      journal::check_of(payload) == header.payload_check;
    record.trouble = good ? "" : "what lies there is not what was written";
    return good;
}

void Mover::on_all_read() {
    const auto records = std::exchange(records_, {});
    const bool by_pieces = !pieces_.empty();
    for (const auto& record : records) {
        if (record->of_copy && intake_ == nullptr) {
            continue;  // the copy has ended, and the message may have
        }
        if (record->of_part) {
            take_part(*record);
            continue;
        }
        Kept& kept = *record->kept;
        if (!good(*record)) {
            report(*record);
            if (record->of_copy) {
                spool_.end_intake(*intake_);
            } else {
                pieces_.clear();
                KeptAccess::set_moving(kept, false);
                --copies_;
            }
            continue;
        }
        const journal::Content content(content_of(*record));
        const bool more = by_pieces && piece_ + 1 < pieces_.size();
        if (record->of_copy) {
            intake_->left = content;
            intake_->more = more;
        } else {
            Intake& intake = spool_.add_intake(kept, content, true, more);
            intake_ = by_pieces ? &intake : nullptr;
        }
    }
}

void Mover::report(const Record& record) {
    spool_.segments.report(
        "message " + journal::text_of(record.kept->id()) + " cannot be copied from " +
        journal::segment_file_name(record.source.segment->slot) + " at octet " +
        std::to_string(record.source.offset) + ": " + record.trouble);
    record.source.segment->unreadable = true;
}

void Mover::take_part(Record& record) {
    Intake& copy = *part_copy_;
    if (arriving_ == nullptr) {
        spool_.end_intake(copy);
    } else if (!good(record)) {
        report(record);
        spool_.end_intake(copy);
    } else {
        static_cast<base::ListLink<>&>(copy).unlink();
        copy.left = journal::Content(content_of(record));
        spool_.intakes.push_back(copy);
    }
}

/// Where it lay before nobody looks any more.
void Mover::on_part_written(Intake& copy) {
    if (arriving_ == nullptr) {
        return;
    }
    std::vector<PartPlace>& parts = arriving_->parts;
    const auto at = parts.begin() + static_cast<std::ptrdiff_t>(part_);
    at->segment->release(journal::RecordHeader::size_octets + at->size);
    parts.insert(parts.erase(at), copy.parts.begin(), copy.parts.end());
    copy.parts.clear();
}

void Mover::on_written() {
    if (intake_ == nullptr || !intake_->more || intake_->left.left() > 0 || reads_ > 0) {
        return;
    }
    used_ = 0;
    ++piece_;
    if (!add(*intake_->kept, pieces_[piece_]) || records_.empty()) {
        spool_.end_intake(*intake_);
        return;
    }
    records_[0]->of_copy = true;
    ++reads_;
    records_[0]->source.segment->hold(0);
    records_[0]->read_on();
}

void Mover::on_ended(const Intake& intake) {
    --copies_;
    if (&intake == intake_) {
        intake_ = nullptr;
        pieces_.clear();
    }
    if (&intake == part_copy_) {
        part_copy_ = arriving_ = nullptr;
    }
}

}  // namespace postern::spool

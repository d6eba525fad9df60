#include "postern/spool/spool.h"

#include <utility>

#include "postern/base/assert.h"
#include "spool_implementation.h"

namespace postern::spool {

using metrics::Metric;

Spool::Spool(
    io::Ring& ring,
    io::Mailbox& mailbox,
    World& world,
    Segments& segments,
    std::uint32_t worker,
    metrics::Meters& meters)
    : implementation_(std::make_unique<Implementation>(
          ring, world, *segments.implementation_, worker, meters)) {
    segments.implementation_->open_port(worker, mailbox, *implementation_);
}

Spool::~Spool() {
    POSTERN_ASSERT(!under_way(), "a spool was destroyed while it wrote or read");
    implementation_->abandon();
    implementation_->segments.close_port(implementation_->worker);
}

Spool::Implementation::Implementation(
    io::Ring& given_ring,
    World& given_world,
    Segments::Implementation& given_segments,
    std::uint32_t given_worker,
    metrics::Meters& given_meters)
    : ring(given_ring),
      world(given_world),
      segments(given_segments),
      worker(given_worker),
      meters(given_meters.own()),
      writing(*this),
      mover(std::make_unique<Mover>(*this)) {}

/// What is given up here was not acknowledged, or is on the disk. Nothing lets go of a segment:
/// that would say that it may be zeroed.
void Spool::Implementation::abandon() {
    for (const Written& written : std::exchange(records, {})) {
        if (written.intake == nullptr) {
            --KeptAccess::under_way(*written.kept);
        }
    }
    for (base::List<Intake>* const list : {&intakes, &pausing}) {
        while (Intake* intake = list->pop_front()) {
            --KeptAccess::under_way(*intake->kept);
            KeptAccess::set_moving(*intake->kept, false);
            if (intake->arrives) {
                Kept::destroy(intake->kept);
            }
            intake_pool.destroy(intake);
        }
    }
    while (Load* load = loading.pop_front()) {
        load->give_up();
        loads.destroy(load);
    }
    while (Kept* kept = wishes.pop_front()) {
        KeptAccess::wants(*kept) = 0;
    }
}

bool Spool::takes() const {
    const Implementation& self = *implementation_;
    if (self.segments.below_min_free || self.resting()) {
        return false;
    }
    const bool has_room =
        self.segment != nullptr && !self.segment_is_full && self.room() >= self.kept_free();
    return has_room || self.segments.has_ready(self.worker) || !self.segments.full;
}

void Spool::keep(Kept& kept, const journal::Content& content) {
    Implementation& self = *implementation_;
    POSTERN_ASSERT(
        !KeptAccess::stored(kept) && !kept.busy(), "a message is brought to the disk once");
    POSTERN_ASSERT(content.left() == kept.content_size(), "the content is as long as was said");
    static_cast<base::ListLink<Waiting>&>(kept).unlink();
    self.add(kept);
    self.add_intake(kept, content, false, false);
}

Intake& Spool::begin(const journal::Id& id, void* whose) {
    return implementation_->begin(id, whose);
}

void Spool::write(Intake& begun, const mail::Body& piece) {
    POSTERN_ASSERT(
        begun.arrives && begun.left.left() == 0 && piece.size() > 0,
        "one piece is written at a time");
    static_cast<base::ListLink<>&>(begun).unlink();
    begun.left = journal::Content(piece);
    implementation_->intakes.push_back(begun);
}

void Spool::drop(Intake& begun) {
    implementation_->drop(begun);
}

void Spool::keep(Kept& kept, Intake& begun, const journal::Content& content) {
    Implementation& self = *implementation_;
    POSTERN_ASSERT(
        begun.arrives && begun.left.left() == 0 && !KeptAccess::stored(kept) && !kept.busy(),
        "a message is brought to the disk once, its end behind its beginning");
    std::uint64_t octets = content.left();
    for (const PartPlace& part : begun.parts) {
        octets += part.size;
    }
    POSTERN_ASSERT(
        begun.kept->id() == kept.id() && octets == kept.content_size(),
        "the content is that message's, and as long as was said");
    static_cast<base::ListLink<Waiting>&>(kept).unlink();
    self.add(kept);
    self.become_whole(begun, kept, content);
}

void Spool::note(Kept& kept) {
    POSTERN_ASSERT(KeptAccess::stored(kept), "what is noted is about a message that is stored");
    POSTERN_ASSERT(!KeptAccess::over(kept), "nothing is noted of what is over");
    implementation_->want(kept, KeptAccess::progress);
}

void Spool::finish(Kept& kept) {
    POSTERN_ASSERT(
        KeptAccess::stored(kept) && !KeptAccess::loading(kept) && !KeptAccess::over(kept),
        "a message ends that is stored, once, and not while it is loaded");
    KeptAccess::set_over(kept);
    implementation_->want(kept, KeptAccess::done);
}

void Spool::load(Kept& kept, mail::Body& into, std::uint64_t octets_max) {
    POSTERN_ASSERT(
        KeptAccess::stored(kept) && !KeptAccess::loading(kept) && !KeptAccess::over(kept),
        "a message is loaded that is stored and not over, once at a time");
    implementation_->load(kept, into, octets_max);
}

SharedReply Spool::shared_reply(std::string_view text, std::string_view host) {
    return implementation_->replies.of(text, host);
}

void Spool::flush() {
    Implementation& self = *implementation_;
    self.mover->go_on();
    self.begin_write();
    self.meters.set<Metric::spool_messages>(self.count);
    self.meters.set<Metric::spool_takes>(takes() ? 1 : 0);
    if (self.worker == 0) {
        self.meters.set<Metric::spool_segments>(self.segments.segment_count);
    }
}

bool Spool::idle() const {
    Implementation& self = *implementation_;
    return self.loads.used() == 0 && !under_way() && !self.something_waits() &&
           self.refused.empty();
}

bool Spool::stuck() const {
    return implementation_->resting() && !under_way();
}

void Spool::abandon() {
    Implementation& self = *implementation_;
    POSTERN_ASSERT(!under_way(), "a spool ends when nothing is being written or read");
    self.abandon();
    Kept* next = nullptr;
    for (Kept* kept = self.all.front(); kept != nullptr; kept = next) {
        next = self.all.next(*kept);
        if (KeptAccess::over(*kept)) {
            self.forget(*kept);
            self.world.finished(*kept);
        }
    }
}

bool Spool::under_way() const {
    Implementation& self = *implementation_;
    bool reads = self.mover->under_way();
    for (Load* load = self.loading.front(); load != nullptr; load = self.loading.next(*load)) {
        reads = reads || load->under_way();
    }
    return reads || self.writing.armed();
}

std::uint64_t Spool::kept() const {
    return implementation_->count;
}

std::uint64_t Spool::held_octets() const {
    const Implementation& self = *implementation_;
    return self.buffer_size + self.mover->held_octets() + self.kept_octets;
}

std::uint64_t Spool::buffer_octets_max() {
    return write_octets_max + Mover::buffer_octets;
}

void Spool::Implementation::on_news() {
    News news = segments.news(worker);
    for (Kept* kept : news.recovered) {
        add(*kept);
    }
    if (news.clear) {
        mover->begin_round();
    }
    awaits_segment = false;  // if there is none yet, flush() asks again
    if (news.no_segment && !segments.has_ready(worker)) {
        let_go_of_what_is_over();
        give_up();
    } else if (!refused.empty()) {
        refuse(std::exchange(refused, {}));
    }
    for (Kept* kept : news.recovered) {
        world.recovered(*kept);
    }
}

void Spool::Implementation::release_places(Kept& kept) {
    Place& place = KeptAccess::place(kept);
    if (place.segment != nullptr) {
        place.segment->release(place.size);
        place = {};
    }
    for (const PartPlace& part : KeptAccess::parts(std::as_const(kept))) {
        part.segment->release(journal::RecordHeader::size_octets + part.size);
    }
    KeptAccess::parts(kept) = nullptr;
    if (Segment* segment_of_progress = std::exchange(KeptAccess::progress_segment(kept), nullptr)) {
        segment_of_progress->release(KeptAccess::progress_size(kept));
    }
    KeptAccess::progress_size(kept) = 0;
}

void Spool::Implementation::add(Kept& kept) {
    all.push_back(kept);
    ++count;
    kept_octets += kept.octets();
}

void Spool::Implementation::forget(Kept& kept) {
    mover->forget(kept);
    static_cast<base::ListLink<Waiting>&>(kept).unlink();
    --count;
    kept_octets -= kept.octets();
}

}  // namespace postern::spool

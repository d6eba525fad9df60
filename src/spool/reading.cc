#include "reading.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "postern/base/assert.h"

namespace postern::spool {
namespace {

using Verdict = journal::Segment::Verdict;

constexpr std::uint32_t revisions_skipped = 1 << 16;

}  // namespace

Reading::Reading(
    const std::string& folder,
    const journal::HostId& host,
    std::vector<Segment*> segments,
    std::vector<std::uint32_t> unused,
    std::function<void(const std::string&)> say,
    std::vector<std::string> troubles)
    : folder_(folder),
      host_(host),
      segments_(std::move(segments)),
      unused_(std::move(unused)),
      say_(std::move(say)),
      troubles_(std::move(troubles)),
      recovery_(std::make_unique<journal::Recovery>(host)),
      memory_(nullptr, std::free) {
    for (Segment* segment : segments_) {
        segment->hold(0);
    }
}

Reading::~Reading() {
    for (Kept* kept : made) {
        Kept::destroy(kept);
    }
    for (Kept* kept : kept_) {
        if (kept != nullptr) {
            Kept::destroy(kept);
        }
    }
}

bool Reading::step() {
    for (const std::string& trouble : std::exchange(troubles_, {})) {
        some_unread_ = true;
        say_(trouble);
    }
    if (scanned_ < segments_.size()) {
        scan();
        return true;
    }
    if (recovery_ != nullptr) {
        for (const std::uint32_t slot : unused_) {
            recovery_->add(slot, {});
        }
        recovered_ = recovery_->finish();
        recovery_ = nullptr;
        findings = std::move(recovered_.findings);
        for (const journal::Finding& finding : findings) {
            say_(finding.text);
            some_unread_ = some_unread_ || finding.situation == journal::Situation::unknown_type ||
                           finding.situation == journal::Situation::other_version;
        }
        plan();
        return true;
    }
    if (visited_ < visits_.size()) {
        visit(visits_[visited_++]);
        return true;
    }
    if (!settled_) {
        settle();
    }
    return false;
}

bool Reading::read_whole(const Segment& segment) {
    const std::string path = folder_ + "/" + journal::segment_file_name(segment.slot);
    const std::uint64_t size = segment.file.octets / io::file_block_size * io::file_block_size;
    if (size > memory_size_) {
        memory_.reset(static_cast<char*>(std::aligned_alloc(io::file_block_size, size)));
        POSTERN_ASSERT(memory_ != nullptr, "there is no memory to read a segment into");
        memory_size_ = size;
    }
    octets_ = {memory_.get(), size};
    base::Result<void> read = io::read_file(segment.file, path, 0, {memory_.get(), size});
    if (!read) {
        say_(read.error().text + "; what is in it waits for the next start");
        octets_ = {};
    }
    return read.ok();
}

/// A file that the disk does not give is left alone, with all in it.
void Reading::scan() {
    Segment& segment = *segments_[scanned_++];
    if (!read_whole(segment)) {
        segment.state = Segment::State::left_alone;
        some_unread_ = true;
    }
    recovery_->add(segment.slot, octets_);
}

Segment* Reading::of_epoch(std::uint64_t epoch) const {
    const auto found = std::find_if(segments_.begin(), segments_.end(), [&](const Segment* each) {
        return each->epoch == epoch;
    });
    return found == segments_.end() ? nullptr : *found;
}

/// Each record that a message's replies stand in is of a later revision than its message record, so
/// its segment does not come before that one.
void Reading::plan() {
    std::vector<std::uint32_t> place(segments_.size());  // of a segment in the order of visits
    visits_.resize(segments_.size());
    for (std::uint32_t i = 0; i < visits_.size(); ++i) {
        visits_[i].segment = i;
        const journal::SegmentHeader& header = recovered_.segments[i].header;
        segments_[i]->sequence = header.sequence;
        segments_[i]->epoch = header.epoch;
    }
    std::stable_sort(visits_.begin(), visits_.end(), [&](const Visit& a, const Visit& b) {
        return segments_[a.segment]->sequence < segments_[b.segment]->sequence;
    });
    for (std::uint32_t i = 0; i < visits_.size(); ++i) {
        place[visits_[i].segment] = i;
    }
    kept_.resize(recovered_.messages.size());
    for (std::uint32_t number = 0; number < recovered_.messages.size(); ++number) {
        const journal::Live& live = recovered_.messages[number];
        std::uint32_t last = place[live.segment];
        visits_[last].messages.push_back(number);
        for (std::uint32_t i = 0; i < live.recipient_count; ++i) {
            const journal::LiveRecipient& said = recovered_.recipients[live.first_recipient + i];
            if (said.segment != live.segment || said.offset != live.offset) {
                visits_[place[said.segment]].replies.push_back({said.offset, number, i});
                last = std::max(last, place[said.segment]);
            }
        }
        visits_[last].complete.push_back(number);
    }
}

Kept* Reading::make(std::uint32_t number, std::string_view payload) {
    const journal::Live& live = recovered_.messages[number];
    const auto view = journal::MessageView::of(payload);
    if (!view) {
        return nullptr;
    }
    std::vector<journal::Recipient> recipients;
    std::vector<std::string_view> replies;
    view->recipients([&](const journal::Recipient& each) {
        journal::Recipient recipient = each;
        if (recipients.size() < live.recipient_count) {
            const journal::LiveRecipient& said =
                recovered_.recipients[live.first_recipient + recipients.size()];
            recipient.next_try_ms = said.next_try_ms;
            recipient.attempts = said.attempts;
            recipient.state = said.state;
            recipient.delay_told = said.delay_told;
            if (said.segment == live.segment && said.offset == live.offset) {
                replies.push_back(recipient.reply);
            } else {
                replies.emplace_back();
            }
            recipient.reply = {};
        }
        recipients.push_back(recipient);
    });
    auto parts = std::make_unique<KeptAccess::Parts>();
    for (std::uint32_t i = 0; i < view->part_count(); ++i) {
        const journal::Part part = view->part(i);
        Segment* segment = of_epoch(part.epoch);
        if (segment == nullptr) {
            return nullptr;
        }
        parts->push_back({segment, part.offset, part.size});
    }
    journal::Message message = view->message();
    message.held = live.held;
    Kept* kept = Kept::make(live.id, message, view->content_size(), recipients);
    for (std::size_t i = 0; i < replies.size(); ++i) {
        if (!replies[i].empty()) {
            kept->recipients()[i].reply = replies_.of(replies[i]);
        }
    }
    for (const PartPlace& part : *parts) {
        part.segment->hold(journal::RecordHeader::size_octets + part.size);
    }
    if (!parts->empty()) {
        KeptAccess::parts(*kept) = std::move(parts);
    }
    Segment* segment = segments_[live.segment];
    KeptAccess::place(*kept) = {segment, live.offset, live.size};
    segment->hold(live.size);
    // What was not read may say something of it, too, and is older.
    KeptAccess::revision(*kept) = live.revision + (some_unread_ ? revisions_skipped : 0);
    KeptAccess::oldest(*kept) = static_cast<std::uint32_t>(segments_[live.oldest]->sequence);
    return kept;
}

void Reading::visit(Visit& visit) {
    if (!visit.messages.empty() || !visit.replies.empty()) {
        Segment& segment = *segments_[visit.segment];
        const bool read = read_whole(segment);
        const auto payload_at = [&](std::uint32_t offset) -> std::string_view {
            journal::RecordHeader header;
            if (!read || !journal::read_record_header(octets_, offset, host_, header)) {
                return {};
            }
            return {octets_.data() + offset + journal::RecordHeader::size_octets, header.size};
        };
        for (const std::uint32_t number : visit.messages) {
            kept_[number] = make(number, payload_at(recovered_.messages[number].offset));
        }
        const auto before = [](const Reply& one, const Reply& other) {
            return one.offset != other.offset ? one.offset < other.offset
                                              : one.recipient < other.recipient;
        };
        std::sort(visit.replies.begin(), visit.replies.end(), before);
        for (auto from = visit.replies.begin(); from != visit.replies.end();) {
            const auto to = std::find_if(from, visit.replies.end(), [&](const Reply& reply) {
                return reply.offset != from->offset;
            });
            take_replies({from, to}, payload_at(from->offset), segment);
            from = to;
        }
    }
    for (const std::uint32_t number : visit.complete) {
        if (Kept* kept = std::exchange(kept_[number], nullptr)) {
            made.push_back(kept);
        } else {
            some_unread_ = true;
            say_(
                "message " + journal::text_of(recovered_.messages[number].id) +
                " can not be read again now; it waits for the next start");
        }
    }
    visit = {};
}

/// What one record says of one message's recipients.
void Reading::take_replies(
    std::span<const Reply> replies, std::string_view payload, Segment& segment) {
    Kept* kept = kept_[replies[0].message];
    if (kept == nullptr) {
        return;
    }
    if (KeptAccess::progress_segment(*kept) == nullptr) {
        KeptAccess::progress_segment(*kept) = &segment;
        KeptAccess::progress_size(*kept) =
            static_cast<std::uint32_t>(journal::RecordHeader::size_octets + payload.size());
        segment.hold(KeptAccess::progress_size(*kept));
    }
    const auto view = journal::ProgressView::of(payload);
    if (!view) {
        return;
    }
    view->steps([&](const journal::Step& step) {
        const bool counts = std::binary_search(
            replies.begin(),
            replies.end(),
            Reply{0, 0, step.recipient},
            [](const Reply& one, const Reply& other) { return one.recipient < other.recipient; });
        if (counts && !step.reply.empty() && step.recipient < kept->recipients().size()) {
            kept->recipients()[step.recipient].reply = replies_.of(step.reply);
        }
    });
}

void Reading::settle() {
    settled_ = true;
    for (std::size_t i = 0; i < segments_.size(); ++i) {
        Segment& segment = *segments_[i];
        const journal::Segment& read = recovered_.segments[i];
        if (segment.state == Segment::State::left_alone) {
            continue;
        }
        switch (read.verdict) {
            case Verdict::unused:
                // Its first block may hold half a header: that is zeroed like a life that is over.
            case Verdict::dead:
            case Verdict::in_use:
            case Verdict::set_aside:
                segment.state = Segment::State::in_use;
                segment.about_oldest = read.about_oldest;
                segment.sealed = true;
                segment.aside = read.verdict == Verdict::set_aside;
                segment.clearing = segment.aside;
                break;
            case Verdict::left_alone:
                segment.state = Segment::State::left_alone;
                break;
        }
    }
    for (Segment* segment : segments_) {
        // What was not read may hold messages that these say are over.
        if (!some_unread_) {
            segment->release(0);
        }
    }
    memory_.reset();
    octets_ = {};
}

}  // namespace postern::spool

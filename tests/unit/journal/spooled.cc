#include "tests/unit/journal/spooled.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "postern/base/assert.h"

namespace postern::journal::test {

Id id_of(std::uint32_t number) {
    return *id_from_text("1HXYZ00" + std::to_string(10000000 + number));
}

Letter letter(std::uint32_t number, std::size_t content_size, std::uint32_t recipients) {
    Letter made{id_of(number), "sender" + std::to_string(number) + "@example.com", {}, {}};
    for (std::uint32_t i = 0; i < recipients; ++i) {
        made.recipients.push_back("r" + std::to_string(i) + "@example.net");
    }
    for (std::size_t i = 0; made.content.size() < content_size; ++i) {
        made.content += std::to_string(number) + " line " + std::to_string(i) + "\r\n";
    }
    made.content.resize(content_size);
    return made;
}

SegmentFile::SegmentFile(
    std::uint32_t slot, std::uint32_t slots, std::uint32_t blocks, HostId whose)
    : octets(std::size_t{blocks} * block_size, '\0'), buffer_(octets.size(), 'x') {
    header.host = whose;
    header.epoch = 0xe0e0e0e0e0e0e0e0 + slot;
    header.sequence = slot + 1;
    header.slot = slot;
    header.slots = slots;
    header.size = octets.size();
    header.begun_ms = 1700000000000;
    write_header(header, std::span<char, block_size>(octets.data(), block_size));
    begin();
}

void SegmentFile::begin() {
    batch.begin(
        {buffer_.data(), std::min<std::size_t>(4 * block_size, octets.size() - offset)},
        {header.host, header.epoch, offset, write});
}

void SegmentFile::flush() {
    if (batch.empty()) {
        return;
    }
    const std::span<const char> sealed = batch.seal();
    std::copy(sealed.begin(), sealed.end(), octets.begin() + offset);
    last_from = offset;
    offset += static_cast<std::uint32_t>(sealed.size());
    last_to = offset;
    ++write;
    begin();
}

bool SegmentFile::put(
    const Letter& letter,
    std::uint32_t revision,
    const std::vector<Told>& told,
    const std::vector<Part>& parts,
    std::size_t in_parts) {
    Message message;
    message.arrival_ms = 1700000000123;
    message.reverse_path = letter.reverse_path;
    std::vector<Recipient> recipients;
    for (std::size_t i = 0; i < letter.recipients.size(); ++i) {
        Recipient& recipient = recipients.emplace_back();
        recipient.address = letter.recipients[i];
        if (i < told.size()) {
            recipient.state = told[i].state;
            recipient.attempts = told[i].attempts;
            recipient.next_try_ms = told[i].next_try_ms;
        }
    }
    Content content(std::string_view(letter.content).substr(in_parts));
    return batch.message(letter.id, revision, message, recipients, parts, content).has_value();
}

bool SegmentFile::put_step(
    const Id& id, std::uint32_t revision, std::uint32_t recipient, const Told& told) {
    Step step;
    step.recipient = recipient;
    step.attempts = told.attempts;
    step.next_try_ms = told.next_try_ms;
    step.state = told.state;
    step.reply = "450 4.2.1 later";
    return batch.progress(id, revision, false, {&step, 1}).has_value();
}

Recovered recover(const std::vector<std::string>& files) {
    Recovery recovery(host);
    for (std::uint32_t slot = 0; slot < files.size(); ++slot) {
        // In memory of its own, so that reading past it is seen.
        const std::vector<char> octets(files[slot].begin(), files[slot].end());
        recovery.add(slot, octets);
    }
    return recovery.finish();
}

namespace {

MessageView view_of(const Live& live, const std::vector<std::string>& files) {
    const auto view = MessageView::of(
        std::string_view(files[live.segment])
            .substr(
                live.offset + RecordHeader::size_octets, live.size - RecordHeader::size_octets));
    POSTERN_ASSERT(view.has_value(), "a live message is a message");
    return *view;
}

}  // namespace

std::string content_of(
    const Live& live, const Recovered& recovered, const std::vector<std::string>& files) {
    const MessageView view = view_of(live, files);
    std::string content;
    for (std::uint32_t i = 0; i < view.part_count(); ++i) {
        const Part part = view.part(i);
        for (std::size_t s = 0; s < files.size(); ++s) {
            RecordHeader header;
            // By the record's own epoch: the segment's header may be damaged.
            if (read_record_header(files[s], part.offset, host, header) &&
                header.epoch == part.epoch &&
                recovered.segments[s].verdict != Segment::Verdict::left_alone) {
                content += files[s].substr(part.offset + RecordHeader::size_octets, part.size);
                break;
            }
        }
    }
    return content.append(view.tail());
}

Spooled::Spooled(std::function<std::uint32_t(std::uint32_t)> choose) : choose_(std::move(choose)) {
    segments_.push_back(std::make_unique<SegmentFile>(0));
}

SegmentFile& Spooled::open() {
    return *segments_.back();
}

void Spooled::until_it_fits(const std::function<bool(SegmentFile&)>& put) {
    while (!put(open())) {
        acknowledge();
        if (open().octets.size() - open().offset < 4 * block_size) {
            const auto slot = static_cast<std::uint32_t>(segments_.size());
            segments_.push_back(std::make_unique<SegmentFile>(slot, slot + 1));
        }
    }
}

void Spooled::step() {
    const std::uint32_t kind = choose_(8);
    std::vector<Tracked*> present;
    for (auto& [id, tracked] : tracked_) {
        if (tracked.over == Known::no) {
            present.push_back(&tracked);
        }
    }
    if (kind < 3 || present.empty()) {
        append();
        return;
    }
    Tracked& tracked = *present[choose_(static_cast<std::uint32_t>(present.size()))];
    if (kind < 5) {
        news(tracked);
    } else if (kind < 7) {
        end(tracked);
    } else {
        copy(tracked);
    }
}

void Spooled::append() {
    Tracked tracked;
    const std::uint32_t content_size = choose_(4) == 0 ? choose_(9000) : choose_(300);
    tracked.letter = letter(count_++, content_size, 1 + choose_(3));
    tracked.told.resize(tracked.letter.recipients.size(), {Told{}});
    tracked.ever = tracked.told;
    std::vector<Part> parts;
    std::size_t in_parts = 0;
    if (choose_(3) == 0) {
        Content content(std::string_view(tracked.letter.content).substr(0, choose_(9000)));
        while (content.left() > 0) {
            Extent at;
            until_it_fits([&](SegmentFile& segment) {
                const std::uint32_t size = segment.batch.part(tracked.letter.id, content, at);
                if (size > 0) {
                    parts.push_back({segment.header.epoch, at.offset, size});
                    in_parts += size;
                }
                return size > 0;
            });
        }
    }
    until_it_fits(
        [&](SegmentFile& segment) { return segment.put(tracked.letter, 0, {}, parts, in_parts); });
    tracked_.emplace(tracked.letter.id, std::move(tracked));
}

void Spooled::copy(Tracked& tracked) {
    std::vector<Told> told;
    for (const auto& of_one : tracked.told) {
        told.push_back(of_one.back());
    }
    until_it_fits([&](SegmentFile& segment) {
        return segment.put(tracked.letter, tracked.revision + 1, told);
    });
    ++tracked.revision;
}

void Spooled::news(Tracked& tracked) {
    const std::uint32_t recipient =
        choose_(static_cast<std::uint32_t>(tracked.letter.recipients.size()));
    const Told told{
        static_cast<State>(choose_(5)), tracked.revision + 1, 1700000000000 + choose_(1000)};
    until_it_fits([&](SegmentFile& segment) {
        return segment.put_step(tracked.letter.id, tracked.revision + 1, recipient, told);
    });
    ++tracked.revision;
    tracked.told[recipient].push_back(told);
    tracked.ever[recipient].push_back(told);
}

void Spooled::end(Tracked& tracked) {
    until_it_fits([&](SegmentFile& segment) {
        return segment.batch.done(tracked.letter.id, tracked.revision + 1).has_value();
    });
    ++tracked.revision;
    tracked.over = Known::maybe;
}

void Spooled::acknowledge() {
    write_only();
    for (auto& [id, tracked] : tracked_) {
        for (auto& of_one : tracked.told) {
            of_one.erase(of_one.begin(), of_one.end() - 1);
        }
        tracked.stored = Known::yes;
        tracked.over = tracked.over == Known::maybe ? Known::yes : tracked.over;
    }
}

void Spooled::write_only() {
    open().flush();
}

std::vector<std::string> Spooled::files() const {
    std::vector<std::string> files;
    for (const auto& segment : segments_) {
        files.push_back(segment->octets);
    }
    return files;
}

std::string Spooled::check(
    const Recovered& recovered, const std::vector<std::string>& files, bool damaged) const {
    std::map<Id, const Live*> found;
    for (const Live& live : recovered.messages) {
        if (!found.emplace(live.id, &live).second) {
            return text_of(live.id) + " is there twice";
        }
        if (!tracked_.contains(live.id)) {
            return text_of(live.id) + " was never written";
        }
    }
    for (const auto& [id, tracked] : tracked_) {
        const auto at = found.find(id);
        const bool is_there = at != found.end();
        if (!damaged && is_there && tracked.over == Known::yes) {
            return text_of(id) + " is over and came back";
        }
        if (!damaged && !is_there && tracked.stored == Known::yes && tracked.over == Known::no) {
            return text_of(id) + " is lost";
        }
        if (is_there) {
            const std::string wrong = check_one(tracked, *at->second, recovered, files, damaged);
            if (!wrong.empty()) {
                return text_of(id) + wrong;
            }
        }
    }
    for (const Finding& finding : recovered.findings) {
        if (!damaged && finding.gravity != Gravity::note) {
            return finding.text;
        }
    }
    return {};
}

std::string Spooled::check_one(
    const Tracked& tracked,
    const Live& live,
    const Recovered& recovered,
    const std::vector<std::string>& files,
    bool damaged) const {
    const MessageView view = view_of(live, files);
    if (content_of(live, recovered, files) != tracked.letter.content ||
        view.content_size() != tracked.letter.content.size() ||
        view.message().reverse_path != tracked.letter.reverse_path ||
        view.recipient_count() != tracked.letter.recipients.size() ||
        live.recipient_count != view.recipient_count()) {
        return " is not what it was";
    }
    if (live.revision > tracked.revision) {
        return " is of a later revision than was written";
    }
    std::string wrong;
    std::uint32_t number = 0;
    view.recipients([&](const Recipient& recipient) {
        const LiveRecipient& now = recovered.recipients[live.first_recipient + number];
        const auto& allowed = damaged ? tracked.ever[number] : tracked.told[number];
        const Told told{now.state, now.attempts, now.next_try_ms};
        if (recipient.address != tracked.letter.recipients[number] ||
            std::find(allowed.begin(), allowed.end(), told) == allowed.end()) {
            wrong = " has another recipient or state";
        }
        ++number;
    });
    return wrong;
}

}  // namespace postern::journal::test

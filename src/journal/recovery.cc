#include "postern/journal/recovery.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "findings.h"
#include "postern/base/assert.h"
#include "postern/journal/walk.h"

namespace postern::journal {
namespace {

using Verdict = Segment::Verdict;

constexpr std::size_t segment_size_max = 0xfffff000;  // whole blocks; places have 32 bits

bool known(std::uint8_t type) {
    return type >= static_cast<std::uint8_t>(Type::message) &&
           type <= static_cast<std::uint8_t>(Type::done);
}

/// Where the first record header of ours lies, of whatever epoch; 0: nowhere from `from` on.
std::uint32_t find_record(
    std::span<const char> octets, const HostId& host, std::uint32_t from, RecordHeader& into) {
    for (std::uint64_t at = from; at + RecordHeader::size_octets <= octets.size(); at += 8) {
        if (read_record_header(octets, static_cast<std::uint32_t>(at), host, into)) {
            return static_cast<std::uint32_t>(at);
        }
    }
    return 0;
}

}  // namespace

struct Recovery::Work {
    /// A record that counts, but for parts.
    struct Entry {
        Id id;
        std::uint32_t revision;
        std::uint32_t segment;
        std::uint32_t offset;
        std::uint32_t size;
        std::uint32_t first_item;
        std::uint32_t item_count;
        std::uint32_t first_part;
        std::uint32_t part_count;
        std::int64_t arrival_ms;
        Type type;
        bool held;
        bool last_write;  // of its segment: it may not have been acknowledged
    };

    /// What a record says of one recipient.
    struct Item {
        std::int64_t next_try_ms;
        std::uint32_t recipient;
        std::uint32_t attempts;
        State state;
        bool delay_told;
    };

    struct SeenPart {
        Part part;
        Id id;
        std::uint32_t segment;

        auto place() const { return std::tie(part.epoch, part.offset); }
    };

    HostId host;
    std::vector<Entry> entries;
    std::vector<Item> items;
    std::vector<Part> parts_named;
    std::vector<SeenPart> parts_seen;
    Recovered result;

    void report(
        Situation situation,
        std::uint32_t offset = 0,
        std::uint32_t size = 0,
        const Id& id = {},
        const std::string& detail = {});
    void read(std::span<const char> octets, std::uint64_t epoch);
    void read_rest(
        std::span<const char> octets, std::uint32_t from, bool write_ended, std::uint64_t epoch);
    bool take(
        const Walk::Piece& piece, std::string_view payload, std::uint64_t epoch, bool last_write);
    void note_what_it_is_about(std::span<const Entry> group);
    void settle(std::span<const Entry> group);
    const SeenPart* seen(const Part& part, const Id& id) const;
    void give(const Entry& message, std::span<const Entry> group);
    void find_missing_segments();
    void decide_verdicts();
};

Recovery::Recovery(const HostId& host) : work_(std::make_unique<Work>()) {
    work_->host = host;
}

Recovery::~Recovery() = default;

/// In the segment that was added last.
void Recovery::Work::report(
    Situation situation,
    std::uint32_t offset,
    std::uint32_t size,
    const Id& id,
    const std::string& detail) {
    Segment& segment = result.segments.back();
    result.findings.push_back(finding_of(situation, segment.slot, offset, size, id, detail));
    if (verdict_of(situation) != Verdict::in_use) {
        segment.verdict = verdict_of(situation);
    }
}

void Recovery::add(std::uint32_t slot, std::span<const char> octets) {
    Work& work = *work_;
    Segment& segment = work.result.segments.emplace_back();
    segment.slot = slot;
    octets = octets.first(std::min<std::size_t>(octets.size(), segment_size_max));
    RecordHeader record;
    const HeaderLook look = read_header(octets, segment.header);
    switch (look) {
        case HeaderLook::unused:
            return;
        case HeaderLook::other_version:
            work.report(Situation::other_version);
            return;
        case HeaderLook::damaged:
        case HeaderLook::foreign:
            // The records know their epoch, and no other host's are good here.
            if (find_record(octets, work.host, block_size, record) != 0) {
                work.report(Situation::damaged_header);
                segment.header = {};
                segment.header.host = work.host;
                segment.header.epoch = record.epoch;
                work.read(octets, record.epoch);
            } else {
                work.report(
                    look == HeaderLook::damaged ? Situation::torn_header : Situation::foreign_file);
            }
            return;
        case HeaderLook::good:
            break;
    }
    if (segment.header.host != work.host) {
        work.report(Situation::other_host);
        segment.header = {};  // its numbers are another spool's
        return;
    }
    segment.verdict = Verdict::in_use;
    if (segment.header.slot != slot) {
        work.report(
            Situation::misplaced,
            0,
            0,
            {},
            "it calls itself " + segment_file_name(segment.header.slot));
    }
    if (octets.size() < segment.header.size) {
        work.report(Situation::shortened);
    }
    octets = octets.first(std::min<std::size_t>(octets.size(), segment.header.size));
    work.read(octets, segment.header.epoch);
}

/// A write begins when the one before it has been acknowledged, and none follows one that failed.
/// So whatever is wrong before the last write was acknowledged once, and whatever is wrong in it
/// may not have been.
void Recovery::Work::read(std::span<const char> octets, std::uint64_t epoch) {
    std::uint32_t last_write = 0;
    bool skipped = false;
    Walk first_walk(octets, host, epoch);
    for (auto piece = first_walk.next(); piece.kind != Walk::Piece::Kind::end;
         piece = first_walk.next()) {
        if (piece.kind == Walk::Piece::Kind::hole) {
            continue;
        }
        const RecordHeader& header = piece.header;
        last_write = std::max(last_write, header.write);
        if (!known(header.type)) {
            const std::string type = "type " + std::to_string(header.type);
            if (!header.skippable) {
                report(Situation::unknown_type, piece.offset, 0, {}, type);
                return;
            }
            if (!skipped) {
                report(Situation::skipped_type, piece.offset, 0, {}, type);
            }
            skipped = true;
        }
    }

    Walk walk(octets, host, epoch);
    Walk::Piece torn;  // what is wrong in the last write, until it is known what follows
    std::uint32_t write = 0;
    bool write_ended = true;
    Walk::Piece piece = walk.next();
    for (; piece.kind != Walk::Piece::Kind::end; piece = walk.next()) {
        const bool is_record = piece.kind == Walk::Piece::Kind::record;
        const bool in_last = is_record
                                 ? piece.header.write == last_write
                                 : write == last_write || (write + 1 == last_write && write_ended);
        if (is_record) {
            write = piece.header.write;
            write_ended = piece.header.ends_write;
            const std::string_view payload = piece.payload(octets);
            if (check_of(payload) == piece.header.payload_check &&
                (!known(piece.header.type) || take(piece, payload, epoch, in_last))) {
                if (torn.size != 0) {
                    report(Situation::torn_middle, torn.offset, torn.size, torn.header.id);
                    torn = {};
                }
                continue;
            }
        }
        if (!in_last) {
            report(Situation::damaged_record, piece.offset, piece.size, piece.header.id);
        } else if (torn.size == 0) {
            torn = piece;
        } else {
            torn.size = piece.offset + piece.size - torn.offset;
        }
    }
    if (torn.size != 0) {
        report(Situation::torn_tail, torn.offset, torn.size, torn.header.id);
    } else {
        read_rest(octets, piece.offset, write_ended, epoch);
    }
}

/// Behind the last record all should be zero, as it was when the life began.
void Recovery::Work::read_rest(
    std::span<const char> octets, std::uint32_t from, bool write_ended, std::uint64_t epoch) {
    const auto rest = octets.subspan(std::min<std::size_t>(from, octets.size()));
    const auto is_zero = [](char c) { return c == 0; };
    const auto last = std::find_if_not(rest.rbegin(), rest.rend(), is_zero);
    const auto size = static_cast<std::uint32_t>(rest.rend() - last);
    if (size == 0 && write_ended) {
        return;
    }
    RecordHeader older;
    const bool has_older = size != 0 && find_record(octets, host, from, older) != 0;
    POSTERN_ASSERT(!has_older || older.epoch != epoch, "the walk finds all records of the epoch");
    if (!write_ended || !has_older) {
        report(Situation::torn_tail, from, size);
    } else {
        report(Situation::older_life, from, size);
    }
}

/// False: the payload makes no sense, whatever its sum.
bool Recovery::Work::take(
    const Walk::Piece& piece, std::string_view payload, std::uint64_t epoch, bool last_write) {
    const auto segment = static_cast<std::uint32_t>(result.segments.size() - 1);
    const auto type = static_cast<Type>(piece.header.type);
    if (type == Type::part) {
        parts_seen.push_back({{epoch, piece.offset, piece.header.size}, piece.header.id, segment});
        return true;
    }
    Entry entry{};
    entry.id = piece.header.id;
    entry.revision = piece.header.revision;
    entry.segment = segment;
    entry.offset = piece.offset;
    entry.size = piece.size;
    entry.first_item = static_cast<std::uint32_t>(items.size());
    entry.type = type;
    entry.last_write = last_write;
    if (type == Type::message) {
        const auto view = MessageView::of(payload);
        if (!view) {
            return false;
        }
        entry.held = view->message().held;
        entry.arrival_ms = view->message().arrival_ms;
        entry.item_count = view->recipient_count();
        entry.first_part = static_cast<std::uint32_t>(parts_named.size());
        entry.part_count = view->part_count();
        for (std::uint32_t i = 0; i < view->part_count(); ++i) {
            parts_named.push_back(view->part(i));
        }
        std::uint32_t number = 0;
        view->recipients([&](const Recipient& recipient) {
            items.push_back(
                {recipient.next_try_ms,
                 number++,
                 recipient.attempts,
                 recipient.state,
                 recipient.delay_told});
        });
    } else if (type == Type::progress) {
        const auto view = ProgressView::of(payload);
        if (!view) {
            return false;
        }
        entry.held = view->held();
        entry.item_count = view->step_count();
        view->steps([&](const Step& step) {
            items.push_back(
                {step.next_try_ms, step.recipient, step.attempts, step.state, step.delay_told});
        });
    }
    entries.push_back(entry);
    return true;
}

const Recovery::Work::SeenPart* Recovery::Work::seen(const Part& part, const Id& id) const {
    const SeenPart wanted{part, id, 0};
    const auto found = std::lower_bound(
        parts_seen.begin(), parts_seen.end(), wanted, [](const SeenPart& a, const SeenPart& b) {
            return a.place() < b.place();
        });
    const bool is_it = found != parts_seen.end() && found->part == part && found->id == id;
    return is_it ? &*found : nullptr;
}

/// A segment may not end before those whose messages its records end or go on with.
void Recovery::Work::note_what_it_is_about(std::span<const Entry> group) {
    std::uint64_t oldest = Segment::about_none;
    for (const Entry& entry : group) {
        if (entry.type == Type::message) {
            oldest = std::min(oldest, result.segments[entry.segment].header.sequence);
        }
    }
    for (const Entry& entry : group) {
        std::uint64_t& about = result.segments[entry.segment].about_oldest;
        about = std::min(about, oldest);
    }
}

/// The records of one message. It is over when one says so; else its copy of the highest revision
/// that is whole counts, and what later records say of its recipients. Nothing depends on the order
/// in which segments are read.
void Recovery::Work::settle(std::span<const Entry> group) {
    const Entry* message = nullptr;
    const Entry* broken = nullptr;
    for (const Entry& entry : group) {
        if (entry.type == Type::done) {
            return;
        }
        if (entry.type != Type::message) {
            continue;
        }
        const std::span<const Part> parts =
            std::span(parts_named).subspan(entry.first_part, entry.part_count);
        const bool whole = std::all_of(parts.begin(), parts.end(), [&](const Part& part) {
            return seen(part, entry.id) != nullptr;
        });
        (whole ? message : broken) = &entry;
    }
    if (message != nullptr) {
        give(*message, group);
    } else if (broken != nullptr) {
        Segment& segment = result.segments[broken->segment];
        // Where the last write of a segment brings a part and the message that names it, one may
        // have come without the other.
        const std::span<const Part> parts =
            std::span(parts_named).subspan(broken->first_part, broken->part_count);
        const bool torn =
            broken->last_write && std::all_of(parts.begin(), parts.end(), [&](const Part& part) {
                return part.epoch == segment.header.epoch || seen(part, broken->id) != nullptr;
            });
        const Situation situation = torn ? Situation::torn_tail : Situation::missing_part;
        result.findings.push_back(
            finding_of(situation, segment.slot, broken->offset, broken->size, broken->id, ""));
        if (!torn) {
            segment.verdict = verdict_of(situation);
        }
    }
}

void Recovery::Work::give(const Entry& message, std::span<const Entry> group) {
    Live live;
    live.id = message.id;
    live.segment = message.segment;
    live.offset = message.offset;
    live.size = message.size;
    live.revision = message.revision;
    live.oldest = message.segment;
    const auto sequence_of = [this](std::uint32_t segment) {
        return result.segments[segment].header.sequence;
    };
    for (const Entry& entry : group) {
        if (entry.type == Type::message && sequence_of(entry.segment) < sequence_of(live.oldest)) {
            live.oldest = entry.segment;
        }
    }
    live.arrival_ms = message.arrival_ms;
    live.held = message.held;
    live.first_recipient = static_cast<std::uint32_t>(result.recipients.size());
    live.recipient_count = message.item_count;
    result.recipients.resize(result.recipients.size() + message.item_count);
    const auto recipients = std::span(result.recipients).subspan(live.first_recipient);
    for (const Entry& entry : group) {  // by revision
        if (&entry != &message &&
            (entry.type != Type::progress || entry.revision <= message.revision)) {
            continue;
        }
        live.revision = entry.revision;
        live.held = entry.held;
        for (const Item& item : std::span(items).subspan(entry.first_item, entry.item_count)) {
            if (item.recipient < recipients.size()) {
                recipients[item.recipient] = {
                    item.next_try_ms,
                    item.attempts,
                    entry.segment,
                    entry.offset,
                    item.state,
                    item.delay_told};
            }
        }
    }
    const auto count = [this](std::uint32_t segment, std::uint32_t octets) {
        ++result.segments[segment].live;
        result.segments[segment].live_octets += octets;
    };
    count(message.segment, message.size);
    for (const Part& part :
         std::span(parts_named).subspan(message.first_part, message.part_count)) {
        count(seen(part, message.id)->segment, RecordHeader::size_octets + part.size);
    }
    result.messages.push_back(live);
}

/// The life that began last knew how many files there were.
void Recovery::Work::find_missing_segments() {
    std::uint32_t slots = 0;
    std::vector<std::uint32_t> given;
    for (const Segment& segment : result.segments) {
        given.push_back(segment.slot);
        if (segment.header.sequence > result.sequence_max) {
            result.sequence_max = segment.header.sequence;
            slots = segment.header.slots;
        }
    }
    std::sort(given.begin(), given.end());
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
        if (!std::binary_search(given.begin(), given.end(), slot)) {
            result.findings.push_back(finding_of(Situation::missing_segment, slot, 0, 0, {}, ""));
        }
    }
}

/// What has no live message still counts while one of the segments stays that its records are
/// about, lest what they say is over comes back.
void Recovery::Work::decide_verdicts() {
    std::vector<Segment*> by_age;
    bool any_unread = false;
    for (Segment& segment : result.segments) {
        by_age.push_back(&segment);
    }
    for (const Finding& finding : result.findings) {
        any_unread = any_unread || finding.situation == Situation::unknown_type ||
                     finding.situation == Situation::other_version;
    }
    std::stable_sort(by_age.begin(), by_age.end(), [](const Segment* a, const Segment* b) {
        return a->header.sequence < b->header.sequence;
    });
    std::optional<std::uint64_t> newest_that_stays;
    for (Segment* segment : by_age) {
        const bool needed = newest_that_stays && *newest_that_stays >= segment->about_oldest;
        if (segment->verdict == Verdict::in_use && segment->live == 0 && !needed && !any_unread) {
            segment->verdict = Verdict::dead;
        }
        if (segment->verdict == Verdict::in_use || segment->verdict == Verdict::set_aside) {
            newest_that_stays = segment->header.sequence;
        }
    }
}

Recovered Recovery::finish() {
    Work& work = *work_;
    std::sort(
        work.parts_seen.begin(),
        work.parts_seen.end(),
        [](const Work::SeenPart& a, const Work::SeenPart& b) { return a.place() < b.place(); });
    const auto& segments = work.result.segments;
    std::sort(
        work.entries.begin(),
        work.entries.end(),
        [&segments](const Work::Entry& a, const Work::Entry& b) {
            const auto key = [&segments](const Work::Entry& entry) {
                const std::uint64_t sequence = segments[entry.segment].header.sequence;
                return std::tuple(entry.id, entry.revision, sequence, entry.segment, entry.offset);
            };
            return key(a) < key(b);
        });
    const std::span<const Work::Entry> entries(work.entries);
    for (std::size_t from = 0, to = 0; from < entries.size(); from = to) {
        while (to < entries.size() && entries[to].id == entries[from].id) {
            ++to;
        }
        const auto group = entries.subspan(from, to - from);
        work.note_what_it_is_about(group);
        work.settle(group);
    }
    work.find_missing_segments();
    work.decide_verdicts();
    return std::move(work.result);
}

}  // namespace postern::journal

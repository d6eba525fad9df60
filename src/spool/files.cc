#include "files.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "postern/base/assert.h"
#include "postern/io/clock.h"
#include "postern/io/entropy.h"

namespace postern::spool {
namespace {

constexpr std::string_view segment_prefix = "segment-";
constexpr std::string_view draft_suffix = ".new";
constexpr std::string_view host_name = "host";
constexpr std::uint64_t sequences_skipped = 1 << 16;
constexpr std::string_view host_prefix = "postern spool 1\n";

/// The number in a segment's name; -1: it is no segment's.
std::int64_t slot_of(std::string_view name) {
    if (!name.starts_with(segment_prefix)) {
        return -1;
    }
    std::uint32_t slot = 0;
    name.remove_prefix(segment_prefix.size());
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), slot);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == name.data() + name.size();
    return whole && journal::segment_file_name(slot) == std::string(segment_prefix).append(name)
               ? std::int64_t{slot}
               : -1;
}

bool is_unused(const Segment& segment) {
    return segment.state == Segment::State::clean || segment.state == Segment::State::dirty;
}

template <class T>
T drawn() {
    T value{};
    io::fill_with_entropy(std::as_writable_bytes(std::span(&value, 1)));
    return value;
}

}  // namespace

Files::Files(const SegmentsSettings& settings, Unheld& unheld)
    : folder_(settings.folder),
      segment_octets_(settings.segment_octets),
      first_octets_(settings.first_octets),
      workers_(settings.workers),
      unheld_(unheld),
      block_(
          static_cast<char*>(std::aligned_alloc(io::file_block_size, io::file_block_size)),
          std::free) {
    POSTERN_ASSERT(block_ != nullptr, "there is no memory for a block");
    POSTERN_ASSERT(
        first_octets_ % io::file_block_size == 0 && first_octets_ >= 4 * io::file_block_size &&
            segment_octets_ % first_octets_ == 0 && segment_octets_ >> 32 == 0 &&
            std::has_single_bit(segment_octets_ / first_octets_),
        "segments are some blocks long, under 4 GiB, and the first doubled some times");
}

Files::~Files() {
    for (Segment& segment : segments_) {
        if (segment.file.descriptor >= 0) {
            io::close_file(segment.file);
        }
    }
    if (lock_ >= 0) {
        io::BlockFile lock{lock_, 0, false};
        io::close_file(lock);
    }
}

std::string Files::path_of(const Segment& segment) const {
    return folder_ + "/" + journal::segment_file_name(segment.slot);
}

std::uint64_t Files::octets() const {
    std::uint64_t octets = 0;
    for (const Segment& segment : segments_) {
        octets += segment.file.octets;
    }
    return octets;
}

std::uint64_t Files::unused_octets() const {
    std::uint64_t octets = 0;
    for (const Segment& segment : segments_) {
        octets += is_unused(segment) ? segment.file.octets : 0;
    }
    return octets;
}

base::Result<void> Files::open(Purpose purpose) {
    if (purpose == Purpose::write) {
        if (base::Result<void> made = io::make_folder(folder_); !made) {
            return made;
        }
    }
    base::Result<int> locked = io::lock_folder(folder_);
    if (!locked) {
        return locked.error();
    }
    lock_ = *locked;
    base::Result<std::vector<std::string>> names = io::list_folder(folder_);
    if (!names) {
        return names.error();
    }
    std::int64_t slot_max = -1;
    bool has_host = false;
    for (const std::string& name : *names) {
        slot_max = std::max(slot_max, slot_of(name));
        has_host = has_host || name == host_name;
        if (purpose == Purpose::write && name.ends_with(draft_suffix)) {
            if (base::Result<void> removed = io::remove_file(folder_ + "/" + name); !removed) {
                return removed;
            }
        }
    }
    if (!has_host && purpose == Purpose::read) {
        return base::Error{"there is no spool in the folder " + folder_};
    }
    if (!has_host && slot_max >= 0) {
        return base::Error{
            "the file " + folder_ + "/" + std::string(host_name) +
            " is missing, without which no segment beside it can be read: put it back, or move the "
            "segments elsewhere to begin a new spool"};
    }
    if (base::Result<void> opened = open_host(has_host); !opened) {
        return opened;
    }
    for (const std::string& name : *names) {
        const std::int64_t slot = slot_of(name);
        if (slot < 0) {
            continue;
        }
        // Names are sorted, but for those of more than six digits.
        while (segments_.size() <= static_cast<std::size_t>(slot)) {
            Segment& segment = segments_.emplace_back(unheld_);
            segment.slot = static_cast<std::uint32_t>(segments_.size() - 1);
            segment.state = Segment::State::left_alone;  // where no file is
        }
        Segment& segment = segments_[static_cast<std::size_t>(slot)];
        const std::string path = path_of(segment);
        base::Result<io::BlockFile> opened = io::open_file(path);
        if (!opened) {
            return opened.error();
        }
        segment.file = *opened;
        direct_ = direct_ && opened->direct;
        segment.earlier = true;
        segment.state = Segment::State::unread;
        if (segment.file.octets < io::file_block_size) {
            continue;
        }
        base::Result<void> read =
            io::read_file(segment.file, path, 0, {block_.get(), io::file_block_size});
        if (!read) {
            segment.state = Segment::State::left_alone;
            troubles.push_back(read.error().text + "; what is in it waits for the next start");
            continue;
        }
        journal::SegmentHeader header;
        const journal::HeaderLook look =
            journal::read_header({block_.get(), io::file_block_size}, header);
        segment.size = segment.file.octets;
        if (look == journal::HeaderLook::unused && may_be_used_again(segment)) {
            segment.state = Segment::State::dirty;
        } else if (look == journal::HeaderLook::good && header.host == host_) {
            segment.epoch = header.epoch;
            segment.sequence = header.sequence;
            sequence_ = std::max(sequence_, header.sequence);
        }
    }
    // Those that could not be read may have had higher ones.
    sequence_ += troubles.empty() ? 0 : sequences_skipped;
    return {};
}

base::Result<void> Files::open_host(bool is_there) {
    const std::string path = folder_ + "/" + std::string(host_name);
    if (!is_there) {
        host_ = drawn<journal::HostId>();
        std::string text(host_prefix);
        for (const std::uint64_t half : {host_.first, host_.second}) {
            for (int shift = 60; shift >= 0; shift -= 4) {
                text += "0123456789abcdef"[(half >> shift) & 15];
            }
        }
        text += '\n';
        text.resize(io::file_block_size, '\n');
        return io::save_file(path, text);
    }
    base::Result<io::BlockFile> file = io::open_file(path);
    if (!file) {
        return file.error();
    }
    base::Result<void> read;
    if (file->octets == io::file_block_size) {
        read = io::read_file(*file, path, 0, {block_.get(), io::file_block_size});
    }
    const bool whole = file->octets == io::file_block_size;
    io::close_file(*file);
    if (!read) {
        return read;
    }
    const std::string_view text(block_.get(), whole ? io::file_block_size : 0);
    const auto half = [&](std::size_t at, std::uint64_t& into) {
        const char* from = text.data() + host_prefix.size() + at;
        const auto parsed = std::from_chars(from, from + 16, into, 16);
        return parsed.ec == std::errc() && parsed.ptr == from + 16;
    };
    if (!text.starts_with(host_prefix) || !half(0, host_.first) || !half(16, host_.second)) {
        return base::Error{
            "the file " + path +
            " is damaged, without which no segment beside it can be read: put a copy back, or move "
            "it and the segments elsewhere to begin a new spool"};
    }
    return {};
}

Segment* Files::find(Segment::State state, std::uint64_t octets) {
    const auto found = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& each) {
        return each.state == state && each.file.octets >= octets;
    });
    return found == segments_.end() ? nullptr : &*found;
}

std::uint64_t Files::octets_behind(std::uint32_t begun) const {
    std::uint64_t octets = first_octets_;
    for (; begun > 0 && octets < segment_octets_; --begun) {
        octets *= 2;
    }
    return octets;
}

/// It has one of the lengths that segments have.
bool Files::may_be_used_again(const Segment& segment) const {
    const std::uint64_t octets = segment.file.octets;
    return octets <= segment_octets_ && octets % first_octets_ == 0 &&
           std::has_single_bit(octets / first_octets_);
}

base::Result<Segment*> Files::clean(std::uint64_t octets, bool may_make) {
    trouble.clear();
    Segment* shorter = nullptr;
    Segment* longer = nullptr;
    for (Segment& segment : segments_) {
        if (segment.state != Segment::State::dirty) {
            continue;
        }
        if (segment.file.octets == octets) {
            return zero(segment);
        }
        (segment.file.octets < octets ? shorter : longer) = &segment;
    }
    base::Result<Segment*> made =
        base::Error{"no segment can be made: the disk is below spool.min_free"};
    if (may_make) {
        made = shorter != nullptr ? replace(*shorter, octets) : create(octets);
    }
    if (made) {
        return made;
    }
    trouble = made.error().text;
    if (longer != nullptr) {
        return zero(*longer);
    }
    if (shorter != nullptr && shorter->state == Segment::State::dirty) {
        return zero(*shorter);
    }
    return may_make && octets > first_octets_ ? create(first_octets_) : made;
}

/// Made under another name first: a segment is never half there.
base::Result<Segment*> Files::create(std::uint64_t octets) {
    Segment& segment = segments_.emplace_back(unheld_);
    segment.slot = static_cast<std::uint32_t>(segments_.size() - 1);
    base::Result<Segment*> made = replace(segment, octets);
    if (!made) {
        segments_.pop_back();
    }
    return made;
}

/// Another file takes the segment's place.
base::Result<Segment*> Files::replace(Segment& segment, std::uint64_t octets) {
    const std::string path = path_of(segment);
    const std::string draft = path + std::string(draft_suffix);
    base::Result<io::BlockFile> created = io::create_file(draft, octets);
    if (!created) {
        return created.error();
    }
    base::Result<void> named;
    if (segment.aside) {
        named = io::rename_file(
            path,
            folder_ + "/damaged-" + journal::segment_file_name(segment.slot) + "-" +
                std::to_string(io::wall_time().time_since_epoch().count()));
        segment.aside = !named;
    }
    if (named) {
        named = io::rename_file(draft, path);
    }
    if (!named) {
        io::close_file(*created);
        static_cast<void>(io::remove_file(draft));  // where that is its name still
        name_is_lost(segment);
        return named.error();
    }
    if (segment.file.descriptor >= 0) {
        io::close_file(segment.file);
    }
    segment.file = *created;
    direct_ = direct_ && created->direct;
    segment.state = Segment::State::clean;
    return &segment;
}

/// Which file has the segment's name now, the old one or the new, is not known: what would be
/// written to the other would be gone with the process. Where it can not be opened another takes
/// its place later, as that of one that can not be zeroed.
void Files::name_is_lost(Segment& segment) {
    if (segment.file.descriptor < 0) {
        return;
    }
    io::close_file(segment.file);
    segment.file = {};
    if (const base::Result<io::BlockFile> opened = io::open_file(path_of(segment))) {
        segment.file = *opened;
        segment.earlier = true;  // whole, it is zeroed before it is used
    } else {
        segment.state = Segment::State::broken;
    }
}

base::Result<Segment*> Files::zero(Segment& segment) {
    POSTERN_ASSERT(segment.state == Segment::State::dirty, "what is zeroed is to be zeroed");
    // What an earlier process found zeroed, or half zeroed, begins anew.
    base::Result<void> zeroed =
        io::zero_file(segment.file, path_of(segment), segment.earlier ? 0 : io::file_block_size);
    if (!zeroed) {
        segment.state = Segment::State::broken;
        return zeroed.error();
    }
    segment.state = Segment::State::clean;
    return &segment;
}

base::Result<void> Files::begin(Segment& segment, std::uint32_t worker) {
    POSTERN_ASSERT(segment.state == Segment::State::clean, "a life begins with zeros");
    journal::SegmentHeader header;
    header.host = host_;
    header.epoch = drawn<std::uint64_t>() | 1;
    header.sequence = ++sequence_;
    header.slot = segment.slot;
    header.slots = slots_needed(segment);
    header.worker = worker;
    header.size = segment.file.octets;
    header.begun_ms = base::to_ms(io::wall_time().time_since_epoch());
    const std::span<char, io::file_block_size> block(block_.get(), io::file_block_size);
    journal::write_header(header, block);
    base::Result<void> written = io::write_file(segment.file, path_of(segment), 0, block);
    if (!written) {
        // What is in its first block nobody knows: it begins anew.
        segment.state = Segment::State::broken;
        return written;
    }
    segment.epoch = header.epoch;
    segment.sequence = header.sequence;
    segment.size = header.size;
    segment.used = io::file_block_size;
    segment.writes = 0;
    segment.worker = worker;
    segment.earlier = false;
    segment.sealed = false;
    segment.clearing = false;
    segment.unreadable = false;
    segment.about_oldest = ~std::uint64_t{0};
    segment.state = Segment::State::in_use;
    segment.hold(0);  // its writer's
    while (segments_.size() > header.slots) {
        io::close_file(segments_.back().file);
        const std::string path = path_of(segments_.back());
        segments_.pop_back();
        if (!io::remove_file(path)) {
            // It stands there unused at the next start, or another takes its name; those before it
            // go another time, lest there be a gap.
            break;
        }
    }
    return {};
}

/// Behind a time of much mail the last files are not needed any more; as many unused as used ones
/// stay, and one for each worker beside them.
std::uint32_t Files::slots_needed(const Segment& beginning) const {
    std::size_t unused = 0;
    for (const Segment& segment : segments_) {
        unused += is_unused(segment) && &segment != &beginning ? 1 : 0;
    }
    std::size_t slots = segments_.size();
    while (slots > 0 && is_unused(segments_[slots - 1]) && &segments_[slots - 1] != &beginning &&
           unused > slots - unused + workers_) {
        --slots;
        --unused;
    }
    return static_cast<std::uint32_t>(slots);
}

base::Result<void> Files::end(Segment& segment) {
    if (segment.aside || !may_be_used_again(segment)) {
        base::Result<Segment*> replaced = replace(segment, first_octets_);
        return replaced ? base::Result<void>() : replaced.error();
    }
    std::memset(block_.get(), 0, io::file_block_size);
    base::Result<void> zeroed =
        io::write_file(segment.file, path_of(segment), 0, {block_.get(), io::file_block_size});
    segment.state = zeroed ? Segment::State::dirty : Segment::State::broken;
    segment.earlier = segment.earlier && !zeroed;
    return zeroed;
}

}  // namespace postern::spool

#include <algorithm>
#include <cstdlib>

#include "files.h"
#include "load.h"
#include "postern/spool/segments.h"
#include "reading.h"

namespace postern::spool {

/// Nothing is written, so nobody waits to hear that a segment is not needed any more.
struct Archive::Implementation final : Unheld {
    explicit Implementation(const std::string& folder) : files({.folder = folder}, *this) {}

    ~Implementation() {
        for (const Kept* kept : messages) {
            Kept::destroy(const_cast<Kept*>(kept));
        }
    }

    void on_unheld() override {}

    Files files;
    std::vector<const Kept*> messages;
    std::vector<journal::Finding> findings;
};

Archive::Archive(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Archive::Archive(Archive&&) noexcept = default;
Archive& Archive::operator=(Archive&&) noexcept = default;
Archive::~Archive() = default;

base::Result<Archive> Archive::open(const std::string& folder) {
    auto archive = std::make_unique<Implementation>(folder);
    if (base::Result<void> opened = archive->files.open(Files::Purpose::read); !opened) {
        return opened.error();
    }
    std::vector<Segment*> unread;
    std::vector<std::uint32_t> unused;
    for (Segment& segment : archive->files.all()) {
        if (segment.state == Segment::State::unread) {
            unread.push_back(&segment);
        } else if (segment.state == Segment::State::dirty) {
            unused.push_back(segment.slot);
        }
    }
    std::string trouble;
    Reading reading(
        folder,
        archive->files.host(),
        std::move(unread),
        std::move(unused),
        [&](const std::string& sentence) { trouble = sentence; },
        archive->files.troubles);
    while (reading.step()) {
    }
    archive->messages.assign(reading.made.begin(), reading.made.end());
    reading.made.clear();
    archive->findings = std::move(reading.findings);
    std::sort(archive->messages.begin(), archive->messages.end(), [](const Kept* a, const Kept* b) {
        return a->id() < b->id();
    });
    return Archive(std::move(archive));
}

const std::vector<const Kept*>& Archive::messages() const {
    return implementation_->messages;
}

const std::vector<journal::Finding>& Archive::findings() const {
    return implementation_->findings;
}

base::Result<std::string> Archive::content(const Kept& kept) const {
    constexpr std::uint64_t block = io::file_block_size;
    std::string content;
    for (const Source& source : sources_of(kept)) {
        const std::uint64_t from = source.offset / block * block;
        const std::uint64_t size =
            (std::uint64_t{source.offset} + source.size - from + block - 1) / block * block;
        const std::unique_ptr<char, void (*)(void*)> memory(
            static_cast<char*>(std::aligned_alloc(block, size)), std::free);
        if (memory == nullptr) {
            return base::Error{"there is no memory for a message of the spool"};
        }
        const std::string path = implementation_->files.path_of(*source.segment);
        base::Result<void> read =
            io::read_file(source.segment->file, path, from, {memory.get(), size});
        if (!read) {
            return read.error();
        }
        journal::RecordHeader header;
        const char* record = memory.get() + (source.offset - from);
        const std::string_view payload(
            record + journal::RecordHeader::size_octets,
            source.size - journal::RecordHeader::size_octets);
        if (!journal::read_record_header(
                record,
                source.offset,
                source.segment->size,
                implementation_->files.host(),
                header) ||
            header.size != payload.size() || journal::check_of(payload) != header.payload_check) {
            return base::Error{
                path + " at octet " + std::to_string(source.offset) +
                ": what lies there is not what was written"};
        }
        content.append(record + source.content_at, source.size - source.content_at);
    }
    return content;
}

}  // namespace postern::spool

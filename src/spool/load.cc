#include "load.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "postern/base/assert.h"
#include "spool_implementation.h"

namespace postern::spool {
namespace {

constexpr std::uint32_t block_size = journal::block_size;
constexpr std::uint32_t header_size = journal::RecordHeader::size_octets;

std::uint32_t rounded_down(std::uint32_t octets) {
    return octets / block_size * block_size;
}

std::uint32_t rounded_up(std::uint32_t octets) {
    return (octets + block_size - 1) / block_size * block_size;
}

}  // namespace

std::vector<Source> sources_of(const Kept& kept) {
    std::vector<Source> sources;
    for (const PartPlace& part : KeptAccess::parts(kept)) {
        sources.push_back({part.segment, part.offset, header_size + part.size, header_size});
    }
    const Place& place = KeptAccess::place(kept);
    sources.push_back(
        {place.segment, place.offset, place.size, place.size - KeptAccess::tail_size(kept)});
    return sources;
}

void Spool::Implementation::load(Kept& kept, mail::Body& into, std::uint64_t octets_max) {
    KeptAccess::set_loading(kept, true);
    Load* load = loads.make(*this, kept, into, octets_max);
    POSTERN_ASSERT(load != nullptr, "fewer messages than that are read at once");
    loading.push_back(*load);
    load->begin();
}

Load::Load(Spool::Implementation& spool, Kept& kept, mail::Body& into, std::uint64_t octets_max)
    : Completion([](io::Completion& self, io::Done done) {
          static_cast<Load&>(self).on_read(done.result);
      }),
      BufferWaiter([](io::BufferWaiter& self) { static_cast<Load&>(self).read_on(); }),
      spool_(spool),
      kept_(kept),
      into_(into),
      left_(std::min(octets_max, kept.content_size())),
      sources_(sources_of(kept)),
      dotted_(kept.message().has_dot_line) {}

void Load::begin() {
    for (const Source& source : sources_) {
        source.segment->hold(0);
    }
    at_ = rounded_down(sources_[0].offset);
    read_on();
}

void Load::give_up() {
    KeptAccess::set_loading(kept_, false);
}

void Load::read_on() {
    base::BlockPool& pool = spool_.ring.buffers(io::BufferGroup::body);
    block_ = pool.take();
    if (!block_) {
        spool_.ring.when_buffer_returns(io::BufferGroup::body, *this);
        return;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(block_->data());
    const std::uint32_t skip =
        static_cast<std::uint32_t>((block_size - address % block_size) % block_size);
    POSTERN_ASSERT(
        block_->capacity >= skip + 2 * block_size, "a receive buffer holds two blocks of a disk");
    data_ = block_->data() + skip;
    const Source& source = sources_[source_];
    const std::uint32_t size = std::min(
        rounded_down(block_->capacity - skip), rounded_up(source.offset + source.size - at_));
    spool_.ring.read(*this, source.segment->file.descriptor, {data_, size}, at_);
}

void Load::on_read(std::int32_t result) {
    if (result == -EINTR || result == -EAGAIN) {
        block_ = {};
        read_on();
        return;
    }
    const Source& source = sources_[source_];
    const std::uint32_t record_end = source.offset + source.size;
    auto octets = static_cast<std::uint32_t>(std::max(result, 0));
    if (std::uint64_t{at_} + octets < record_end) {
        octets = rounded_down(octets);
    }
    if (octets == 0) {
        end_with_error(
            result < 0 ? strerrordesc_np(-result) : "the file ends before the message does");
        return;
    }
    if (!has_header_) {
        if (std::uint64_t{at_} + octets < std::uint64_t{source.offset} + header_size) {
            block_ = {};
            read_on();  // less came than was asked for
            return;
        }
        const bool good = journal::read_record_header(
            data_ + (source.offset - at_),
            source.offset,
            source.segment->size,
            spool_.segments.host(),
            header_);
        if (!good || header_.epoch != source.segment->epoch || header_.id != kept_.id() ||
            header_.size + header_size != source.size) {
            end_with_error("what lies there is not what was written");
            return;
        }
        has_header_ = true;
        check_ = {};
    }
    take(octets);
    block_ = {};
    if (!complete_) {
        end_with_error("there is no memory for it");
        return;
    }
    at_ += octets;
    if (at_ < record_end) {
        read_on();
        return;
    }
    if (check_.result() != header_.payload_check) {
        end_with_error("what lies there does not match its sum");
        return;
    }
    if (++source_ < sources_.size() && left_ > 0) {
        at_ = rounded_down(sources_[source_].offset);
        has_header_ = false;
        read_on();
        return;
    }
    end({});
}

/// So many octets of the segment, from at_ on, lie in the block.
void Load::take(std::uint32_t octets) {
    const Source& source = sources_[source_];
    const std::uint32_t to = std::min(at_ + octets, source.offset + source.size);
    const std::uint32_t payload = std::max(at_, source.offset + header_size);
    check_.add({data_ + (payload - at_), to - payload});
    const std::uint32_t content = std::max(at_, source.offset + source.content_at);
    if (content < to && left_ > 0) {
        const auto size = static_cast<std::uint32_t>(std::min<std::uint64_t>(to - content, left_));
        append({data_ + (content - at_), size});
    }
}

void Load::append(std::string_view run) {
    complete_ = complete_ && into_.append(block_, run, begins_line_, dotted_);
    begins_line_ = run.back() == '\n';
    left_ -= run.size();
}

void Load::end_with_error(const std::string& why) {
    const Source& source = sources_[source_];
    end(base::Error{
        "message " + journal::text_of(kept_.id()) + " cannot be read from " +
        journal::segment_file_name(source.segment->slot) + " at octet " +
        std::to_string(source.offset) + ": " + why});
}

void Load::end(const base::Result<void>& result) {
    Spool::Implementation& spool = spool_;
    Kept& kept = kept_;
    const base::Result<void> told = result;
    for (const Source& source : sources_) {
        source.segment->release(0);
    }
    KeptAccess::set_loading(kept, false);
    spool.loads.destroy(this);
    spool.world.loaded(kept, told);
}

}  // namespace postern::spool

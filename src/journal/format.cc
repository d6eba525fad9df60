#include "postern/journal/format.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "octets.h"
#include "postern/base/assert.h"
#include "sum.h"

namespace postern::journal {
namespace {

constexpr std::string_view magic = "POSTERNJ";
constexpr std::size_t header_sum_at = block_size - sizeof(std::uint64_t);

// Crockford's alphabet, as IDs are written in.
constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

constexpr std::uint8_t flag_skippable = 1;
constexpr std::uint8_t flag_ends_write = 2;
constexpr std::uint8_t flags_known = flag_skippable | flag_ends_write;
constexpr std::size_t record_sum_at = RecordHeader::size_octets - sizeof(std::uint64_t);

/// A record is only good where it was written, and by this host.
std::uint64_t seed_of(const HostId& host, std::uint32_t offset) {
    return host.first ^ (host.second + offset * 0x9E3779B97F4A7C15U);
}

}  // namespace

namespace {

bool is_zero(std::string_view octets) {
    return std::all_of(octets.begin(), octets.end(), [](char c) { return c == 0; });
}

}  // namespace

std::optional<Id> id_from_text(std::string_view text) {
    if (text.empty() || text.size() > id_text_max) {
        return std::nullopt;
    }
    Id id{.high = 0, .low = 1};  // a one in front of the digits keeps leading zeros
    for (const char c : text) {
        const std::size_t digit = digits.find(c);
        if (digit == std::string_view::npos) {
            return std::nullopt;
        }
        id.high = id.high << 5 | id.low >> 59;
        id.low = id.low << 5 | digit;
    }
    return id;
}

std::uint8_t id_to_text(const Id& id, std::array<char, 32>& into) {
    std::uint8_t size = 0;
    for (Id left = id; left.high != 0 || left.low > 1;) {
        into[size++] = digits[left.low & 31];
        left.low = left.low >> 5 | left.high << 59;
        left.high >>= 5;
    }
    std::reverse(into.begin(), into.begin() + size);
    return size;
}

std::string text_of(const Id& id) {
    std::array<char, 32> text{};
    return {text.data(), id_to_text(id, text)};
}

std::string segment_file_name(std::uint32_t slot) {
    std::string number = std::to_string(slot);
    number.insert(0, number.size() < 6 ? 6 - number.size() : 0, '0');
    return "segment-" + number;
}

void write_header(const SegmentHeader& header, std::span<char, block_size> into) {
    POSTERN_ASSERT(header.epoch != 0, "a life has an epoch");
    POSTERN_ASSERT(
        header.size % block_size == 0 && header.size >> 32 == 0, "a segment's size can be kept");
    std::memset(into.data(), 0, into.size());
    Writer writer{into.data()};
    writer.put_text(magic);
    writer.put(format_version);
    writer.put(header.slot);
    writer.put(header.slots);
    writer.put(header.worker);
    writer.put(header.host.first);
    writer.put(header.host.second);
    writer.put(header.epoch);
    writer.put(header.sequence);
    writer.put(header.size);
    writer.put(header.begun_ms);
    Writer{into.data() + header_sum_at}.put(sum_of({into.data(), header_sum_at}));
}

HeaderLook read_header(std::span<const char> segment, SegmentHeader& into) {
    const std::string_view block(segment.data(), std::min<std::size_t>(segment.size(), block_size));
    if (is_zero(block)) {
        return HeaderLook::unused;
    }
    if (!block.starts_with(magic)) {
        // Of a first block that was torn, in the beginning or in the end, its sum may be all there
        // is.
        const bool only_sum = block.size() == block_size && is_zero(block.substr(0, header_sum_at));
        return only_sum ? HeaderLook::damaged : HeaderLook::foreign;
    }
    if (block.size() < block_size || Reader{block.substr(header_sum_at)}.take<std::uint64_t>() !=
                                         sum_of(block.substr(0, header_sum_at))) {
        return HeaderLook::damaged;
    }
    Reader reader{block.substr(magic.size())};
    if (reader.take<std::uint32_t>() != format_version) {
        return HeaderLook::other_version;
    }
    into.slot = reader.take<std::uint32_t>();
    into.slots = reader.take<std::uint32_t>();
    into.worker = reader.take<std::uint32_t>();
    into.host.first = reader.take<std::uint64_t>();
    into.host.second = reader.take<std::uint64_t>();
    into.epoch = reader.take<std::uint64_t>();
    into.sequence = reader.take<std::uint64_t>();
    into.size = reader.take<std::uint64_t>();
    into.begun_ms = reader.take<std::int64_t>();
    return HeaderLook::good;
}

void write_record_header(
    const RecordHeader& header, const HostId& host, std::uint32_t offset, char* into) {
    Writer writer{into};
    writer.put(header.epoch);
    writer.put(header.id.high);
    writer.put(header.id.low);
    writer.put(header.size);
    writer.put(header.write);
    writer.put(header.revision);
    writer.put(header.type);
    writer.put(static_cast<std::uint8_t>(
        (header.skippable ? flag_skippable : 0) | (header.ends_write ? flag_ends_write : 0)));
    writer.put(std::uint16_t{0});
    writer.put(header.payload_check);
    writer.put(sum_of({into, record_sum_at}, seed_of(host, offset)));
}

bool read_record_header(
    std::span<const char> segment, std::uint32_t offset, const HostId& host, RecordHeader& into) {
    return segment.size() >= std::uint64_t{offset} + RecordHeader::size_octets &&
           read_record_header(segment.data() + offset, offset, segment.size(), host, into);
}

bool read_record_header(
    const char* from,
    std::uint32_t offset,
    std::uint64_t segment_size,
    const HostId& host,
    RecordHeader& into) {
    Reader reader{{from, RecordHeader::size_octets}};
    into.epoch = reader.take<std::uint64_t>();
    into.id.high = reader.take<std::uint64_t>();
    into.id.low = reader.take<std::uint64_t>();
    into.size = reader.take<std::uint32_t>();
    into.write = reader.take<std::uint32_t>();
    into.revision = reader.take<std::uint32_t>();
    into.type = reader.take<std::uint8_t>();
    const auto flags = reader.take<std::uint8_t>();
    const auto zero = reader.take<std::uint16_t>();
    into.payload_check = reader.take<std::uint64_t>();
    into.skippable = (flags & flag_skippable) != 0;
    into.ends_write = (flags & flag_ends_write) != 0;
    return into.epoch != 0 && zero == 0 && (flags & ~flags_known) == 0 &&
           std::uint64_t{offset} + RecordHeader::size_octets + into.size <= segment_size &&
           reader.take<std::uint64_t>() == sum_of({from, record_sum_at}, seed_of(host, offset));
}

std::uint64_t check_of(std::string_view payload) {
    return sum_of(payload);
}

namespace {

static_assert(sizeof(XXH3_state_t) <= Check::state_size && alignof(XXH3_state_t) <= 64);

XXH3_state_t* state_of(std::byte* memory) {
    return std::launder(reinterpret_cast<XXH3_state_t*>(memory));
}

}  // namespace

Check::Check() {
    XXH3_64bits_reset(new (state_) XXH3_state_t);
}

void Check::add(std::string_view octets) {
    XXH3_64bits_update(state_of(state_), octets.data(), octets.size());
}

std::uint64_t Check::result() {
    return XXH3_64bits_digest(state_of(state_));
}

}  // namespace postern::journal

#include "postern/journal/walk.h"

#include <algorithm>
#include <cstring>

#include "octets.h"

namespace postern::journal {

Walk::Piece Walk::next() {
    Piece piece;
    const std::uint32_t begin = at_;
    // Records begin at multiples of 8. A segment's end is mostly one long hole of zeros: the epoch
    // alone tells nearly all of it.
    for (; std::uint64_t{at_} + RecordHeader::size_octets <= segment_.size(); at_ += 8) {
        if (std::memcmp(segment_.data() + at_, &epoch_, sizeof epoch_) != 0 ||
            !read_record_header(segment_, at_, host_, piece.header)) {
            continue;
        }
        if (at_ != begin) {
            return {Piece::Kind::hole, begin, at_ - begin, {}};
        }
        piece.kind = Piece::Kind::record;
        piece.offset = at_;
        piece.size = RecordHeader::size_octets + piece.header.size;
        at_ = rounded_up(std::uint64_t{at_} + piece.size, piece.header.ends_write ? block_size : 8);
        return piece;
    }
    at_ = begin;  // it stays at the end
    return {Piece::Kind::end, begin, 0, {}};
}

}  // namespace postern::journal

#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "postern/journal/format.h"

namespace postern::journal {

/// Goes through a segment's records from its first to its last, whatever lies between them. The
/// segment's octets stay the caller's; one thread; allocates nothing.
class Walk {
   public:
    Walk(std::span<const char> segment, const HostId& host, std::uint64_t epoch)
        : segment_(segment), host_(host), epoch_(epoch) {}

    struct Piece {
        enum class Kind : std::uint8_t {
            record,  // its header is right; its payload is not looked at
            hole,    // no header of this epoch where one was expected
            end,     // no more records; what follows may still be other than zero
        };
        Kind kind = Kind::end;
        std::uint32_t offset = 0;
        std::uint32_t size = 0;  // octets; a record's header included
        RecordHeader header;     // of a record

        std::string_view payload(std::span<const char> segment) const {
            return {segment.data() + offset + RecordHeader::size_octets, header.size};
        }
    };

    Piece next();

   private:
    std::span<const char> segment_;
    HostId host_;
    std::uint64_t epoch_;
    std::uint32_t at_ = block_size;
};

}  // namespace postern::journal

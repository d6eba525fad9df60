#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/io/ring.h"
#include "postern/journal/format.h"
#include "postern/mail/body.h"
#include "postern/spool/spool.h"
#include "segment.h"

namespace postern::spool {

struct Loading;  // tag of a list

/// A record that content is read from.
struct Source {
    Segment* segment = nullptr;
    std::uint32_t offset = 0;      // of its header
    std::uint32_t size = 0;        // header included
    std::uint32_t content_at = 0;  // where in the record the content begins; it ends with it
};

/// Where the content of a message lies, in order.
std::vector<Source> sources_of(const Kept& kept);

/// Reads a message's content, block by block of the ring's. It holds on to the segments: they stay
/// whatever becomes of the message meanwhile. The worker's.
class Load final : io::Completion, io::BufferWaiter, public base::ListLink<Loading> {
   public:
    Load(Spool::Implementation& spool, Kept& kept, mail::Body& into, std::uint64_t octets_max);
    void begin();

    bool under_way() const { return armed(); }

    /// It will not be told. REQUIRES: not under way.
    void give_up();

   private:
    void read_on();
    void on_read(std::int32_t result);
    void take(std::uint32_t octets);
    void append(std::string_view run);
    void end(const base::Result<void>& result);
    void end_with_error(const std::string& why);

    Spool::Implementation& spool_;
    Kept& kept_;
    mail::Body& into_;
    std::uint64_t left_;  // octets to append
    std::vector<Source> sources_;
    std::size_t source_ = 0;  // index of the one that is read
    std::uint32_t at_ = 0;    // in its segment, whole blocks: read next
    bool has_header_ = false;
    bool begins_line_ = true;
    bool complete_ = true;  // all fitted into the body
    bool dotted_;
    journal::RecordHeader header_;
    journal::Check check_;
    base::BlockRef block_;
    char* data_ = nullptr;  // in the block, where whole blocks of the disk go
};

}  // namespace postern::spool

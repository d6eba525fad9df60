#include "secure.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace postern::relay {

Secure::Secure(const tls::ClientContext& context, const tls::Peer& peer, base::BlockPool& blocks)
    : session_(context, peer), pool_(blocks) {}

// At least so many octets, in the last block or a new one; empty: there are blocks enough.
std::span<char> Secure::room(std::size_t octets) {
    if (ready_.count > 0) {
        const base::BlockRef& last = ready_.blocks[ready_.count - 1];
        const std::size_t used = ready_.used[ready_.count - 1];
        if (last->capacity - used >= octets) {
            return {last->data() + used, last->capacity - used};
        }
    }
    if (ready_.count == blocks_max) {
        return {};
    }
    base::BlockRef block = pool_.take();
    POSTERN_ASSERT(block, "a connection has few blocks");
    ready_.used[ready_.count] = 0;
    ready_.blocks[ready_.count++] = std::move(block);
    const base::BlockRef& last = ready_.blocks[ready_.count - 1];
    return {last->data(), last->capacity};
}

// Of the room, what is not left is used.
void Secure::keep(std::span<char> all, std::span<char> left) {
    ready_.used[ready_.count - 1] += all.size() - left.size();
}

// A step that may have something to say to the host, however large.
template <class Call>
tls::Status Secure::step(std::string_view& input, Call&& call) {
    for (;;) {
        const std::span<char> output = room(tls::Session::room_min);
        tls::Wire wire{input, output};
        const tls::Status status = call(wire);
        input = wire.input;
        if (!output.empty()) {
            keep(output, wire.output);
        }
        if (status != tls::Status::room) {
            return status;
        }
        if (output.empty()) {  // nobody means to be told so much
            return tls::Status::failed;
        }
    }
}

tls::Status Secure::handshake(std::string_view& input) {
    return step(input, [this](tls::Wire& wire) { return session_.handshake(wire); });
}

tls::Status Secure::read(std::string_view& input, std::span<char> into, std::size_t& count) {
    count = 0;
    return step(input, [&](tls::Wire& wire) {
        std::size_t got = 0;
        const tls::Status status = session_.read(wire, into.subspan(count), got);
        count += got;
        return status;
    });
}

// --- what goes out
// ----------------------------------------------------------------------------------------------------------------

// The next record's octets: of a piece that is large enough as they lie.
std::string_view Secure::gather(std::span<char> scratch) const {
    const iovec& first = rest_.front();
    if (first.iov_len >= record_octets || rest_.size() == 1) {
        return {static_cast<const char*>(first.iov_base), std::min(first.iov_len, record_octets)};
    }
    std::size_t size = 0;
    for (const iovec& piece : rest_) {
        const std::size_t count = std::min(piece.iov_len, record_octets - size);
        std::memcpy(scratch.data() + size, piece.iov_base, count);
        size += count;
        if (size == record_octets) {
            break;
        }
    }
    return {scratch.data(), size};
}

void Secure::take(std::size_t octets) {
    while (octets > 0) {
        iovec& first = rest_.front();
        const std::size_t count = std::min(octets, first.iov_len);
        first.iov_base = static_cast<char*>(first.iov_base) + count;
        first.iov_len -= count;
        octets -= count;
        if (first.iov_len == 0) {
            rest_ = rest_.subspan(1);
        }
    }
}

bool Secure::seal(std::span<char> scratch) {
    POSTERN_ASSERT(scratch.size() >= record_octets, "too little room to gather a record in");
    while (has_rest()) {
        const std::string_view plain = gather(scratch);
        const std::size_t wanted = plain.size() + tls::Session::record_overhead_max;
        if (ready_.count >= sealed_max &&
            ready_.blocks[ready_.count - 1]->capacity - ready_.used[ready_.count - 1] < wanted) {
            return true;
        }
        const std::span<char> output = room(std::max(wanted, tls::Session::room_min));
        if (output.empty()) {
            return true;
        }
        std::string_view left = plain;
        tls::Wire wire{{}, output};
        const tls::Status status = session_.write(wire, left);
        keep(output, wire.output);
        if (status != tls::Status::done && status != tls::Status::room) {
            return false;
        }
        take(plain.size() - left.size());
    }
    return true;
}

std::span<iovec> Secure::outgoing() {
    POSTERN_ASSERT(sending_.count == 0, "one send at a time");
    std::swap(ready_, sending_);
    std::size_t count = 0;
    for (std::size_t i = 0; i < sending_.count; ++i) {
        if (sending_.used[i] > 0) {
            pieces_[count++] = {sending_.blocks[i]->data(), sending_.used[i]};
        }
    }
    if (count == 0) {
        sent();
    }
    return {pieces_.data(), count};
}

void Secure::sent() {
    sending_ = Blocks();
}

}  // namespace postern::relay

#pragma once

#include <cstdint>
#include <string_view>

#include "postern/base/block.h"
#include "postern/tls/session.h"

namespace postern::inbound {

/// What a connection has beside its session from STARTTLS on: its TLS session, and the octets that
/// are sealed. Held by a pointer, so that who speaks plain text does not pay for it. What was
/// received lies in a receive buffer until it is decrypted; what is to be sent gathers in one block
/// as the answers before it do. An idle one holds neither.
struct Secure {
    enum class Stage : std::uint8_t {
        announced,  // our 220 is on its way, in plain text
        handshake,
        established,
        failed,  // only what is sealed already is still sent
    };

    Secure(const tls::ServerContext& context, bool from_the_first_octet)
        : session(context), implicit(from_the_first_octet) {}

    /// May `read` give something without more being received?
    bool has_input() const { return more || ended || !input.empty(); }

    /// Calls `what(wire)` with the input and the room that there are.
    template <class What>
    tls::Status call(What&& what) {
        tls::Wire wire{
            input,
            {output->data() + written, static_cast<std::size_t>(output->capacity - written)}};
        const tls::Status status = what(wire);
        written = output->capacity - static_cast<std::uint32_t>(wire.output.size());
        input = wire.input;
        if (input.empty()) {
            input_block = {};
        }
        return status;
    }

    tls::Session session;
    Stage stage = Stage::announced;
    const bool implicit;
    bool greeted = false;     // something of the peer has been looked at
    bool more = false;        // the last `read` stopped for want of room
    bool ended = false;       // the peer has said that nothing more comes
    bool close_said = false;  // and we have
    base::BlockRef input_block;
    std::string_view input;  // sealed, received, not decrypted yet; lies in input_block
    base::BlockRef output;   // sealed: [0, written), of which [0, sent) are with the kernel or gone
    std::uint32_t written = 0;
    std::uint32_t sent = 0;
};

}  // namespace postern::inbound

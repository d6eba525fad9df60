#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "postern/base/network.h"

namespace postern::inbound {

/// The header that a proxy puts in front of a connection to say who its client is: HAProxy's PROXY
/// protocol, versions 1 and 2. Pure; octets may come in any pieces. What stands behind the header
/// is not touched.
class ProxyHeader {
   public:
    enum class State : std::uint8_t {
        more,       // not whole yet
        client,     // `address` and `port` are the client's
        local,      // LOCAL or UNKNOWN, or a family that is not ours: it is the proxy itself
        malformed,  // or its checksum does not hold
    };

    /// Version 1's longest line, its CRLF included; what of version 2 is kept is shorter.
    static constexpr std::size_t line_octets_max = 107;

    /// Takes from the front of `input` what belongs to the header. REQUIRES: `more` until now.
    State take(std::string_view& input);

    /// Has anything come?
    bool begun() const { return size_ != 0; }

    const base::IpAddress& address() const { return address_; }

    std::uint16_t port() const { return port_; }

   private:
    State take_octet(char octet);
    State read_line();
    State read_fixed();
    State read_addresses();
    State take_vector_octet(std::uint8_t octet);
    State block_ended();
    void sum(std::uint8_t octet);

    std::array<char, line_octets_max> kept_;  // version 1's line; of version 2, the fixed part and
                                              // the addresses
    std::uint16_t size_ = 0;                  // of what is kept
    bool discarded_ = false;  // version 2: what is behind the fixed part means nothing to us
    std::uint32_t left_ = 0;  // version 2: octets of the header that are still to come
    std::uint32_t checksum_ = 0xffffffff;  // of all until now, the stated one as zeros
    std::uint32_t stated_checksum_ = 0;
    bool has_checksum_ = false;
    // The type-length-value vector under way.
    std::uint8_t vector_type_ = 0;
    std::uint8_t vector_octets_ = 0;  // of its type and length
    std::uint16_t vector_left_ = 0;
    base::IpAddress address_;
    std::uint16_t port_ = 0;
};

}  // namespace postern::inbound

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "postern/base/network.h"

namespace postern::io {

/// An IPv4 or IPv6 address with a port, as a value. Pure.
class Address {
   public:
    Address() = default;
    /// "192.0.2.1:25", "[2001:db8::1]:25". nullopt: not an address with a port from 0 to 65535.
    static std::optional<Address> parse(std::string_view text);
    /// "192.0.2.1", "2001:db8::1" or "[2001:db8::1]".
    static std::optional<Address> parse(std::string_view host, std::uint16_t port);
    /// REQUIRES: AF_INET or AF_INET6.
    static Address from(const sockaddr* raw);
    static Address from(const base::IpAddress& host, std::uint16_t port);

    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }

    socklen_t raw_size() const;

    bool is_v4() const { return storage_.v4.sin_family == AF_INET; }

    std::uint16_t port() const;
    /// The octets of the host part: 4 or 16. An IPv4-mapped IPv6 address is an IPv4 one.
    std::string_view host_octets() const;
    std::string host_text() const;  // "192.0.2.1", "2001:db8::1"
    /// The same, written into `into`: once for each message, so an IPv4 address is quick.
    using HostText = std::array<char, INET6_ADDRSTRLEN>;
    std::string_view host_text(HostText& into) const;
    std::string text() const;  // "192.0.2.1:25", "[2001:db8::1]:25"
    bool operator==(const Address& other) const;

   private:
    union Storage {
        sockaddr_in6 v6;  // the larger one first: it is what {} clears
        sockaddr_in v4;
    };

    Storage storage_{};
};

}  // namespace postern::io

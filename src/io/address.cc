#include "postern/io/address.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>

namespace postern::io {

std::optional<Address> Address::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    // A port belongs to an IPv6 address only behind brackets: in "::1:25" it cannot be told.
    const bool bracketed = host.starts_with('[');
    if (!bracketed && host.find(':') != std::string_view::npos) {
        return std::nullopt;
    }
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
        return std::nullopt;
    }
    return parse(host, port);
}

std::optional<Address> Address::parse(std::string_view host, std::uint16_t port) {
    bool bracketed = false;
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
        bracketed = true;
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (host.size() >= text.size() || host.find('\0') != std::string_view::npos) {
        return std::nullopt;
    }
    std::memcpy(text.data(), host.data(), host.size());

    sockaddr_in v4{};
    if (!bracketed && inet_pton(AF_INET, text.data(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        return from(reinterpret_cast<const sockaddr*>(&v4));
    }
    sockaddr_in6 v6{};
    if (inet_pton(AF_INET6, text.data(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        return from(reinterpret_cast<const sockaddr*>(&v6));
    }
    return std::nullopt;
}

Address Address::from(const sockaddr* raw) {
    Address address;
    Storage& storage = address.storage_;
    if (raw->sa_family == AF_INET) {
        std::memcpy(&storage.v4, raw, sizeof storage.v4);
    } else if (raw->sa_family == AF_INET6) {
        std::memcpy(&storage.v6, raw, sizeof storage.v6);
        if (IN6_IS_ADDR_V4MAPPED(&storage.v6.sin6_addr)) {
            const sockaddr_in6 mapped = storage.v6;
            storage = {};
            storage.v4.sin_family = AF_INET;
            storage.v4.sin_port = mapped.sin6_port;
            std::memcpy(&storage.v4.sin_addr, &mapped.sin6_addr.s6_addr[12], 4);
        }
    }
    return address;
}

Address Address::from(const base::IpAddress& host, std::uint16_t port) {
    Address address;
    Storage& storage = address.storage_;
    if (host.is_v4()) {
        storage.v4.sin_family = AF_INET;
        storage.v4.sin_port = htons(port);
        std::memcpy(&storage.v4.sin_addr, host.octets.data(), host.size);
    } else {
        storage.v6.sin6_family = AF_INET6;
        storage.v6.sin6_port = htons(port);
        std::memcpy(&storage.v6.sin6_addr, host.octets.data(), host.size);
    }
    return address;
}

socklen_t Address::raw_size() const {
    return is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

std::uint16_t Address::port() const {
    return ntohs(is_v4() ? storage_.v4.sin_port : storage_.v6.sin6_port);
}

std::string_view Address::host_octets() const {
    if (is_v4()) {
        return {reinterpret_cast<const char*>(&storage_.v4.sin_addr), 4};
    }
    return {reinterpret_cast<const char*>(&storage_.v6.sin6_addr), 16};
}

std::string Address::host_text() const {
    HostText text;
    return std::string(host_text(text));
}

std::string_view Address::host_text(HostText& into) const {
    const std::string_view octets = host_octets();
    if (octets.size() != 4) {
        inet_ntop(AF_INET6, octets.data(), into.data(), INET6_ADDRSTRLEN);
        return into.data();
    }
    // By hand: each connection is named several times, and to_chars takes any number.
    char* at = into.data();
    for (const char octet : octets) {
        const unsigned value = static_cast<unsigned char>(octet);
        if (value >= 100) {
            *at++ = static_cast<char>('0' + value / 100);
        }
        if (value >= 10) {
            *at++ = static_cast<char>('0' + value / 10 % 10);
        }
        *at++ = static_cast<char>('0' + value % 10);
        *at++ = '.';
    }
    return {into.data(), static_cast<std::size_t>(at - into.data()) - 1};
}

std::string Address::text() const {
    const std::string host = host_text();
    return (is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port());
}

bool Address::operator==(const Address& other) const {
    return is_v4() == other.is_v4() && port() == other.port() &&
           host_octets() == other.host_octets();
}

}  // namespace postern::io

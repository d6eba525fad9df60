#include "postern/base/network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace postern::base {
namespace {

// RFC 4291, 2.5.5.2
constexpr std::string_view v4_mapped_prefix("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
constexpr unsigned v4_mapped_bits = 96;

bool has_bits_behind(const IpAddress& address, unsigned prefix) {
    for (unsigned bit = prefix; bit < address.size * 8U; ++bit) {
        if ((address.octets[bit / 8] & (0x80U >> (bit % 8))) != 0) {
            return true;
        }
    }
    return false;
}

IpAddress without_bits_behind(IpAddress address, unsigned prefix) {
    for (unsigned bit = prefix; bit < address.size * 8U; ++bit) {
        address.octets[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
    }
    return address;
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> terminated{};
    if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) {
        return std::nullopt;
    }
    std::memcpy(terminated.data(), text.data(), text.size());
    std::array<char, 16> octets{};
    if (inet_pton(AF_INET, terminated.data(), octets.data()) == 1) {
        return from({octets.data(), 4});
    }
    if (inet_pton(AF_INET6, terminated.data(), octets.data()) == 1) {
        return from({octets.data(), 16});
    }
    return std::nullopt;
}

IpAddress IpAddress::from(std::string_view octets) {
    POSTERN_ASSERT(octets.size() == 4 || octets.size() == 16, "an address has 4 or 16 octets");
    if (octets.size() == 16 && octets.starts_with(v4_mapped_prefix)) {
        octets.remove_prefix(v4_mapped_prefix.size());
    }
    IpAddress address;
    address.size = static_cast<std::uint8_t>(octets.size());
    std::memcpy(address.octets.data(), octets.data(), octets.size());
    return address;
}

std::string IpAddress::text() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(is_v4() ? AF_INET : AF_INET6, octets.data(), text.data(), text.size());
    return text.data();
}

Result<Network> Network::parse(std::string_view text) {
    const std::size_t slash = text.find('/');
    const std::string_view host = text.substr(0, slash);
    const auto address = IpAddress::parse(host);
    if (!address) {
        return Error{"'" + std::string(host) + "' is no IPv4 or IPv6 address"};
    }
    Network network{*address, static_cast<std::uint8_t>(address->size * 8)};
    if (slash == std::string_view::npos) {
        return network;
    }
    // A prefix counts the bits of the address as it was written: ::ffff:192.0.2.0/120 is
    // 192.0.2.0/24.
    const bool mapped = address->is_v4() && host.find(':') != std::string_view::npos;
    const unsigned bits_min = mapped ? v4_mapped_bits : 0;
    const unsigned bits_max = bits_min + address->size * 8U;
    const std::string_view digits = text.substr(slash + 1);
    unsigned prefix = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (error != std::errc{} || end != digits.data() + digits.size() || prefix < bits_min ||
        prefix > bits_max) {
        return Error{
            "'/" + std::string(digits) + "' is no prefix length from " + std::to_string(bits_min) +
            " to " + std::to_string(bits_max)};
    }
    network.prefix = static_cast<std::uint8_t>(prefix - bits_min);
    if (has_bits_behind(*address, network.prefix)) {
        return Error{
            "'" + std::string(text) + "' has bits set behind its prefix; the network is " +
            without_bits_behind(*address, network.prefix).text() + "/" +
            std::to_string(network.prefix)};
    }
    return network;
}

Networks::Networks(const std::vector<Network>& networks) {
    for (const Network& network : networks) {
        (network.address.is_v4() ? v4_ : v6_).push_back(range(network));
    }
    merge(v4_);
    merge(v6_);
}

bool Networks::holds(const std::vector<Range>& ranges, const IpAddress& address) {
    const Number wanted = number(address);
    const auto behind = std::upper_bound(
        ranges.begin(), ranges.end(), wanted, [](Number value, const Range& range) {
            return value < range.first;
        });
    return behind != ranges.begin() && wanted <= std::prev(behind)->last;
}

bool Networks::contains(const Network& network) const {
    const Range wanted = range(network);
    const std::vector<Range>& ranges = network.address.is_v4() ? v4_ : v6_;
    return std::any_of(ranges.begin(), ranges.end(), [&](const Range& each) {
        return each.first <= wanted.first && wanted.last <= each.last;
    });
}

bool Networks::meets(const Networks& other) const {
    return meet(v4_, other.v4_) || meet(v6_, other.v6_);
}

bool Networks::meet(const std::vector<Range>& some, const std::vector<Range>& others) {
    return std::any_of(some.begin(), some.end(), [&](const Range& a) {
        return std::any_of(others.begin(), others.end(), [&](const Range& b) {
            return a.first <= b.last && b.first <= a.last;
        });
    });
}

Networks::Range Networks::range(const Network& network) {
    const unsigned host_bits = network.address.size * 8U - network.prefix;
    const Number first = number(network.address);
    // In two shifts, because a shift by the whole width is undefined.
    const Number hosts = host_bits == 0 ? 0 : ((((Number{1} << (host_bits - 1)) - 1) << 1) | 1);
    return {first, first | hosts};
}

Networks::Number Networks::number(const IpAddress& address) {
    Number value = 0;
    for (std::size_t i = 0; i < address.size; ++i) {
        value = (value << 8) | address.octets[i];
    }
    return value;
}

void Networks::merge(std::vector<Range>& ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
        return a.first < b.first;
    });
    std::size_t kept = 0;
    for (const Range& range : ranges) {
        Range* const before = kept == 0 ? nullptr : &ranges[kept - 1];
        if (before != nullptr && (range.first <= before->last || range.first == before->last + 1)) {
            before->last = std::max(before->last, range.last);
        } else {
            ranges[kept++] = range;
        }
    }
    ranges.resize(kept);
}

}  // namespace postern::base

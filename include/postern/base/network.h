#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/result.h"

/// IP addresses and networks as values: what configuration lists and clients are held against.
/// Pure; any thread.
namespace postern::base {

/// An IPv4 or IPv6 address without a port. An IPv4-mapped IPv6 address (::ffff:192.0.2.1) is an
/// IPv4 one.
struct IpAddress {
    std::array<std::uint8_t, 16> octets{};  // network order; the first `size` count
    std::uint8_t size = 4;                  // 4 or 16

    /// "192.0.2.1", "2001:db8::1": no brackets, port or zone.
    static std::optional<IpAddress> parse(std::string_view text);
    /// From 4 or 16 octets in network order. REQUIRES: one of these sizes.
    static IpAddress from(std::string_view octets);

    bool is_v4() const { return size == 4; }

    std::string text() const;
    bool operator==(const IpAddress&) const = default;
};

/// All addresses whose first `prefix` bits are those of `address`.
struct Network {
    IpAddress address;
    std::uint8_t prefix = 0;

    /// "192.0.2.0/24", "2001:db8::/32", or a single address. The error says what is wrong; bits set
    /// behind the prefix are one, because either the address or the prefix is then not what was
    /// meant.
    static Result<Network> parse(std::string_view text);

    bool operator==(const Network&) const = default;
};

/// A set of networks: merged and sorted once, then looked up in O(log n) without allocation.
/// Immutable.
class Networks {
   public:
    Networks() = default;
    explicit Networks(const std::vector<Network>& networks);

    bool contains(const IpAddress& address) const {
        const std::vector<Range>& ranges = address.is_v4() ? v4_ : v6_;
        return !ranges.empty() && holds(ranges, address);  // most sets are empty
    }

    /// All of its addresses.
    bool contains(const Network& network) const;
    /// One of its addresses at least.
    bool meets(const Networks& other) const;

    bool empty() const { return v4_.empty() && v6_.empty(); }

    bool operator==(const Networks&) const = default;

   private:
    __extension__ using Number = unsigned __int128;

    struct Range {
        Number first;
        Number last;
        bool operator==(const Range&) const = default;
    };

    static bool holds(const std::vector<Range>& ranges, const IpAddress& address);
    static Number number(const IpAddress& address);
    static Range range(const Network& network);
    static bool meet(const std::vector<Range>& some, const std::vector<Range>& others);
    static void merge(std::vector<Range>& ranges);

    // Law: ranges of one vector are sorted, and neither overlap nor touch.
    std::vector<Range> v4_;
    std::vector<Range> v6_;
};

}  // namespace postern::base

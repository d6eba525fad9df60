#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "postern/base/network.h"

/// What is asked of the DNS, and what it says. Plain values; pure; any thread.
namespace postern::names {

/// The addresses of a host, or the hosts that take a domain's mail.
struct Question {
    enum class Kind : std::uint8_t { address, mx };

    Kind kind = Kind::address;
    std::string name;  // A-labels in lower case, no final dot

    auto operator<=>(const Question&) const = default;
};

/// A host that takes mail.
struct Host {
    std::uint16_t preference = 0;  // the lower one is tried first; 0 where no MX record says it
    std::string name;
    std::vector<base::IpAddress> addresses;  // IPv4 first, ascending; none: it has none now

    bool operator==(const Host&) const = default;
};

struct Answer {
    enum class Kind : std::uint8_t {
        hosts,         // at least one of `hosts` has an address
        null_mx,       // the domain takes no mail (RFC 7505)
        no_such_name,  // the DNS says so
        no_addresses,  // the name exists; neither it nor a host that its MX records name has an
                       // address
        failed,        // the DNS gave no answer, or none for an hour behind the last one's end
        ourselves,     // only we are left (`without_ourselves`)
    };

    Kind kind = Kind::failed;
    std::vector<Host> hosts;  // by preference, then name; those of MX records without addresses too
    std::string trouble;      // what the latest question failed of; with kind `hosts`, these are
                              // the last good ones. Empty: nothing failed.

    bool operator==(const Answer&) const = default;
};

/// One line for the log and for people: "no such name", "192.0.2.1, 2001:db8::1".
std::string describe(const Answer& answer);

/// Who we are to those who look for us by MX records.
struct Ourselves {
    struct Listener {
        base::IpAddress address;
        std::uint16_t port = 0;
    };

    std::string hostname;  // as Question::name
    std::vector<Listener> listeners;
};

/// What remains of an MX answer when mail must not come back (RFC 5321, 5.1): the hosts that are
/// ourselves, and those of equal or worse preference, are left out; and then hosts without an
/// address. `port`: the one that the hosts are connected to. A host is ourselves when we listen
/// on that port and it has our hostname (whatever addresses others know for it) or an address
/// that we listen on.
Answer without_ourselves(const Answer& answer, std::uint16_t port, const Ourselves& ourselves);

}  // namespace postern::names

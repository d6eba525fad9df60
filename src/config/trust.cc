#include "trust.h"

#include <algorithm>
#include <initializer_list>

namespace postern::config {
namespace {

base::Networks networks_of(std::initializer_list<std::string_view> texts) {
    std::vector<base::Network> networks;
    for (const std::string_view text : texts) {
        networks.push_back(*base::Network::parse(text));
    }
    return base::Networks(networks);
}

/// All addresses that the Internet uses, of one family.
bool holds_internet(const base::Networks& networks) {
    return networks.contains(*base::Network::parse("0.0.0.0/0")) ||
           networks.contains(*base::Network::parse("2000::/3"));
}

/// That the Internet does not route here: loopback, private and link-local ones (RFC 6890).
bool is_internal(const std::string& address) {
    static const base::Networks internal = networks_of(
        {"127.0.0.0/8",
         "10.0.0.0/8",
         "172.16.0.0/12",
         "192.168.0.0/16",
         "169.254.0.0/16",
         "100.64.0.0/10",
         "::1",
         "fc00::/7",
         "fe80::/10"});
    const auto ip = base::IpAddress::parse(address);
    return ip && internal.contains(*ip);
}

}  // namespace

void check_relay(
    const Relay& relay,
    const std::string& where,
    bool open_relay_allowed,
    Place place,
    Findings& findings) {
    if (!open_relay_allowed && holds_internet(relay.networks)) {
        findings.error(
            place,
            where +
                ".networks holds the whole Internet, which is an open relay: anyone may use "
                "restricted rules; allowed: your own networks, or relay.allow_open_relay = true");
    }
}

void check_listener_trust(const Listener& listener, Place place, Findings& findings) {
    static const base::Networks loopback = networks_of({"127.0.0.0/8", "::1"});
    const base::Networks& trusted = listener.relay.networks;
    const std::string name = "listener " + in_quotes(listener.name);
    if (listener.trusted && !is_internal(listener.address.host)) {
        findings.warn(
            place,
            name +
                ": trusted = true makes it an open relay for all who can connect to it; is it "
                "certain that a firewall keeps the Internet away?");
    }

    const struct {
        const base::Networks& networks;
        std::string_view key;
    } told_by[] = {
        {listener.proxy_networks, "proxy_networks"},
        {listener.xclient_networks, "xclient_networks"},
    };

    for (const auto& [networks, key] : told_by) {
        const std::string of_key = name + ": " + std::string(key);
        if (networks.empty()) {
            continue;
        }
        if (trusted.meets(loopback)) {
            findings.warn(
                place,
                of_key +
                    " is set and relay.networks holds loopback addresses: a sender that comes to "
                    "the proxy from the proxy's own host (a tunnel, a container) is then trusted "
                    "here; leave 127.0.0.0/8 and ::1 out");
        }
        if (trusted.meets(networks)) {
            findings.warn(
                place,
                of_key +
                    " and relay.networks meet: whatever comes from the proxy itself is trusted; "
                    "leave the proxies out of relay.networks");
        }
        if (holds_internet(networks)) {
            findings.warn(
                place,
                of_key +
                    " holds the whole Internet: anyone may say to be any client, one that "
                    "relay.networks trusts too");
        }
    }
    if (holds_internet(listener.xforward_networks)) {
        findings.warn(
            place,
            name +
                ": xforward_networks holds the whole Internet: anyone may say, to the log and to "
                "pools with xforward, to be any client");
    }
    const auto hides = [&listener](std::string_view keyword) {
        const auto& hidden = listener.ehlo_hide;
        return std::find(hidden.begin(), hidden.end(), keyword) != hidden.end();
    };
    if (listener.auth_file.empty()) {
        return;
    }
    if (listener.tls == ListenerTls::none) {
        findings.warn(
            place, name + ": auth_file is of no use without TLS: nobody can say AUTH here");
    } else if (hides("AUTH")) {
        findings.warn(
            place, name + ": auth_file is of no use while ehlo_hide has AUTH: nobody can say it");
    } else if (listener.tls == ListenerTls::starttls && hides("STARTTLS")) {
        findings.warn(
            place,
            name +
                ": auth_file is of no use while ehlo_hide has STARTTLS: nobody can say AUTH here");
    }
}

}  // namespace postern::config

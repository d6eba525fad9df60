#include "explained.h"

#include <strings.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace postern::app {
namespace {

bool is_postmaster(std::string_view address) {
    return address.size() == 10 && strncasecmp(address.data(), "postmaster", 10) == 0;
}

}  // namespace

base::Result<std::vector<route::Explanation>> explain(
    const shard::Snapshot& snapshot,
    const std::vector<std::string>& addresses,
    const std::string& from) {
    std::optional<route::From> client;
    if (!from.empty()) {
        const auto address = base::IpAddress::parse(from);
        if (!address) {
            return base::Error{
                fmt::format("--from {} is no IP address; allowed: 192.0.2.1 or 2001:db8::1", from)};
        }
        // A client may come by any listener: it is trusted where every one trusts it.
        const auto& listeners = snapshot.config.listeners;
        client = {
            address->text(),
            std::all_of(listeners.begin(), listeners.end(), [&](const config::Listener& listener) {
                return !listener.relay.deny.contains(*address) &&
                       (listener.trusted || listener.relay.networks.contains(*address));
            })};
    }
    std::vector<route::Explanation> explanations;
    for (const std::string& address : addresses) {
        if (address.find('@') == std::string::npos && !is_postmaster(address)) {
            return base::Error{
                fmt::format("'{}' is no address; allowed: user@domain, or postmaster", address)};
        }
        explanations.push_back(
            route::explain(*snapshot.table, snapshot.relaying.front(), address, client));
    }
    return explanations;
}

std::string pool_of(const route::Explanation& explanation, const route::Table& table) {
    if (!explanation.match.found()) {
        return {};
    }
    const route::Target& target = table.targets()[table.action(explanation.match.action).target];
    switch (target.kind) {
        case route::TargetKind::pool:
        case route::TargetKind::address:
            return target.text;
        case route::TargetKind::reject:
        case route::TargetKind::defer:
            break;
    }
    return {};
}

}  // namespace postern::app

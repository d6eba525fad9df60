#include <strings.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>

#include "commands.h"
#include "load.h"
#include "postern/route/explain.h"

namespace postern::app {
namespace {

bool is_postmaster(std::string_view address) {
    return address.size() == 10 && strncasecmp(address.data(), "postmaster", 10) == 0;
}

}  // namespace

int route(const std::string& config_file, const RouteOptions& options) {
    for (const std::string& address : options.addresses) {
        if (address.find('@') == std::string::npos && !is_postmaster(address)) {
            fmt::print(
                stderr,
                "postern: '{}' is no address; allowed: user@domain, or postmaster\n",
                address);
            return 2;
        }
    }
    const Loaded loaded = load(config_file, 1);
    for (const std::string& line : loaded.errors) {
        fmt::print(stderr, "{}\n", line);
    }
    if (!loaded.snapshot) {
        return 1;
    }
    const shard::Snapshot& snapshot = *loaded.snapshot;
    std::optional<route::From> from;
    if (!options.from.empty()) {
        const auto address = base::IpAddress::parse(options.from);
        if (!address) {
            fmt::print(
                stderr,
                "postern: --from {} is no IP address; allowed: 192.0.2.1 or 2001:db8::1\n",
                options.from);
            return 2;
        }
        // A client may come by any listener: it is trusted where every one trusts it.
        const auto& listeners = snapshot.config.listeners;
        from = {
            address->text(),
            std::all_of(listeners.begin(), listeners.end(), [&](const config::Listener& listener) {
                return !listener.relay.deny.contains(*address) &&
                       (listener.trusted || listener.relay.networks.contains(*address));
            })};
    }
    const std::vector<route::PoolHosts> pools = pool_hosts(snapshot.config);
    std::vector<std::string> objects;
    for (const std::string& address : options.addresses) {
        const route::Explanation explanation =
            route::explain(*snapshot.table, snapshot.relaying.front(), address, from);
        if (options.json) {
            objects.push_back(route::to_json(explanation, *snapshot.table, pools));
        } else {
            fmt::print("{}", route::to_text(explanation, *snapshot.table, pools));
        }
    }
    if (options.json) {
        fmt::print("[{}]\n", fmt::join(objects, ",\n "));
    }
    return 0;
}

}  // namespace postern::app

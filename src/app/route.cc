#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "commands.h"
#include "load.h"
#include "postern/route/explain.h"
#include "postern/smtp/path.h"

namespace postern::app {
namespace {

/// `text` as RCPT would read it: a source route and a trailing dot are dropped. nullopt: it is no
/// address. One that no domain can have comes back as it is, for the explanation to say so.
std::optional<std::string> recipient_of(const std::string& text) {
    const bool bracketed = text.starts_with('<') && text.ends_with('>');
    const std::string path_text = bracketed ? text : "<" + text + ">";
    smtp::Path path;
    smtp::PathError error = smtp::PathError::none;
    const std::size_t taken = smtp::parse_path(path_text, smtp::PathKind::forward, path, error);
    if (taken == path_text.size()) {
        return std::string(path.address);
    }
    if (error == smtp::PathError::domain || error == smtp::PathError::too_long) {
        return bracketed ? text.substr(1, text.size() - 2) : text;
    }
    return std::nullopt;
}

}  // namespace

int route(const std::string& config_file, const RouteOptions& options) {
    std::vector<std::string> addresses;
    for (const std::string& text : options.addresses) {
        std::optional<std::string> address = recipient_of(text);
        if (!address) {
            fmt::print(
                stderr, "postern: '{}' is no address; allowed: user@domain, or postmaster\n", text);
            return 2;
        }
        addresses.push_back(std::move(*address));
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
    for (const std::string& address : addresses) {
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

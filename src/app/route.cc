#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "ask.h"
#include "commands.h"
#include "explained.h"
#include "load.h"
#include "say.h"

namespace postern::app {
namespace {

/// Those that are addresses. `code` becomes `wrong` where some are none, and each of them is named.
std::vector<std::string> addresses_of(const RouteOptions& options, int wrong, int& code) {
    std::vector<std::string> addresses = options.addresses;
    for (const std::string& sentence : take_out_wrong(addresses)) {
        code = complain(wrong, sentence);
    }
    return addresses;
}

int route_live(const std::string& config_file, const RouteOptions& options) {
    const base::Result<config::Admin> admin = admin_of(options.admin, config_file);
    if (!admin) {
        return complain(2, admin.error().text);
    }
    std::string target =
        fmt::format("/route?json={}&from={}", options.json ? 1 : 0, escape_query(options.from));
    int code = 0;
    const std::vector<std::string> addresses = addresses_of(options, 1, code);
    if (addresses.empty()) {
        return code;
    }
    for (const std::string& address : addresses) {
        target += "&address=" + escape_query(address);
    }
    return std::max(code, print_reply(*admin, ask(*admin, "GET", target)));
}

}  // namespace

int route(const std::string& config_file, const RouteOptions& options) {
    if (options.live) {
        return route_live(config_file, options);
    }
    const Loaded loaded = load(config_file, 1);
    for (const std::string& line : loaded.errors) {
        say(stderr, "{}\n", line);
    }
    if (!loaded.snapshot) {
        return 1;
    }
    const shard::Snapshot& snapshot = *loaded.snapshot;
    int code = 0;
    const std::vector<std::string> addresses = addresses_of(options, 2, code);
    if (addresses.empty()) {
        return code;
    }
    const auto explanations = explain(snapshot, addresses, options.from);
    if (!explanations) {
        return complain(2, explanations.error().text);
    }
    const std::vector<route::PoolHosts> pools = pool_hosts(snapshot.config);
    std::vector<std::string> objects;
    for (const route::Explanation& explanation : *explanations) {
        if (options.json) {
            objects.push_back(route::to_json(explanation, *snapshot.table, pools));
        } else {
            say(stdout, "{}", route::to_text(explanation, *snapshot.table, pools));
        }
    }
    if (options.json) {
        say(stdout, "[{}]\n", fmt::join(objects, ",\n "));
    }
    return code;
}

}  // namespace postern::app

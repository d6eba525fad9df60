#include <cstdio>

#include <fmt/format.h>

#include "ask.h"
#include "commands.h"
#include "explained.h"
#include "load.h"
#include "say.h"

namespace postern::app {
namespace {

int route_live(const std::string& config_file, const RouteOptions& options) {
    const base::Result<config::Admin> admin = admin_of(options.admin, config_file);
    if (!admin) {
        return complain(2, admin.error().text);
    }
    std::string target =
        fmt::format("/route?json={}&from={}", options.json ? 1 : 0, escape_query(options.from));
    for (const std::string& address : options.addresses) {
        target += "&address=" + escape_query(address);
    }
    return print_reply(*admin, ask(*admin, "GET", target));
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
    const auto explanations = explain(snapshot, options.addresses, options.from);
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
    return 0;
}

}  // namespace postern::app

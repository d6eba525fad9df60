#pragma once

#include <memory>
#include <string>
#include <vector>

#include "postern/config/parse.h"
#include "postern/io/random.h"
#include "postern/route/rules.h"
#include "postern/shard/common.h"
#include "postern/shard/snapshot.h"

/// Snapshots as the control thread makes them, without its files.
namespace postern::shard::test {

inline std::string pool(const std::string& name, int port, const std::string& more = "") {
    return "[pool." + name + "]\nhosts = [\"127.0.0.1:" + std::to_string(port) + "\"]\n" + more;
}

inline const tls::Library& tls_library() {
    static const tls::Library one;
    return one;
}

/// Not numbered yet.
inline std::unique_ptr<Snapshot> snapshot_of(
    std::uint64_t generation,
    const std::string& configuration,
    const std::string& rules,
    const std::vector<int>& ports = {2500}) {
    std::string text = "hostname = \"gw.test\"\n";
    for (const int port : ports) {
        text += "[[listener]]\naddress = \"127.0.0.1:" + std::to_string(port) + "\"\n";
    }
    text += "[rules]\nfiles = [\"a.rules\"]\n" + configuration;
    config::Parsed parsed = config::parse(text, "/a/p.toml", "gw.test");
    POSTERN_ASSERT(parsed.config.has_value(), "a test's configuration is one");
    auto snapshot = std::make_unique<Snapshot>();
    snapshot->generation = generation;
    snapshot->config = std::move(*parsed.config);
    route::RuleSettings settings;
    for (const config::Pool& each : snapshot->config.pools) {
        settings.pools.push_back(each.name);
    }
    const route::Source source{"a.rules", rules};
    route::Secrets secrets;
    io::Random random(generation);
    for (auto& number : secrets.numbers) {
        for (std::uint64_t& word : number) {
            word = random.next();
        }
    }
    route::Loaded loaded = route::load({&source, 1}, settings, secrets);
    POSTERN_ASSERT(loaded.table != nullptr, "a test's rules are some");
    snapshot->table = std::move(loaded.table);
    make_pools(*snapshot);
    PoolContexts contexts;
    for (const config::Pool& each : snapshot->config.pools) {
        contexts.push_back(*client_context_of(each, tls_library()));
    }
    contexts.push_back(*client_context_of(snapshot->config.host_pool, tls_library()));
    set_pool_tls(*snapshot, contexts);
    snapshot->relaying.resize(ports.size());
    snapshot->passwords.resize(ports.size());
    return snapshot;
}

}  // namespace postern::shard::test

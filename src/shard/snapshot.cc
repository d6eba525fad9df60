#include "postern/shard/snapshot.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <unordered_map>

#include "postern/shard/common.h"

namespace postern::shard {
namespace {

relay::HostSettings host_of(const config::Endpoint& host, std::uint32_t level) {
    relay::HostSettings settings;
    if (host.is_address) {
        settings.address = *io::Address::parse(host.host, host.port);
    } else {
        settings.name = host.host;
        settings.port = host.port;
    }
    settings.level = level;
    return settings;
}

relay::HostSettings host_of(const route::Target& target) {
    relay::HostSettings settings;
    if (target.kind == route::TargetKind::address) {
        settings.address = *io::Address::parse(target.text);
    } else {
        const std::size_t colon = target.text.rfind(':');
        settings.name = target.text.substr(0, colon);
        std::from_chars(
            target.text.data() + colon + 1, target.text.data() + target.text.size(), settings.port);
        settings.mx = target.kind == route::TargetKind::mx;
    }
    return settings;
}

relay::Tls tls_of(config::PoolTls tls) {
    switch (tls) {
        case config::PoolTls::none:
            return relay::Tls::none;
        case config::PoolTls::opportunistic:
            return relay::Tls::opportunistic;
        case config::PoolTls::required:
            return relay::Tls::required;
        case config::PoolTls::verify:
            break;
    }
    return relay::Tls::verify;
}

relay::PoolSettings settings_of(const config::Pool& pool, const std::string& hostname) {
    relay::PoolSettings settings;
    settings.name = pool.name;
    for (const config::Endpoint& host : pool.hosts) {
        settings.hosts.push_back(host_of(host, 0));
    }
    for (std::uint32_t level = 0; const config::Endpoint& host : pool.backup) {
        settings.hosts.push_back(host_of(host, ++level));
    }
    settings.helo = pool.helo.empty() ? hostname : pool.helo;
    settings.connections_max = pool.connections;
    settings.pipeline_max = pool.pipeline;
    settings.recipients_max = pool.recipients_max;
    settings.send_8bit = pool.send_8bit;
    settings.ehlo_ignore = pool.ehlo_ignore;
    settings.tls = tls_of(pool.tls);
    settings.tls_name = pool.tls_name;
    settings.tls_files = pool.tls_files;
    settings.auth_user = pool.auth_user;
    settings.auth_password = pool.auth_password;
    settings.xforward = pool.xforward;
    for (const std::string& address : pool.source) {
        settings.source.push_back(*io::Address::parse(address, 0));
    }
    settings.max_age = pool.max_age;
    settings.idle = pool.idle;
    return settings;
}

}  // namespace

std::string pool_name_of(const route::Target& target) {
    switch (target.kind) {
        case route::TargetKind::pool:
        case route::TargetKind::address:
        case route::TargetKind::host:
            return target.text;
        case route::TargetKind::mx:
            return "mx:" + target.text;
        case route::TargetKind::reject:
        case route::TargetKind::defer:
            break;
    }
    return {};
}

void make_pools(Snapshot& snapshot) {
    const config::Config& config = snapshot.config;
    const auto add_named = [&](const std::string& name) {
        const auto pool =
            std::find_if(config.pools.begin(), config.pools.end(), [&](const config::Pool& p) {
                return p.name == name;
            });
        POSTERN_ASSERT(pool != config.pools.end(), "a pool that is named exists: that was checked");
        snapshot.pools.push_back(settings_of(*pool, config.hostname));
        snapshot.pool_configs.push_back(static_cast<std::uint32_t>(pool - config.pools.begin()));
    };
    for (const route::Target& target : snapshot.table->targets()) {
        switch (target.kind) {
            case route::TargetKind::pool:
                add_named(target.text);
                break;
            case route::TargetKind::address:
            case route::TargetKind::host:
            case route::TargetKind::mx: {
                relay::PoolSettings settings = settings_of(config.host_pool, config.hostname);
                settings.name = pool_name_of(target);
                settings.by_rule = true;
                settings.hosts.push_back(host_of(target));
                snapshot.pools.push_back(std::move(settings));
                snapshot.pool_configs.push_back(route::none);
                break;
            }
            case route::TargetKind::reject:
            case route::TargetKind::defer:
                snapshot.pools.emplace_back();
                snapshot.pool_configs.push_back(route::none);
                break;
        }
    }
    const std::string& notify_pool = config::delivery_key(config, &config::Delivery::notify_pool);
    const bool is_there = std::any_of(
        snapshot.pools.begin(), snapshot.pools.end(), [&](const relay::PoolSettings& pool) {
            return !pool.by_rule && pool.name == notify_pool;
        });
    if (!notify_pool.empty() && !is_there) {
        add_named(notify_pool);
    }
}

void identify_pools(Snapshot& snapshot, const Snapshot* before, std::uint64_t& next_identity) {
    std::unordered_map<std::string_view, std::size_t> known;  // by name, which is part of it
    for (std::size_t i = 0; before != nullptr && i < before->pools.size(); ++i) {
        known.emplace(before->pools[i].name, i);
    }
    for (const relay::PoolSettings& pool : snapshot.pools) {
        const auto same = known.find(pool.name);
        const bool unchanged = same != known.end() && before->pools[same->second] == pool;
        snapshot.pool_identities.push_back(
            unchanged ? before->pool_identities[same->second] : next_identity++);
    }
}

void number_listeners(Snapshot& snapshot, const Snapshot* before, Common& common) {
    if (before != nullptr) {
        snapshot.listeners = before->listeners;
        for (ListenerState& listener : snapshot.listeners) {
            listener.open = false;
        }
    }
    for (std::size_t i = 0; i < snapshot.config.listeners.size(); ++i) {
        const config::Listener& listener = snapshot.config.listeners[i];
        auto place = std::find_if(
            snapshot.listeners.begin(), snapshot.listeners.end(), [&](const ListenerState& known) {
                return known.config.address == listener.address;
            });
        if (place == snapshot.listeners.end()) {
            place = snapshot.listeners.emplace(snapshot.listeners.end());
            place->connections = &common.listeners.emplace_back();
        }
        place->config = listener;
        place->relaying = snapshot.relaying[i];
        place->passwords = snapshot.passwords[i];
        place->open = true;
    }
}

}  // namespace postern::shard

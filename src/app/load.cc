#include "load.h"

#include <ifaddrs.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "postern/config/parse.h"
#include "postern/io/entropy.h"
#include "postern/mail/domain.h"
#include "postern/route/decide.h"
#include "postern/route/rules.h"

namespace postern::app {
namespace {

/// Of one rules file: some thirty million rules.
constexpr std::size_t rules_octets_max = std::size_t{1} << 30;

std::string system_hostname() {
    char name[256] = {};
    return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

void add_interface_addresses(std::vector<io::Address>& addresses, const io::Address& wildcard) {
    ifaddrs* first = nullptr;
    if (getifaddrs(&first) != 0) {
        return;
    }
    const int family = wildcard.raw()->sa_family;
    for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr != nullptr && i->ifa_addr->sa_family == family) {
            const io::Address found = io::Address::from(i->ifa_addr);
            addresses.push_back(*io::Address::parse(found.host_text(), wildcard.port()));
        }
    }
    freeifaddrs(first);
}

std::vector<io::Address> listening_addresses(const config::Config& config) {
    std::vector<io::Address> addresses;
    for (const config::Listener& listener : config.listeners) {
        const auto address = io::Address::parse(listener.address.host, listener.address.port);
        if (!address) {
            continue;
        }
        const std::string host = address->host_text();
        if (host == "0.0.0.0" || host == "::") {
            add_interface_addresses(addresses, *address);
        } else {
            addresses.push_back(*address);
        }
    }
    return addresses;
}

std::string key_of(std::string_view domain) {
    mail::DomainKey key;
    return mail::make_domain_key(domain, key) ? std::string(key.view()) : std::string();
}

std::vector<route::RelaySettings> relaying_of(
    const config::Config& config, const std::vector<io::Address>& listening) {
    std::vector<std::string> own{key_of(config.hostname)};
    for (const io::Address& address : listening) {
        own.push_back(key_of(
            address.is_v4() ? fmt::format("[{}]", address.host_text())
                            : fmt::format("[IPv6:{}]", address.host_text())));
    }
    std::vector<route::RelaySettings> all;
    for (const config::Listener& listener : config.listeners) {
        route::RelaySettings settings;
        settings.soft_reject = listener.relay.soft_reject;
        settings.routed_local_parts = listener.relay.routed_local_parts;
        settings.own_keys = own;
        settings.postmaster = listener.delivery.postmaster;
        const auto at = settings.postmaster.rfind('@');
        settings.postmaster_key =
            at == std::string::npos ? std::string() : key_of(settings.postmaster.substr(at + 1));
        all.push_back(std::move(settings));
    }
    return all;
}

names::Ourselves ourselves_of(
    const config::Config& config, const std::vector<io::Address>& listening) {
    names::Ourselves ourselves{key_of(config.hostname), {}};
    for (const io::Address& address : listening) {
        ourselves.listeners.push_back(
            {base::IpAddress::from(address.host_octets()), address.port()});
    }
    return ourselves;
}

/// A postmaster's address that no rule takes leaves <postmaster> refused, which RFC 5321, section
/// 4.5.1, does not allow.
void warn_of_postmasters(
    std::vector<std::string>& warnings,
    const std::string& file,
    const std::vector<route::RelaySettings>& relaying,
    const route::Table& table) {
    std::vector<std::string> told;
    for (const route::RelaySettings& settings : relaying) {
        const std::string& address = settings.postmaster;
        if (address.empty() || std::find(told.begin(), told.end(), address) != told.end()) {
            continue;
        }
        told.push_back(address);
        route::DecisionText text;
        const route::Decision decision =
            route::decide(table, settings, {"postmaster", "postmaster", {}}, false, text);
        if (!decision.accepted()) {
            warnings.push_back(fmt::format(
                "{}:1:1: delivery.postmaster: no rule takes {}, so <postmaster> is refused with {} "
                "{}; a rule such as {}  POOL takes it",
                file,
                address,
                decision.reply.code,
                decision.reply.text,
                address));
        }
    }
}

}  // namespace

std::uint32_t worker_count(const config::Config& config) {
    if (config.workers != 0) {
        return config.workers;
    }
    cpu_set_t cores;
    CPU_ZERO(&cores);
    return sched_getaffinity(0, sizeof cores, &cores) == 0
               ? static_cast<std::uint32_t>(CPU_COUNT(&cores))
               : 1;
}

std::vector<std::string> own_addresses(const config::Config& config) {
    std::vector<std::string> texts;
    for (const io::Address& address : listening_addresses(config)) {
        texts.push_back(address.text());
    }
    return texts;
}

std::vector<route::PoolHosts> pool_hosts(const config::Config& config) {
    std::vector<route::PoolHosts> pools;
    for (const config::Pool& pool : config.pools) {
        pools.push_back({pool.name, {}});
        for (const auto* hosts : {&pool.hosts, &pool.backup}) {
            for (const config::Endpoint& host : *hosts) {
                pools.back().hosts.push_back(
                    host.is_address ? io::Address::parse(host.host, host.port)->text()
                                    : fmt::format("{}:{}", host.host, host.port));
            }
        }
    }
    return pools;
}

Loaded load(const std::string& file, std::uint64_t generation) {
    Loaded loaded;
    config::Parsed parsed = config::load(file, system_hostname());
    for (const config::Problem& problem : parsed.warnings) {
        loaded.warnings.push_back(problem.format());
    }
    for (const config::Problem& problem : parsed.errors) {
        loaded.errors.push_back(problem.format());
    }
    if (!parsed.config && !parsed.flawed) {
        return loaded;
    }
    config::Config& config = parsed.config ? *parsed.config : *parsed.flawed;

    std::vector<std::string> names;
    std::vector<std::string> texts;
    for (const auto& path : config.rules.files) {
        base::Result<std::string> text = config::read_file(path, rules_octets_max);
        if (text) {
            names.push_back(path);
            texts.push_back(std::move(*text));
        } else {
            loaded.errors.push_back(
                fmt::format("{}:1:1: cannot be read: {}", path.native(), text.error().text));
        }
    }
    if (names.empty()) {  // each that is not there is an error already
        return loaded;
    }
    std::vector<route::Source> sources;
    for (std::size_t i = 0; i < names.size(); ++i) {
        sources.push_back({names[i], texts[i]});
    }
    route::RuleSettings settings;
    for (const config::Pool& pool : config.pools) {
        settings.pools.push_back(pool.name);
    }
    settings.allow_open_relay = config.relay.allow_open_relay;
    settings.recipient_delimiter = config.rules.recipient_delimiter;
    route::Secrets secrets;
    io::fill_with_entropy(std::as_writable_bytes(std::span(secrets.numbers)));
    route::Loaded rules = route::load(sources, settings, secrets);
    loaded.errors.insert(loaded.errors.end(), rules.errors.begin(), rules.errors.end());
    if (!loaded.errors.empty()) {
        return loaded;
    }
    if (rules.table->rule_count() == 0) {
        loaded.errors.push_back(fmt::format(
            "{}:1:1: the files of rules.files hold no rule; at least one is needed", file));
        return loaded;
    }
    const std::vector<io::Address> listening = listening_addresses(config);
    std::vector<route::RelaySettings> relaying = relaying_of(config, listening);
    warn_of_postmasters(loaded.warnings, file, relaying, *rules.table);
    auto snapshot = std::make_unique<shard::Snapshot>();
    snapshot->generation = generation;
    snapshot->pools = shard::pools_of(config, *rules.table);
    snapshot->relaying = std::move(relaying);
    snapshot->ourselves = ourselves_of(config, listening);
    snapshot->table = std::move(rules.table);
    snapshot->config = std::move(config);
    loaded.snapshot = std::move(snapshot);
    return loaded;
}

}  // namespace postern::app

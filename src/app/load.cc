#include "load.h"

#include <ifaddrs.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "certificates.h"
#include "named_file.h"
#include "pool_files.h"
#include "postern/base/assert.h"
#include "postern/config/parse.h"
#include "postern/io/clock.h"
#include "postern/io/entropy.h"
#include "postern/mail/domain.h"
#include "postern/route/decide.h"
#include "postern/route/rules.h"

namespace postern::app {
namespace {

/// Of one file of rules or recipients: some thirty million lines.
constexpr std::size_t file_octets_max = std::size_t{1} << 30;

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
        if (decision.unlisted) {
            warnings.push_back(fmt::format(
                "{}:1:1: delivery.postmaster: the recipients_files of its pool do not have {}, so "
                "<postmaster> is refused with {} {}",
                file,
                address,
                decision.reply.code,
                decision.reply.text));
        } else if (!decision.accepted()) {
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

/// Where nothing says what takes notifications to senders that no rule is for (product.md, section
/// 2).
void warn_of_notifications(
    std::vector<std::string>& warnings,
    const std::string& file,
    const config::Config& config,
    const route::Table& table) {
    const route::Match& everything = table.everything();
    const bool has_way =
        everything.found() &&
        !shard::pool_name_of(table.targets()[table.action(everything.action).target]).empty();
    const auto has = [&config](std::string config::Delivery::*key) {
        return !config::delivery_key(config, key).empty();
    };
    if (!has_way && !has(&config::Delivery::notify_pool) && !has(&config::Delivery::postmaster)) {
        warnings.push_back(fmt::format(
            "{}:1:1: delivery.notify_pool: neither this nor delivery.postmaster is set, and no "
            "rule for '*' names a pool: notifications to senders whose domain no rule matches end "
            "in the spool's folder of dead letters",
            file));
    }
}

/// Files that were read. What can not be is an error.
class Texts {
   public:
    Texts(const std::vector<std::filesystem::path>& paths, std::vector<std::string>& errors) {
        for (const auto& path : paths) {
            base::Result<std::string> text = config::read_file(path, file_octets_max);
            if (text) {
                names_.push_back(path);
                texts_.push_back(std::move(*text));
            } else {
                errors.push_back(
                    fmt::format("{}:1:1: cannot be read: {}", path.native(), text.error().text));
            }
        }
    }

    /// Views into this.
    std::vector<route::Source> sources() const {
        std::vector<route::Source> sources;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            sources.push_back({names_[i], texts_[i]});
        }
        return sources;
    }

   private:
    std::vector<std::string> names_;
    std::vector<std::string> texts_;
};

/// Pools that name the same files share a list.
void load_lists(
    const config::Config& config, route::RuleSettings& settings, std::vector<std::string>& errors) {
    std::map<std::vector<std::filesystem::path>, std::shared_ptr<const route::Recipients>> known;
    for (const config::Pool& pool : config.pools) {
        if (pool.recipients_files.empty()) {
            continue;
        }
        const auto [list, is_new] = known.try_emplace(pool.recipients_files);
        if (is_new) {
            const Texts texts(pool.recipients_files, errors);
            if (texts.sources().empty()) {
                continue;  // each that is not there is an error already
            }
            base::HashKey key;
            io::fill_with_entropy(std::as_writable_bytes(std::span(&key, 1)));
            route::LoadedRecipients loaded =
                route::load_recipients(texts.sources(), settings.recipient_delimiter, key);
            errors.insert(errors.end(), loaded.errors.begin(), loaded.errors.end());
            list->second = std::move(loaded.list);
        }
        if (list->second != nullptr) {
            settings.recipients.emplace(pool.name, list->second);
        }
    }
}

/// By listener: null where it has none. A file that several listeners name is read once.
std::vector<std::shared_ptr<const auth::Passwords>> passwords_of(
    const config::Config& config,
    const std::string& file,
    const std::vector<config::NamedFile>& files,
    Loaded& loaded) {
    base::HashKey key;
    io::fill_with_entropy(std::as_writable_bytes(std::span(&key, 1)));
    std::map<std::filesystem::path, std::shared_ptr<const auth::Passwords>> known{{{}, nullptr}};
    std::vector<std::shared_ptr<const auth::Passwords>> all;
    for (const config::Listener& listener : config.listeners) {
        const auto [place, is_new] = known.emplace(listener.auth_file, nullptr);
        if (is_new) {
            const auto named =
                std::find_if(files.begin(), files.end(), [&](const config::NamedFile& each) {
                    return each.key.ends_with(".auth_file") && each.path == listener.auth_file;
                });
            POSTERN_ASSERT(named != files.end(), "a path that no key names");
            if (const auto text = read_named(file, *named, file_octets_max, loaded.errors)) {
                auth::Passwords::Loaded read =
                    auth::Passwords::parse(*text, named->path.native(), key);
                loaded.errors.insert(loaded.errors.end(), read.errors.begin(), read.errors.end());
                if (read.passwords != nullptr && read.passwords->size() == 0) {
                    loaded.warnings.push_back(about_named(
                        file, *named, "names nobody: no AUTH will succeed; a line is NAME:HASH"));
                }
                place->second = std::move(read.passwords);
            }
        }
        all.push_back(place->second);
    }
    return all;
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

bool needs_spool(const shard::Snapshot& snapshot) {
    const config::Config& config = snapshot.config;
    const auto keeps = [](config::Mode mode) { return mode != config::Mode::sync; };
    return std::any_of(
               config.listeners.begin(),
               config.listeners.end(),
               [&](const config::Listener& listener) { return keeps(listener.delivery.mode); }) ||
           std::any_of(
               config.pools.begin(),
               config.pools.end(),
               [&](const config::Pool& pool) {
                   return pool.delivery_is_own && keeps(pool.delivery);
               }) ||
           std::any_of(
               snapshot.table->actions().begin(),
               snapshot.table->actions().end(),
               [&](const route::Action& action) {
                   return action.delivery && *action.delivery != mail::Mode::sync;
               });
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
    const std::string& notify_pool = config::delivery_key(config, &config::Delivery::notify_pool);
    for (const config::Pool& pool : config.pools) {
        pools.push_back(
            {pool.name, {}, pool.verify == config::Verify::rcpt, pool.name == notify_pool});
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
    auto snapshot = std::make_unique<shard::Snapshot>();
    load_certificates(file, config.tls, *snapshot, loaded.errors);
    const shard::PoolContexts pool_contexts =
        read_pool_files(config, file, parsed.files, loaded.errors);

    auto passwords = passwords_of(config, file, parsed.files, loaded);
    route::RuleSettings settings;
    for (const config::Pool& pool : config.pools) {
        settings.pools.push_back(pool.name);
    }
    settings.allow_open_relay = config.relay.allow_open_relay;
    settings.recipient_delimiter = config.rules.recipient_delimiter;
    load_lists(config, settings, loaded.errors);
    const Texts texts(config.rules.files, loaded.errors);
    const std::vector<route::Source> sources = texts.sources();
    if (sources.empty()) {  // each that is not there is an error already
        return loaded;
    }
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
    warn_of_notifications(loaded.warnings, file, config, *rules.table);
    snapshot->generation = generation;
    snapshot->relaying = std::move(relaying);
    snapshot->passwords = std::move(passwords);
    snapshot->ourselves = ourselves_of(config, listening);
    snapshot->table = std::move(rules.table);
    snapshot->config = std::move(config);
    shard::make_pools(*snapshot);
    const auto expiring = certificate_warnings(file, *snapshot, io::wall_time());
    loaded.warnings.insert(loaded.warnings.end(), expiring.begin(), expiring.end());
    shard::set_pool_tls(*snapshot, pool_contexts);
    loaded.snapshot = std::move(snapshot);
    return loaded;
}

}  // namespace postern::app

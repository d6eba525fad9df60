#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/format.h>

#include "commands.h"
#include "from_postfix.h"
#include "host_look.h"
#include "host_names.h"
#include "load.h"
#include "postern/base/units.h"
#include "postern/io/entropy.h"
#include "postern/shard/memory.h"
#include "say.h"

namespace postern::app {
namespace {

/// What asking the network brings up: names that have no address, hosts that do not greet or speak
/// no TLS where they should. `found`: what TLS the others speak.
std::vector<std::string> connect_warnings(
    const shard::Snapshot& snapshot, std::vector<std::string>& found) {
    const auto answers = resolve_now(snapshot);
    if (!answers) {
        return {answers.error().text};
    }
    std::vector<std::string> warnings;
    for (std::size_t i = 0; i < snapshot.pools.size(); ++i) {
        const relay::PoolSettings& pool = snapshot.pools[i];
        for (const names::Question& question : shard::questions_of(pool)) {
            const names::Answer& answer = *answers->at(question);
            if (answer.kind != names::Answer::Kind::hosts) {
                warnings.push_back(fmt::format(
                    "pool {}: {}: {}", pool.name, question.name, names::describe(answer)));
            }
        }
        const shard::PoolAddresses addresses =
            shard::addresses_of(pool, *answers, snapshot.ourselves);
        if (addresses.hosts.empty() && addresses.absence == relay::Absence::own_mx) {
            warnings.push_back(
                fmt::format("pool {}: we ourselves are its best MX host", pool.name));
        }
        for (const relay::HostAddress& host : addresses.hosts) {
            const HostLook look = look_at_host(host, pool, snapshot.pool_tls[i].get());
            const std::string who = fmt::format(
                "pool {}: the smart host {}{}",
                pool.name,
                host.address.text(),
                host.name.empty() ? "" : fmt::format(" ({})", host.name));
            if (!look.trouble.empty()) {
                warnings.push_back(fmt::format("{} {}", who, look.trouble));
            }
            if (!look.tls.empty()) {
                found.push_back(fmt::format("{} speaks {}", who, look.tls));
            }
        }
    }
    return warnings;
}

/// Why the log cannot be written where it is to be; empty: it can. Makes nothing.
std::string log_trouble(const config::LogOutput& output) {
    if (output.kind != config::LogOutput::Kind::file) {
        return {};
    }
    std::error_code unknown;
    const bool exists = std::filesystem::exists(output.path, unknown);
    if (std::filesystem::is_directory(output.path, unknown)) {
        return std::strerror(EISDIR);
    }
    const std::filesystem::path folder =
        output.path.has_parent_path() ? output.path.parent_path() : ".";
    const std::filesystem::path& asked = exists ? output.path : folder;
    return access(asked.c_str(), W_OK) == 0 ? std::string() : std::strerror(errno);
}

/// What is wrong with the spool's folder; empty: nothing, or it is not there yet.
std::string spool_trouble(const std::filesystem::path& path) {
    std::error_code unknown;
    const bool wrong =
        std::filesystem::exists(path, unknown) && !std::filesystem::is_directory(path, unknown);
    return wrong
               ? fmt::format(
                     "{} is there and is no folder; move it away, or set spool.path", path.native())
               : std::string();
}

/// What a start would find in its way.
void look_at_paths(const std::string& config_file, Loaded& loaded) {
    const config::Config& config = loaded.snapshot->config;
    if (const std::string trouble = log_trouble(config.log.output); !trouble.empty()) {
        loaded.errors.push_back(fmt::format(
            "{}:1:1: log.output: the log file {} can not be opened: {}",
            config_file,
            config.log.output.path.native(),
            trouble));
    }
    if (const std::string trouble = spool_trouble(config.spool.path); !trouble.empty()) {
        auto& lines = needs_spool(*loaded.snapshot) ? loaded.errors : loaded.warnings;
        lines.push_back(fmt::format("{}:1:1: spool.path: {}", config_file, trouble));
    }
    if (!loaded.errors.empty()) {
        loaded.snapshot.reset();
    }
}

}  // namespace

int check(const std::string& config_file, const CheckOptions& options) {
    Loaded loaded = load(config_file, 1);
    if (loaded.snapshot) {
        look_at_paths(config_file, loaded);
    }
    route::Report report;
    if (loaded.snapshot) {
        const shard::Snapshot& snapshot = *loaded.snapshot;
        report = route::check(
            *snapshot.table, pool_hosts(snapshot.config), own_addresses(snapshot.config));
        loaded.warnings.insert(
            loaded.warnings.end(), report.warnings.begin(), report.warnings.end());
    }
    for (const std::string& line : loaded.errors) {
        say(stderr, "{}\n", line);
    }
    for (const std::string& line : loaded.warnings) {
        say(stderr, "warning: {}\n", line);
    }
    if (!loaded.snapshot) {
        return 1;
    }
    const shard::Snapshot& snapshot = *loaded.snapshot;
    if (options.connect) {
        std::vector<std::string> found;
        for (const std::string& line : connect_warnings(snapshot, found)) {
            say(stderr, "warning: {}\n", line);
            loaded.warnings.push_back(line);
        }
        for (const std::string& line : found) {
            say(stdout, "{}\n", line);
        }
    }
    say(stdout,
        "{}: no errors, {} warning{}\n",
        config_file,
        loaded.warnings.size(),
        loaded.warnings.size() == 1 ? "" : "s");

    say(stdout, "{} rules:", snapshot.table->rule_count());
    for (std::size_t kind = 0; kind < report.rules_of_kind.size(); ++kind) {
        say(stdout,
            "{} {} {}",
            kind == 0 ? "" : ",",
            report.rules_of_kind[kind],
            route::name_of(static_cast<route::Pattern>(kind)));
    }
    say(stdout, "\n");
    const auto& targets = snapshot.table->targets();
    for (std::uint32_t i = 0; i < targets.size(); ++i) {
        if (const route::Recipients* list = snapshot.table->recipients_of(i)) {
            say(stdout, "pool {}: {} recipients in its list\n", targets[i].text, list->count());
        }
    }

    const std::uint32_t workers = worker_count(snapshot.config);
    const auto sum = shard::memory_sum(
        snapshot.config,
        snapshot.config.limits.connections,
        workers,
        snapshot.table->octets() + snapshot.table->name_octets());
    std::uint64_t total = 0;
    say(stdout, "memory, at most, with {} worker{}:\n", workers, workers == 1 ? "" : "s");
    for (const shard::MemoryHolder& holder : sum) {
        say(stdout,
            "  {:>9.1f} MiB  {}: {}\n",
            static_cast<double>(holder.octets) / (1 << 20),
            metrics::name_of(holder.holder),
            holder.reason);
        total += holder.octets;
    }
    say(stdout, "  {:>9.1f} MiB  in all\n", static_cast<double>(total) / (1 << 20));
    return 0;
}

int check_from_postfix(const std::vector<std::string>& names) {
    std::vector<PostfixFile> files;
    for (const std::string& name : names) {
        std::ifstream in(name, std::ios::binary);
        std::string text{std::istreambuf_iterator<char>(in), {}};
        if (in.is_open() && !in.bad()) {
            files.push_back({name, std::move(text)});
        } else {
            say(stderr, "{}:1: cannot be read\n", name);
        }
    }
    route::Secrets secrets;
    io::fill_with_entropy(std::as_writable_bytes(std::span(secrets.numbers)));
    const PostfixRules translated = rules_from_postfix(files, secrets);
    say(stdout,
        "# From Postfix's {}. What main.cf says goes into the configuration: recipient_delimiter\n"
        "# (Postfix's own default: none) into rules.recipient_delimiter, mynetworks into "
        "relay.networks.\n",
        fmt::join(names, ", "));
    if (!translated.relay_domains_known) {
        say(stdout,
            "# A transport map does not say who may send: as they stand, anyone may send to these "
            "domains. Give the file of\n# relay_domains too, and what is not in it is restricted "
            "to relay.networks.\n");
    }
    for (const std::string& rule : translated.rules) {
        say(stdout, "{}\n", rule);
    }
    for (const std::string& error : translated.errors) {
        say(stderr, "{}\n", error);
    }
    return translated.errors.empty() && files.size() == names.size() ? 0 : 1;
}

}  // namespace postern::app

#include <fmt/format.h>
#include <libpsl.h>

#include <algorithm>
#include <numeric>

#include "postern/mail/local_part.h"
#include "postern/route/explain.h"

namespace postern::route {

namespace {

/// About the whole of its line, where that begins.
std::string warning(const Table& table, std::uint32_t rule, std::string_view what) {
    RuleText text = table.text_of(rule);
    return fmt::format("{}:{}:1: '{}' {}", text.file, text.line, table.pattern_of(rule), what);
}

/// What would take the recipients of `rule` if it were not there. `hidden`: it takes none, others
/// of its domain go before it.
Match otherwise(const Table& table, std::uint32_t rule, bool& hidden) {
    RuleText text = table.text_of(rule);
    hidden = false;
    switch (text.kind) {
        case Pattern::everything:
            return {};
        case Pattern::literal:
            return table.everything();
        case Pattern::user: {
            const std::size_t at = text.name.rfind('@');
            const std::string_view domain = text.name.substr(at + 1);
            const std::string_view front =
                mail::before_delimiter(text.name.substr(0, at), table.recipient_delimiter());
            if (!front.empty()) {
                const std::uint32_t shorter =
                    table.rule_of_name(fmt::format("{}@{}", front, domain));
                if (shorter != none) {
                    return {shorter, table.action_of(shorter)};
                }
            }
            return table.look_up({domain, {}});
        }
        case Pattern::exact:
        case Pattern::subdomains:
        case Pattern::domain:
            break;
    }
    auto [exact, subdomains, domain] = table.rules_of_domain(text.name);
    if (text.kind == Pattern::domain) {
        hidden = exact != none && subdomains != none;
    } else if (domain != none) {
        return {domain, table.action_of(domain)};
    }
    std::size_t dot = text.name.find('.');
    return dot == std::string_view::npos ? table.everything()
                                         : table.covering_subdomains(text.name.substr(dot + 1));
}

void warn_of_idle_rules(const Table& table, std::vector<std::string>& warnings) {
    for (std::uint32_t rule = 0; rule < table.rule_count(); ++rule) {
        bool hidden = false;
        Match other = otherwise(table, rule, hidden);
        if (hidden) {
            warnings.push_back(warning(
                table, rule, "changes nothing: '#' and '.' rules for its domain go before it"));
            continue;
        }
        if (!other.found() || other.action != table.action_of(rule)) {
            continue;
        }
        TargetKind target = table.targets()[table.action(other.action).target].kind;
        bool refuses = target == TargetKind::reject || target == TargetKind::defer;
        if (refuses && table.text_of(rule).kind == Pattern::user) {
            continue;  // its answer is about the mailbox, the domain's is not
        }
        RuleText text = table.text_of(other.rule);
        warnings.push_back(warning(
            table,
            rule,
            fmt::format(
                "changes nothing: '{}' ({}:{}) says the same",
                table.pattern_of(other.rule),
                text.file,
                text.line)));
    }
}

/// Whether a connection to `host` may end at `listener`, both "ADDRESS:PORT".
bool is_ourselves(std::string_view host, std::string_view listener) {
    std::size_t colon = host.rfind(':');
    std::size_t own_colon = listener.rfind(':');
    if (host == listener) {
        return true;
    }
    if (colon == std::string_view::npos || own_colon == std::string_view::npos ||
        host.substr(colon) != listener.substr(own_colon)) {
        return false;
    }
    std::string_view address = host.substr(0, colon);
    std::string_view own = listener.substr(0, own_colon);
    bool loopback_v4 = address.starts_with("127.");
    return (own == "0.0.0.0" && loopback_v4) ||
           (own == "[::]" && (loopback_v4 || address == "[::1]"));
}

}  // namespace

std::string_view name_of(Pattern kind) {
    switch (kind) {
        case Pattern::domain:
            return "domain with subdomains";
        case Pattern::exact:
            return "domain alone";
        case Pattern::subdomains:
            return "subdomains alone";
        case Pattern::user:
            return "one recipient";
        case Pattern::literal:
            return "address literal";
        case Pattern::everything:
            return "everything else";
    }
    return {};
}

std::vector<std::string> public_suffix_warnings(
    const Table& table, std::span<const std::uint32_t> rules) {
    std::vector<std::string> warnings;
    const psl_ctx_t* list = psl_builtin();
    for (const std::uint32_t rule : rules) {
        RuleText text = table.text_of(rule);
        bool is_domain = text.kind == Pattern::domain || text.kind == Pattern::exact ||
                         text.kind == Pattern::subdomains;
        if (!is_domain || table.states_permission(rule) ||
            text.name.find('.') == std::string_view::npos) {
            continue;
        }
        std::string name(text.name);
        if (psl_is_public_suffix2(list, name.c_str(), PSL_TYPE_ANY | PSL_TYPE_NO_STAR_RULE) != 0) {
            warnings.push_back(warning(
                table,
                rule,
                "is a public suffix, under which anyone may register: it should state always-relay "
                "or restricted"));
        }
    }
    return warnings;
}

Report check(
    const Table& table, std::span<const PoolHosts> pools, std::span<const std::string> listeners) {
    Report report;
    for (std::uint32_t rule = 0; rule < table.rule_count(); ++rule) {
        ++report.rules_of_kind[static_cast<std::size_t>(table.text_of(rule).kind)];
    }
    std::vector<std::uint32_t> rules(table.rule_count());
    std::iota(rules.begin(), rules.end(), 0);
    report.warnings = public_suffix_warnings(table, rules);
    warn_of_idle_rules(table, report.warnings);
    auto warn_if_ourselves = [&](std::string_view host, std::string_view where) {
        for (const std::string& listener : listeners) {
            if (is_ourselves(host, listener)) {
                report.warnings.push_back(fmt::format(
                    "{}: the smart host {} is our own listener {}", where, host, listener));
            }
        }
    };
    for (const PoolHosts& pool : pools) {
        Target target{TargetKind::pool, pool.name};
        if (!pool.notified && std::find(table.targets().begin(), table.targets().end(), target) ==
                                  table.targets().end()) {
            report.warnings.push_back(fmt::format("pool.{}: no rule uses it", pool.name));
        }
        for (const std::string& host : pool.hosts) {
            warn_if_ourselves(host, fmt::format("pool.{}", pool.name));
        }
    }
    for (const Target& target : table.targets()) {
        if (target.kind == TargetKind::address) {
            warn_if_ourselves(target.text, "rules");
        }
    }
    return report;
}

}  // namespace postern::route

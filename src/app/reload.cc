#include "reload.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>

namespace postern::app {
namespace {

constexpr std::size_t names_max = 10;  // of each kind, in a line

std::string counted(std::string_view what, const Names& names) {
    const auto shown = [](char sign, const std::vector<std::string>& list) {
        std::string text = fmt::format(" {}{}", sign, list.size());
        if (!list.empty()) {
            const std::size_t count = std::min(list.size(), names_max);
            text += fmt::format(
                " ({}{})",
                fmt::join(std::span(list).first(count), ", "),
                count < list.size() ? ", ..." : "");
        }
        return text;
    };
    return std::string(what) + shown('+', names.added) + shown('-', names.removed) +
           shown('~', names.changed);
}

/// `name` and `same` say what stands for a thing, and whether two of one name are the same.
template <class T, class Name, class Same>
Names compare_named(const T& before, const T& after, Name name, Same same) {
    Names names;
    std::unordered_map<std::string, std::size_t> old;
    for (std::size_t i = 0; i < before.size(); ++i) {
        old.emplace(name(before[i]), i);
    }
    old.erase("");
    for (const auto& each : after) {
        if (name(each).empty()) {
            continue;
        }
        const auto found = old.find(name(each));
        if (found == old.end()) {
            names.added.push_back(name(each));
            continue;
        }
        if (!same(before[found->second], each)) {
            names.changed.push_back(name(each));
        }
        old.erase(found);
    }
    for (const auto& [left, index] : old) {
        names.removed.push_back(left);
    }
    for (auto* list : {&names.added, &names.removed, &names.changed}) {
        std::sort(list->begin(), list->end());
    }
    return names;
}

const route::Recipients* list_of(const shard::Snapshot& snapshot, const std::string& pool) {
    const auto& targets = snapshot.table->targets();
    for (std::uint32_t i = 0; i < targets.size(); ++i) {
        if (targets[i].kind == route::TargetKind::pool && targets[i].text == pool) {
            return snapshot.table->recipients_of(i);
        }
    }
    return nullptr;
}

}  // namespace

void compare(const shard::Snapshot& before, const shard::Snapshot& after, ReloadReport& report) {
    report.rules = route::compare(*before.table, *after.table);
    report.pools = compare_named(
        before.config.pools,
        after.config.pools,
        [](const config::Pool& pool) { return pool.name; },
        std::equal_to<config::Pool>());
    const Names of_rules = compare_named(
        before.pools,
        after.pools,
        [](const relay::PoolSettings& pool) { return pool.by_rule ? pool.name : std::string(); },
        std::equal_to<relay::PoolSettings>());
    for (const auto list : {&Names::added, &Names::removed, &Names::changed}) {
        auto& all = report.pools.*list;
        all.insert(all.end(), (of_rules.*list).begin(), (of_rules.*list).end());
    }
    report.listeners = compare_named(
        before.config.listeners,
        after.config.listeners,
        [](const config::Listener& listener) { return listener.name; },
        std::equal_to<config::Listener>());
    for (const config::Pool& pool : after.config.pools) {
        const route::Recipients* const old = list_of(before, pool.name);
        const route::Recipients* const now = list_of(after, pool.name);
        if (old != nullptr && now != nullptr && old->count() != now->count()) {
            report.lists.push_back({pool.name, old->count(), now->count()});
        }
    }
}

std::string difference_line(const ReloadReport& report) {
    const route::Difference& rules = report.rules;
    std::string line = fmt::format(
        "rules +{} -{} ~{} of {}; {} domain{} smart host; {}; {}",
        rules.added,
        rules.removed,
        rules.changed,
        rules.after,
        rules.domains_moved,
        rules.domains_moved == 1 ? " changes its" : "s change their",
        counted("pools", report.pools),
        counted("listeners", report.listeners));
    for (const ListChange& list : report.lists) {
        line +=
            fmt::format("; recipients of {}: {}, before {}", list.pool, list.after, list.before);
    }
    if (!report.restart.empty()) {
        line += fmt::format("; needs a restart: {}", fmt::join(report.restart, ", "));
    }
    return line;
}

std::string to_text(const ReloadReport& report) {
    std::string text;
    if (report.result == ReloadReport::Result::refused) {
        text = fmt::format("refused: generation {} stays in force\n", report.generation);
    }
    for (const std::string& error : report.errors) {
        text += error + "\n";
    }
    for (const std::string& warning : report.warnings) {
        text += "warning: " + warning + "\n";
    }
    switch (report.result) {
        case ReloadReport::Result::applied:
            text += fmt::format(
                "generation {} is in force, after {} ms: {}\n",
                report.generation,
                report.ms,
                difference_line(report));
            break;
        case ReloadReport::Result::would_apply:
            text += fmt::format(
                "generation {} would be: {}\n", report.generation, difference_line(report));
            break;
        case ReloadReport::Result::refused:
            break;
    }
    return text;
}

}  // namespace postern::app

#include "answers.h"

#include <map>
#include <set>

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "explained.h"
#include "load.h"
#include "postern/io/clock.h"
#include "postern/metrics/text.h"

namespace postern::app {
namespace {

using metrics::Metric;

AdminAnswer json_answer(int status, const nlohmann::json& json) {
    return {
        status,
        "application/json",
        json.dump(1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n"};
}

/// A smart host's health, over all workers.
struct HostHealth {
    std::uint64_t connections_open = 0;
    std::uint64_t aside = 0;  // workers that have set it aside
    std::uint64_t trouble = 0;
};

/// By pool and host.
std::map<std::pair<std::string, std::string>, HostHealth> hosts_of(
    const metrics::Registry& registry, const std::set<std::string>& pools) {
    std::map<std::pair<std::string, std::string>, HostHealth> hosts;
    for (const metrics::Meters& meters : registry.all()) {
        meters.for_each([&](const metrics::Series& series) {
            if (series.subject == metrics::Subject::host && pools.contains(series.first)) {
                HostHealth& host = hosts[{series.first, series.second}];
                host.connections_open += series.value<Metric::host_connections_open>();
                host.aside += series.value<Metric::host_aside>();
                host.trouble += series.value<Metric::host_trouble>();
            }
        });
    }
    return hosts;
}

std::string_view status_of(const spool::SpoolState& state) {
    if (state.below_min_free) {
        return "less is free than spool.min_free: no mail is kept";
    }
    if (!state.trouble.empty()) {
        return "trouble with the disk";
    }
    return state.recovering ? "reading what an earlier process kept" : "ok";
}

nlohmann::json to_json(const SpoolHealth& spool) {
    nlohmann::json json = {
        {"status", status_of(spool.state)},
        {"messages", spool.messages},
        {"dead_letters", spool.state.dead_letters},
        {"segments", spool.state.segments},
        {"octets", spool.state.octets},
        {"free_octets", spool.state.free_octets},
        {"below_min_free", spool.state.below_min_free},
        {"recovering", spool.state.recovering},
        {"recovered", spool.state.recovered},
        {"direct", spool.state.direct},
        {"trouble", spool.state.trouble}};
    if (spool.oldest_ms) {
        const std::int64_t now_ms = base::to_ms(io::wall_time().time_since_epoch());
        json["oldest_s"] = (now_ms - *spool.oldest_ms) / 1000;
    }
    return json;
}

}  // namespace

AdminAnswer answer_metrics(
    metrics::Registry& registry, const log::Log& log, const Control& control) {
    metrics::Series& own = registry.control().own();
    own.set<Metric::log_lines_dropped>(log.dropped());
    own.set<Metric::names_unresolved>(control.unresolved_names());
    own.set<Metric::memory>(control.rules_octets(), metrics::Holder::rules);
    own.set<Metric::memory>(control.kept_octets(), metrics::Holder::kept_answers);
    std::vector<metrics::CertificateExpiry> certificates;
    const auto snapshot = control.in_force();
    for (const auto& pair : snapshot->key_pairs) {
        certificates.push_back({pair->chain_file(), pair->not_after()});
    }
    return {
        200, "text/plain; version=0.0.4; charset=utf-8", metrics::to_text(registry, certificates)};
}

AdminAnswer answer_health(const Watch& watch, std::uint64_t generation, const SpoolHealth& spool) {
    nlohmann::json json = nlohmann::json::object();
    bool stalled = false;
    json["generation"] = generation;
    json["workers"] = nlohmann::json::array();
    for (const WorkerHealth& worker : watch.health()) {
        stalled = stalled || worker.stalled;
        json["workers"].push_back(
            {{"worker", worker.worker},
             {"turns", worker.turns},
             {"status", worker.stalled ? "stands still" : "ok"},
             {"still_ms", base::to_ms(worker.still)}});
    }
    json["pressure"] = watch.pressure();
    json["spool"] = to_json(spool);
    json["status"] = stalled ? "a worker stands still" : "ok";
    return json_answer(stalled ? 503 : 200, json);
}

AdminAnswer answer_ready(Readiness readiness) {
    switch (readiness) {
        case Readiness::starting:
            return {503, "text/plain", "starting\n"};
        case Readiness::serving:
            break;
        case Readiness::stopping:
            return {503, "text/plain", "stopping\n"};
    }
    return {200, "text/plain", "ready\n"};
}

AdminAnswer answer_reload(Control& control, const ReloadOptions& options) {
    const ReloadReport report = control.reload(options);
    const bool refused = report.result == ReloadReport::Result::refused;
    return {refused ? 409 : 200, "text/plain; charset=utf-8", to_text(report)};
}

AdminAnswer answer_route(
    const metrics::Registry& registry,
    const shard::Snapshot& snapshot,
    const std::vector<std::string>& addresses,
    const std::string& from,
    bool as_json) {
    const auto explanations = explain(snapshot, addresses, from);
    if (!explanations || addresses.empty()) {
        return {
            400,
            "text/plain",
            (addresses.empty() ? "no address is given; allowed: /route?address=user@domain"
                               : explanations.error().text) +
                "\n"};
    }
    const std::vector<route::PoolHosts> pools = pool_hosts(snapshot.config);
    std::set<std::string> concerned;
    for (const route::Explanation& explanation : *explanations) {
        concerned.insert(pool_of(explanation, *snapshot.table));
    }
    const auto hosts = hosts_of(registry, concerned);
    if (as_json) {
        nlohmann::json json = nlohmann::json::object();
        json["generation"] = snapshot.generation;
        json["addresses"] = nlohmann::json::array();
        for (const route::Explanation& explanation : *explanations) {
            json["addresses"].push_back(
                nlohmann::json::parse(route::to_json(explanation, *snapshot.table, pools)));
        }
        json["hosts"] = nlohmann::json::array();
        for (const auto& [labels, host] : hosts) {
            json["hosts"].push_back(
                {{"pool", labels.first},
                 {"host", labels.second},
                 {"connections_open", host.connections_open},
                 {"workers_that_set_it_aside", host.aside},
                 {"trouble", host.trouble}});
        }
        return json_answer(200, json);
    }
    std::string text = fmt::format("generation {}\n", snapshot.generation);
    for (const route::Explanation& explanation : *explanations) {
        text += route::to_text(explanation, *snapshot.table, pools);
    }
    for (const auto& [labels, host] : hosts) {
        text += fmt::format(
            "host {} of {}: {} connection{} open, {}, in trouble {} time{} so far\n",
            labels.second,
            labels.first,
            host.connections_open,
            host.connections_open == 1 ? "" : "s",
            host.aside == 0
                ? "trusted"
                : fmt::format("set aside by {} of {} workers", host.aside, registry.workers()),
            host.trouble,
            host.trouble == 1 ? "" : "s");
    }
    return {200, "text/plain", text};
}

}  // namespace postern::app

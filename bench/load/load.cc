#include "bench/load/load.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "bench/load/control.h"
#include "bench/load/load_worker.h"
#include "bench/load/report.h"
#include "bench/load/stop.h"

namespace postern::bench {

namespace {

using Json = nlohmann::ordered_json;
using Workers = std::vector<std::unique_ptr<LoadWorker>>;

double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

LoadResults merged(Workers& workers) {
    LoadResults all;
    for (auto& worker : workers) {
        const LoadResults& one = worker->results();
        all.answer.add(one.answer);
        all.message.add(one.message);
        all.answers.add(one.answers);
        all.sent.add(one.sent);
        for (const auto& [why, count] : one.errors) {
            all.errors[why] += count;
        }
        all.connections += one.connections;
        all.handshakes += one.handshakes;
        all.resumed += one.resumed;
        all.octets += one.octets;
        all.late_starts += one.late_starts;
        all.not_started += one.not_started;
        all.accepted += one.accepted;
        all.refused += one.refused;
        all.unknown += one.unknown;
        all.unsent += one.unsent;
        if (one.first != base::Instant()) {
            all.first = all.first == base::Instant() ? one.first : std::min(all.first, one.first);
            all.last = std::max(all.last, one.last);
        }
        all.failure = all.failure.empty() ? one.failure : all.failure;
    }
    return all;
}

Json to_json(const LoadOptions& options, const LoadResults& results, double cpu) {
    const double seconds = std::chrono::duration<double>(results.last - results.first).count();
    const auto accepted = static_cast<double>(results.accepted);
    Json report;
    report["run"] = fmt::format("{:08x}", options.sender.run);
    report["seconds"] = seconds;
    report["messages"] = {
        {"accepted", results.accepted},
        {"refused", results.refused},
        {"unknown", results.unknown},
        {"unsent", results.unsent}};
    if (options.rate > 0) {
        report["messages"]["late_starts"] = results.late_starts;
        report["messages"]["not_started"] = results.not_started;
    }
    report["messages_per_second"] = seconds > 0 ? accepted / seconds : 0;
    report["octets_per_second"] = seconds > 0 ? static_cast<double>(results.octets) / seconds : 0;
    report["connections"] = results.connections;
    if (options.tls != Tls::none) {
        report["tls"] = {{"handshakes", results.handshakes}, {"resumed", results.resumed}};
    }
    report["answer_ms"] = bench::to_json(results.answer);
    report["message_ms"] = bench::to_json(results.message);
    if (options.below) {
        const auto limit = static_cast<std::uint64_t>(options.below->count());
        report["below"] = {
            {"answer_ms", bench::to_json(results.answer.below(limit))},
            {"message_ms", bench::to_json(results.message.below(limit))}};
    }
    report["answers"] = bench::to_json(results.answers);
    report["errors"] = results.errors;
    report["cpu_seconds"] = cpu;
    report["cpu_us_per_message"] = results.accepted > 0 ? cpu * 1e6 / accepted : 0;
    return report;
}

std::uint64_t violations_in(const Json& sink_report) {
    std::uint64_t count = 0;
    const Json violations = sink_report.value("violations", Json::object());
    for (const auto& seen : violations) {
        count += seen.value("count", std::uint64_t{0});
    }
    return count;
}

base::Result<Comparison> ask_and_compare(
    const LoadOptions& options, const LoadResults& results, const RecipientPlan& plan) {
    std::vector<Delivery> deliveries;
    for (const io::Address& sink : options.sinks) {
        const auto some = ask_deliveries(sink, options.sender.run);
        if (!some.ok()) {
            return some.error();
        }
        deliveries.insert(deliveries.end(), some->begin(), some->end());
    }
    return compare(results.sent, plan, deliveries);
}

/// Asks until nothing is lost, or `settle` is over: a gateway with a queue answers before it
/// delivers. Asking is to be no load of its own, however many messages there are.
base::Result<Comparison> settle_and_compare(
    const LoadOptions& options, const LoadResults& results, const RecipientPlan& plan) {
    using Clock = std::chrono::steady_clock;
    static constexpr base::Duration pause_min = std::chrono::milliseconds(200);
    static constexpr int asking_share = 10;  // of the time it asks one part in so many
    const Clock::time_point end = Clock::now() + options.settle;
    for (;;) {
        const Clock::time_point began = Clock::now();
        auto comparison = ask_and_compare(options, results, plan);
        if (!comparison.ok() || comparison->lost == 0 || Clock::now() >= end || stop_requested) {
            return comparison;
        }
        std::this_thread::sleep_for(
            std::max<base::Duration>(pause_min, asking_share * (Clock::now() - began)));
    }
}

struct SinkReports {
    Json reports = Json::array();
    std::uint64_t violations = 0;
};

base::Result<SinkReports> ask_reports(const LoadOptions& options) {
    SinkReports all;
    for (const io::Address& sink : options.sinks) {
        auto report = ask_report(sink);
        if (!report.ok()) {
            return report.error();
        }
        all.violations += violations_in(*report);
        all.reports.push_back(std::move(*report));
    }
    return all;
}

int failed(const base::Error& error) {
    fmt::print(stderr, "postern-bench load: {}\n", error.text);
    return 1;
}

}  // namespace

int run_load(LoadOptions options) {
    stop_on_signals();
    options.sender.run = std::random_device()();
    options.messages_made.run = options.sender.run;
    options.messages_made.data = !options.sender.bdat;
    const auto messages = MessageSet::create(options.messages_made);
    if (!messages.ok()) {
        return failed(messages.error());
    }
    const RecipientPlan plan(options.recipients);
    options.sender.recipients = &plan;
    const auto before = ask_reports(options);
    if (!before.ok()) {
        return failed(before.error());
    }

    std::optional<TlsContext> tls;
    if (options.tls != Tls::none) {
        auto made = TlsContext::client();
        if (!made.ok()) {
            return failed(made.error());
        }
        tls = std::move(*made);
    }
    options.sender.starttls = options.tls == Tls::starttls;
    SharedLoad shared{options, *messages, tls ? &*tls : nullptr};
    Workers workers;
    std::vector<std::thread> threads;
    const double cpu_before = cpu_seconds();
    for (unsigned i = 0; i < options.workers; ++i) {
        workers.push_back(std::make_unique<LoadWorker>(shared, i));
    }
    for (auto& worker : workers) {
        threads.emplace_back([&worker] { worker->run(); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    const double cpu = cpu_seconds() - cpu_before;
    const LoadResults results = merged(workers);
    if (!results.failure.empty()) {
        return failed({results.failure});
    }

    Json report = to_json(options, results, cpu);
    bool good = results.accepted > 0 && results.refused + results.unknown + results.unsent == 0 &&
                results.sent.refused.empty();
    if (!options.sinks.empty()) {
        const auto comparison = settle_and_compare(options, results, plan);
        const auto after = ask_reports(options);
        if (!comparison.ok() || !after.ok()) {
            return failed(comparison.ok() ? after.error() : comparison.error());
        }
        const std::uint64_t violations = after->violations - before->violations;
        report["delivery"] = bench::to_json(*comparison);
        report["delivery"]["violations"] = violations;
        if (options.json) {
            report["delivery"]["repeats_ms"] = comparison->repeats;
        }
        report["sinks"] = after->reports;
        good = good && comparison->good() && violations == 0;
    }
    report["good"] = good;
    fmt::print("{}", options.json ? report.dump(2) + "\n" : to_text(report));
    return good ? 0 : 1;
}

}  // namespace postern::bench

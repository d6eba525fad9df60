#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <future>
#include <thread>

#include <fmt/format.h>

#include "answers.h"
#include "commands.h"
#include "load.h"
#include "postern/io/clock.h"
#include "postern/io/entropy.h"
#include "postern/io/listener.h"
#include "postern/log/log.h"
#include "postern/shard/common.h"
#include "postern/shard/worker.h"

namespace postern::app {
namespace {

/// Descriptors that are neither senders nor smart hosts: rings, log, standard streams, the
/// resolver's and admin's.
constexpr std::uint64_t descriptors_reserved = 128;

/// How many senders fit into the descriptor limit beside the smart hosts' connections. Raises the
/// soft limit to the hard one.
std::uint32_t connections_that_fit(const shard::Snapshot& snapshot, std::uint32_t workers) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    std::uint64_t hosts = 0;
    for (const relay::PoolSettings& pool : snapshot.pools) {
        hosts += pool.hosts.size() * std::max(pool.connections_max, workers);
    }
    hosts = std::min(hosts, limit.rlim_cur / 4);  // most pools of many are idle
    const std::uint64_t others =
        descriptors_reserved + hosts + workers * (8 + snapshot.config.listeners.size());
    const std::uint64_t room = limit.rlim_cur > others ? limit.rlim_cur - others : 1;
    const std::uint32_t wanted = snapshot.config.limits.connections;
    if (room < wanted) {
        fmt::print(
            stderr,
            "postern: limits.connections is lowered from {} to {}: the limit on open files is {}; "
            "raise it (LimitNOFILE= "
            "of the service, or ulimit -n) to have more\n",
            wanted,
            room,
            limit.rlim_cur);
    }
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, wanted));
}

base::Result<std::vector<std::vector<int>>> open_listeners(
    const config::Config& config, std::uint32_t workers) {
    std::vector<std::vector<int>> all(workers);
    for (const config::Listener& listener : config.listeners) {
        const auto address = io::Address::parse(listener.address.host, listener.address.port);
        POSTERN_ASSERT(address.has_value(), "a listener's address was checked");
        for (std::vector<int>& of_worker : all) {
            const base::Result<int> descriptor = io::open_listener(*address);
            if (!descriptor) {
                return descriptor.error();
            }
            of_worker.push_back(*descriptor);
        }
    }
    return all;
}

/// A worker's thread: makes the worker there, says how that went, and serves.
void serve(
    Watch& watch,
    const shard::WorkerSettings& settings,
    const shard::Snapshot& snapshot,
    shard::Common& common,
    log::Buffer& lines,
    std::promise<base::Result<shard::Worker*>> made) {
    pthread_setname_np(pthread_self(), fmt::format("worker {}", settings.index).c_str());
    watch.begin_worker(settings.index);
    auto worker = shard::Worker::create(settings, snapshot, common, lines);
    if (!worker) {
        made.set_value(worker.error());
        return;
    }
    made.set_value(worker->get());
    (*worker)->run();
}

log::Options log_options(const config::Log& config) {
    log::Options options;
    options.format =
        config.format == config::LogFormat::json ? log::Format::json : log::Format::text;
    switch (config.output.kind) {
        case config::LogOutput::Kind::standard_error:
            options.output = log::Options::Output::standard_error;
            break;
        case config::LogOutput::Kind::standard_output:
            options.output = log::Options::Output::standard_output;
            break;
        case config::LogOutput::Kind::file:
            options.output = log::Options::Output::file;
            options.path = config.output.path;
            break;
    }
    return options;
}

/// One of `signals`, or 0 when none came in that time.
int wait_for_signal(const sigset_t& signals, base::Duration time) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    const timespec timeout{seconds.count(), (time - seconds).count()};
    return std::max(sigtimedwait(&signals, nullptr, &timeout), 0);
}

/// Starts the workers, waits for signals, ends the workers. Returns the exit code.
int serve_until_told(
    const shard::Snapshot& snapshot,
    std::uint32_t workers,
    std::uint32_t connections,
    const std::vector<std::vector<int>>& listeners,
    const sigset_t& signals,
    base::Duration took) {
    auto log = log::Log::open(log_options(snapshot.config.log), workers + 1);
    if (!log) {
        fmt::print(stderr, "postern: nothing was started: {}\n", log.error().text);
        return 1;
    }
    log::Buffer& own_lines = (*log)->buffer(workers);
    const auto say = [&own_lines](std::string_view event) {
        own_lines.line(io::wall_time(), event).commit();
    };

    base::HashKey client_keys;
    base::HashKey answer_keys;
    io::fill_with_entropy(std::as_writable_bytes(std::span(&client_keys, 1)));
    io::fill_with_entropy(std::as_writable_bytes(std::span(&answer_keys, 1)));
    shard::Common common(snapshot.config, connections, workers, client_keys, answer_keys);

    metrics::Registry& registry = common.metrics;
    Watch watch(registry, own_lines);
    std::atomic<Readiness> readiness{Readiness::starting};
    const AdminAnswers answers{
        [&] { return answer_metrics(registry, **log, snapshot.table->octets()); },
        [&] { return answer_health(watch, snapshot.generation); },
        [&] { return answer_ready(readiness.load()); },
        [&](const auto& addresses, const std::string& from, bool json) {
            return answer_route(registry, snapshot, addresses, from, json);
        },
        nullptr};
    const auto admin = Admin::start(snapshot.config.admin, answers);
    if (!admin) {
        fmt::print(stderr, "postern: nothing was started: {}\n", admin.error().text);
        return 1;
    }

    std::vector<std::thread> threads;
    std::vector<std::future<base::Result<shard::Worker*>>> made;
    for (std::uint32_t i = 0; i < workers; ++i) {
        std::promise<base::Result<shard::Worker*>> promise;
        made.push_back(promise.get_future());
        shard::WorkerSettings settings{
            i, shard::worker_bounds(snapshot.config, connections), listeners[i]};
        threads.emplace_back(
            serve,
            std::ref(watch),
            std::move(settings),
            std::cref(snapshot),
            std::ref(common),
            std::ref((*log)->buffer(i)),
            std::move(promise));
    }
    std::vector<shard::Worker*> running;
    bool failed = false;
    for (auto& future : made) {
        const base::Result<shard::Worker*> worker = future.get();
        if (worker) {
            watch.add(static_cast<std::uint32_t>(running.size()), **worker);
            running.push_back(*worker);
        } else if (!failed) {
            failed = true;
            fmt::print(stderr, "postern: nothing was started: {}\n", worker.error().text);
        }
    }
    if (!failed) {
        metrics::count_reload(
            registry.control(),
            true,
            snapshot.generation,
            snapshot.table->rule_count(),
            io::wall_time(),
            took);
        readiness = Readiness::serving;
        say("ready");
        for (int signal = 0; signal != SIGTERM && signal != SIGINT;) {
            signal = wait_for_signal(signals, Watch::interval);
            watch.tick();
            if (signal == SIGUSR1) {
                watch.print(stderr);
            }
            if (signal == SIGHUP) {
                const base::Result<void> reopened = (*log)->reopen();
                if (!reopened) {
                    fmt::print(
                        stderr, "postern: the old log stays in use: {}\n", reopened.error().text);
                }
            }
        }
        say("shutting down");
    }
    readiness = Readiness::stopping;
    for (shard::Worker* worker : running) {
        worker->request_shutdown();
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    if (!failed) {
        say("stopped");
    }
    return failed ? 1 : 0;
}

}  // namespace

int run(const std::string& config_file) {
    const base::Instant began = io::monotonic_time();
    Loaded loaded = load(config_file, 1);
    for (const std::string& line : loaded.warnings) {
        fmt::print(stderr, "warning: {}\n", line);
    }
    for (const std::string& line : loaded.errors) {
        fmt::print(stderr, "{}\n", line);
    }
    if (!loaded.snapshot) {
        fmt::print(
            stderr,
            "postern: nothing was started: {} error{} in the configuration\n",
            loaded.errors.size(),
            loaded.errors.size() == 1 ? "" : "s");
        return 1;
    }
    const base::Duration took = io::monotonic_time() - began;
    const shard::Snapshot& snapshot = *loaded.snapshot;
    const std::uint32_t workers = worker_count(snapshot.config);
    const std::uint32_t connections = connections_that_fit(snapshot, workers);

    auto listeners = open_listeners(snapshot.config, workers);
    if (!listeners) {
        fmt::print(stderr, "postern: nothing was started: {}\n", listeners.error().text);
        return 1;
    }

    // Signals are for this thread alone; those made from here on inherit the mask.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
        sigaddset(&signals, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return serve_until_told(snapshot, workers, connections, *listeners, signals, took);
}

}  // namespace postern::app

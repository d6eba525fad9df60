#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <future>
#include <thread>

#include <fmt/format.h>

#include "answers.h"
#include "commands.h"
#include "control.h"
#include "load.h"
#include "notify.h"
#include "postern/io/clock.h"
#include "postern/io/entropy.h"
#include "postern/log/log.h"
#include "postern/shard/common.h"
#include "postern/shard/worker.h"
#include "postern/spool/segments.h"
#include "privileges.h"
#include "queue_answers.h"
#include "say.h"

namespace postern::app {
namespace {

/// Descriptors that are neither senders nor smart hosts: rings, log, standard streams, the
/// resolver's and admin's.
constexpr std::uint64_t descriptors_reserved = 128;
/// How often it is looked whether the workers have ended.
constexpr base::Duration ending_look = std::chrono::milliseconds(20);

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
    hosts = std::min(hosts, limit.rlim_cur / 4);         // most pools of many are idle
    const std::uint64_t segments = limit.rlim_cur / 32;  // of the spool: 64 MiB each
    const std::uint64_t others =
        descriptors_reserved + hosts + segments + workers * (8 + snapshot.config.listeners.size());
    const std::uint64_t room = limit.rlim_cur > others ? limit.rlim_cur - others : 1;
    const std::uint32_t wanted = snapshot.config.limits.connections;
    if (room < wanted) {
        say(stderr,
            "postern: limits.connections is lowered from {} to {}: the limit on open files is {}; "
            "raise it (LimitNOFILE= "
            "of the service, or ulimit -n) to have more\n",
            wanted,
            room,
            limit.rlim_cur);
    }
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, wanted));
}

/// A worker's thread: makes the worker there, says how that went, and serves.
void serve(
    Watch& watch,
    const shard::WorkerSettings& settings,
    const shard::Snapshot& snapshot,
    shard::Common& common,
    Control& control,
    log::Buffer& lines,
    std::promise<base::Result<shard::Worker*>> made,
    std::atomic<std::uint32_t>& at_work) {
    pthread_setname_np(pthread_self(), fmt::format("worker {}", settings.index).c_str());
    forget_capabilities();
    watch.begin_worker(settings.index);
    auto worker = shard::Worker::create(settings, snapshot, common, control, lines);
    if (!worker) {
        made.set_value(worker.error());
        return;
    }
    made.set_value(worker->get());
    (*worker)->run();
    --at_work;
}

/// What may take root.
struct Bound {
    std::vector<std::vector<int>> sockets;  // by listener, by worker
    int admin = -1;
    Privileges privileges;
};

/// Where only root may make it.
base::Result<void> make_spool_folder(const std::filesystem::path& path) {
    std::error_code error;
    const mode_t mask = ::umask(077);  // mail lies in it
    std::filesystem::create_directories(path, error);
    ::umask(mask);
    if (error) {
        return base::Error{fmt::format(
            "the folder {} of the spool cannot be made: {}; make it, or set spool.path",
            path.string(),
            error.message())};
    }
    return {};
}

/// Binds, and is root no more. No thread has been made yet.
base::Result<Bound> bind_and_drop(
    const config::Config& config, bool keeps_mail, std::uint32_t workers) {
    Bound bound;
    if (base::Result<void> made = make_spool_folder(config.spool.path); !made && keeps_mail) {
        return made.error();
    }
    std::vector<std::filesystem::path> own{config.spool.path};
    if (config.log.output.kind == config::LogOutput::Kind::file) {
        if (base::Result<void> made = log::make_file(config.log.output.path.string()); !made) {
            return made.error();
        }
        own.push_back(config.log.output.path);
    }
    // Before the listeners: who finds them open finds this open too.
    const base::Result<int> admin = Admin::listen(config.admin.address);
    if (!admin) {
        return admin.error();
    }
    bound.admin = *admin;
    if (!config.admin.address.socket.empty()) {
        own.push_back(config.admin.address.socket);
    }
    for (const config::Listener& listener : config.listeners) {
        auto sockets = open_sockets(listener, workers);
        if (!sockets) {
            ::unlink(config.admin.address.socket.c_str());
            return sockets.error();
        }
        bound.sockets.push_back(std::move(*sockets));
    }
    base::Result<Privileges> privileges = drop_root(own);
    if (!privileges) {
        return privileges.error();
    }
    bound.privileges = std::move(*privileges);
    return bound;
}

log::Options log_options(const config::Log& config) {
    log::Options options;
    options.on_thread = forget_capabilities;
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

/// The next signal, or 0: none within so much time.
int next_signal(int signals, base::Duration wait) {
    pollfd ready{signals, POLLIN, 0};
    ::poll(&ready, 1, static_cast<int>(base::to_ms(wait)));
    signalfd_siginfo signal{};
    return ready.revents != 0 && ::read(signals, &signal, sizeof signal) == sizeof signal
               ? static_cast<int>(signal.ssi_signo)
               : 0;
}

void reopen(log::Log& log) {
    if (const base::Result<void> reopened = log.reopen(); !reopened) {
        say(stderr, "postern: the old log stays in use: {}\n", reopened.error().text);
    }
}

/// Does what signals ask for, and looks after the workers, until it is told to stop.
void serve_signals(Control& control, log::Log& log, Watch& watch, int signals) {
    for (;;) {
        const int signal = next_signal(signals, Watch::interval);
        watch.tick();
        control.keep_up_tls(io::monotonic_time());
        switch (signal) {
            case 0:
                break;
            case SIGUSR1:
                watch.print(stderr);
                break;
            case SIGHUP:
                reopen(log);
                control.request_reload();
                break;
            default:
                return;
        }
    }
}

SpoolHealth spool_health(
    const metrics::Registry& registry, const spool::Segments* segments, const AskWorker& ask) {
    SpoolHealth health;
    if (segments == nullptr) {
        health.state.trouble = "it could not be opened at start: no mail is kept";
        return health;
    }
    health.state = segments->state();
    for (const metrics::Meters& meters : registry.all()) {
        health.messages += meters.own().value<metrics::Metric::spool_messages>();
    }
    health.oldest_ms = oldest_arrival_ms(registry.workers(), ask);
    return health;
}

/// What the admin server answers with. The references outlive it.
AdminAnswers answers_of(
    metrics::Registry& registry,
    const log::Log& log,
    Control& control,
    const Watch& watch,
    const spool::Segments* segments,
    const std::atomic<Readiness>& readiness) {
    const AskWorker ask = [&control](auto worker, auto what, auto answered) {
        return control.ask_queue(worker, std::move(what), std::move(answered));
    };
    return {
        [&registry, &log, &control] { return answer_metrics(registry, log, control); },
        [&registry, &watch, &control, segments, ask] {
            return answer_health(
                watch, control.in_force()->generation, spool_health(registry, segments, ask));
        },
        [&readiness] { return answer_ready(readiness.load()); },
        [&registry, &control](const auto& addresses, const std::string& from, bool json) {
            return answer_route(registry, *control.in_force(), addresses, from, json);
        },
        [&control](bool dry_run, bool force) {
            return answer_reload(control, {dry_run, force});
        },
        [&registry, segments, ask](shard::QueueChange change, const QueueParameters& parameters) {
            const auto spool = segments == nullptr ? spool::SpoolState() : segments->state();
            if (spool.recovering) {
                return answer_queue_unread(spool.recovered);
            }
            return change == shard::QueueChange::none
                       ? answer_queue_list(registry.workers(), ask, parameters)
                       : answer_queue_change(registry.workers(), ask, change, parameters);
        },
        [&control] { return control.in_force()->config.admin.token; }};
}

/// Reads what is in the spool and looks after it, on a thread of its own.
void start(spool::Segments& segments, const Privileges& privileges) {
    // That thread has what this one has.
    std::thread([&] {
        if (!privileges.root) {
            forget_capabilities();
        }
        segments.start();
    }).join();
}

/// Starts the workers, waits for signals, ends the workers. Returns the exit code.
int serve_until_told(
    const std::string& config_file,
    std::unique_ptr<shard::Snapshot> first,
    std::uint32_t workers,
    std::uint32_t connections,
    int signals,
    base::Duration took) {
    const config::Config config = first->config;
    const base::Result<Bound> bound = bind_and_drop(config, needs_spool(*first), workers);
    if (!bound) {
        say(stderr, "postern: nothing was started: {}\n", bound.error().text);
        return 1;
    }
    // One buffer for each worker, one for the watch over them, one for the control of reloads.
    auto log = log::Log::open(log_options(config.log), workers + 2);
    if (!log) {
        say(stderr, "postern: nothing was started: {}\n", log.error().text);
        return 1;
    }
    base::HashKey client_keys;
    base::HashKey answer_keys;
    io::fill_with_entropy(std::as_writable_bytes(std::span(&client_keys, 1)));
    io::fill_with_entropy(std::as_writable_bytes(std::span(&answer_keys, 1)));
    shard::Common common(config, connections, workers, client_keys, answer_keys);
    metrics::Registry& registry = common.metrics;
    Watch watch(registry, (*log)->buffer(workers));
    if (const auto made = shard::make_tls_contexts(*first, common.tls); !made) {
        say(stderr, "postern: nothing was started: {}\n", made.error().text);
        return 1;
    }
    Control control(config_file, workers, common, (*log)->buffer(workers + 1), std::move(first));
    const auto segments = spool::Segments::open(
        {.folder = config.spool.path.string(),
         .min_free = config.spool.min_free.octets,
         .workers = workers});
    if (!segments && needs_spool(control.first())) {
        say(stderr, "postern: nothing was started: {}\n", segments.error().text);
        return 1;
    }
    if (segments) {
        (*segments)->set_on_sentence([&](const std::string& what) { control.say("spool", what); });
        common.spool = segments->get();
    } else {
        control.say("spool", segments.error().text + "; no mail is kept, sync delivery needs none");
    }

    std::vector<shard::WorkerSettings> settings(workers);
    for (std::uint32_t number = 0; number < config.listeners.size(); ++number) {
        for (std::uint32_t i = 0; i < workers; ++i) {
            settings[i].listeners.push_back({number, bound->sockets[number][i]});
        }
    }
    std::atomic<Readiness> readiness{Readiness::starting};
    const std::unique_ptr<Admin> admin = Admin::serve(
        config.admin.address,
        bound->admin,
        answers_of(registry, **log, control, watch, common.spool, readiness));

    std::atomic<std::uint32_t> at_work{workers};
    std::vector<std::thread> threads;
    std::vector<std::future<base::Result<shard::Worker*>>> made;
    for (std::uint32_t i = 0; i < workers; ++i) {
        std::promise<base::Result<shard::Worker*>> promise;
        made.push_back(promise.get_future());
        settings[i].index = i;
        settings[i].bounds = shard::worker_bounds(config, connections);
        threads.emplace_back(
            serve,
            std::ref(watch),
            std::move(settings[i]),
            std::cref(control.first()),
            std::ref(common),
            std::ref(control),
            std::ref((*log)->buffer(i)),
            std::move(promise),
            std::ref(at_work));
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
            say(stderr, "postern: nothing was started: {}\n", worker.error().text);
        }
    }
    if (!failed) {
        control.start(running, took);
        if (!bound->privileges.root) {
            forget_binding();  // the thread for reloads has what it needs
        }
        if (common.spool != nullptr) {
            start(*common.spool, bound->privileges);
        }
        readiness = Readiness::serving;
        control.say("ready");
        if (!bound->privileges.sentence.empty()) {
            control.say("privileges", bound->privileges.sentence);
        }
        notify("READY=1");
        serve_signals(control, **log, watch, signals);
        control.say("shutting down");
        notify("STOPPING=1");
    }
    readiness = Readiness::stopping;
    control.stop();
    for (shard::Worker* worker : running) {
        worker->request_shutdown();
    }
    while (!failed && at_work > 0) {  // up to data_done: an answer that is owed is waited for
        if (const int signal = next_signal(signals, ending_look); signal == SIGUSR1) {
            watch.print(stderr);
        } else if (signal == SIGHUP) {
            reopen(**log);
        }
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    if (!failed) {
        control.say("stopped");
    }
    return failed ? 1 : 0;
}

}  // namespace

int run(const std::string& config_file) {
    protect_process();
    const base::Instant began = io::monotonic_time();
    Loaded loaded = load(config_file, 1);
    for (const std::string& line : loaded.warnings) {
        say(stderr, "warning: {}\n", line);
    }
    for (const std::string& line : loaded.errors) {
        say(stderr, "{}\n", line);
    }
    if (!loaded.snapshot) {
        say(stderr,
            "postern: nothing was started: {} error{} in the configuration\n",
            loaded.errors.size(),
            loaded.errors.size() == 1 ? "" : "s");
        return 1;
    }
    const base::Duration took = io::monotonic_time() - began;
    const std::uint32_t workers = worker_count(loaded.snapshot->config);
    const std::uint32_t connections = connections_that_fit(*loaded.snapshot, workers);

    // Signals are for this thread alone; those made from here on inherit the mask.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
        sigaddset(&signals, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const int descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
    if (descriptor < 0) {
        say(stderr, "postern: nothing was started: no signalfd: {}\n", std::strerror(errno));
        return 1;
    }
    const int code = serve_until_told(
        config_file, std::move(loaded.snapshot), workers, connections, descriptor, took);
    ::close(descriptor);
    return code;
}

}  // namespace postern::app

#include "control.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "certificates.h"
#include "load.h"
#include "notify.h"
#include "postern/config/parse.h"
#include "postern/io/clock.h"
#include "postern/io/listener.h"
#include "postern/route/explain.h"

namespace postern::app {
namespace {

constexpr std::size_t warnings_logged_max = 20;
constexpr const char* shutting_down = "it is shutting down";
/// A worker's turn is over in milliseconds; one that is not has stood still, and a reload does not
/// wait for it for ever.
constexpr std::chrono::seconds patience{30};

void close_all(const std::vector<std::vector<int>>& sockets) {
    for (const std::vector<int>& of_listener : sockets) {
        for (const int descriptor : of_listener) {
            ::close(descriptor);
        }
    }
}

bool open_in(const shard::Snapshot& snapshot, const config::Endpoint& address) {
    return std::any_of(
        snapshot.config.listeners.begin(),
        snapshot.config.listeners.end(),
        [&](const config::Listener& listener) { return listener.address == address; });
}

}  // namespace

base::Result<std::vector<int>> open_sockets(
    const config::Listener& listener, std::uint32_t workers) {
    const auto address = io::Address::parse(listener.address.host, listener.address.port);
    POSTERN_ASSERT(address.has_value(), "a listener's address was checked");
    std::vector<int> sockets;
    for (std::uint32_t i = 0; i < workers; ++i) {
        const base::Result<int> descriptor = io::open_listener(*address);
        if (!descriptor) {
            close_all({sockets});
            return descriptor.error();
        }
        sockets.push_back(*descriptor);
    }
    return sockets;
}

Control::Control(
    std::string config_file,
    std::uint32_t workers,
    shard::Common& common,
    log::Buffer& lines,
    std::unique_ptr<shard::Snapshot> first)
    : config_file_(std::move(config_file)),
      worker_count_(workers),
      common_(common),
      started_(first->config),
      tickets_due_(io::monotonic_time() + tls::TicketKeys::period),
      certificates_due_(io::monotonic_time()),
      host_names_(
          [this](const shard::Snapshot& snapshot, std::size_t pool, const auto& addresses) {
              for (shard::Worker* const worker : workers_) {
                  worker->set_hosts(snapshot.pool_identities[pool], addresses);
              }
          },
          [this](const std::string& name, bool resolved, const std::string& what) {
              tell(name, resolved, what);
          }),
      lines_(lines) {
    shard::identify_pools(*first, nullptr, next_identity_);
    shard::number_listeners(*first, nullptr, common_);
    published_.push_back(std::make_unique<Published>());
    published_.back()->snapshot = std::move(first);
}

Control::~Control() {
    stop();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Control::start(std::vector<shard::Worker*> workers, base::Duration took) {
    {
        const std::lock_guard lock(mutex_);
        workers_ = std::move(workers);
    }
    const shard::Snapshot& snapshot = first();
    metrics::count_reload(
        common_.metrics.control(),
        true,
        snapshot.generation,
        snapshot.table->rule_count(),
        io::wall_time(),
        took);
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "rules");
        serve();
    });
}

// --- on the workers' threads ---------------------------------------------------------------------

Control::Published& Control::published(const shard::Snapshot& snapshot) {
    const auto found = std::find_if(published_.begin(), published_.end(), [&](const auto& each) {
        return each->snapshot.get() == &snapshot;
    });
    POSTERN_ASSERT(found != published_.end(), "a worker names a snapshot that lives");
    return **found;
}

void Control::taken(const shard::Snapshot& snapshot) {
    const std::lock_guard lock(mutex_);
    if (++published(snapshot).taken == worker_count_) {
        taken_by_all_.notify_all();
    }
}

void Control::done(const shard::Snapshot& snapshot) {
    const std::lock_guard lock(mutex_);
    if (++published(snapshot).done == worker_count_) {
        done_ = true;
        asked_.notify_all();
    }
}

// --- on any thread -------------------------------------------------------------------------------

bool Control::stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
}

std::shared_ptr<const shard::Snapshot> Control::in_force() const {
    const std::lock_guard lock(mutex_);
    return published_.back()->snapshot;
}

bool Control::ask_queue(
    std::uint32_t worker, shard::QueueAsk ask, std::function<void(shard::QueueAnswer)> answered) {
    const std::lock_guard lock(mutex_);  // a worker that was not stopped yet is there
    if (stopped_ || worker >= workers_.size()) {
        return false;
    }
    workers_[worker]->request_queue(std::move(ask), std::move(answered));
    return true;
}

std::uint64_t Control::rules_octets() const {
    const std::lock_guard lock(mutex_);
    std::uint64_t octets = 0;
    for (const auto& each : published_) {
        const route::Table& table = *each->snapshot->table;
        octets += table.octets() + table.name_octets();
    }
    return octets;
}

std::uint64_t Control::kept_octets() const {
    return common_.kept.count() * sizeof(shared::KeptAnswer) + common_.recipients.held_octets();
}

ReloadReport Control::reload(const ReloadOptions& options) {
    std::future<ReloadReport> report;
    {
        const std::lock_guard lock(mutex_);
        requests_.push_back({options, {}});
        report = requests_.back().report.get_future();
        if (stopped_) {
            refuse_all();
        }
        asked_.notify_all();
    }
    return report.get();
}

void Control::request_reload() {
    const std::lock_guard lock(mutex_);
    requested_ = true;
    asked_.notify_all();
}

/// With mutex_ held.
void Control::refuse_all() {
    for (Request& request : requests_) {
        ReloadReport report;
        report.generation = published_.back()->snapshot->generation;
        report.errors.emplace_back(shutting_down);
        request.report.set_value(std::move(report));
    }
    requests_.clear();
}

void Control::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        refuse_all();
        asked_.notify_all();
        taken_by_all_.notify_all();
    }
    const std::lock_guard no_more(applying_);
    host_names_.stop();
}

// --- on the thread of its own --------------------------------------------------------------------

void Control::serve() {
    if (const std::lock_guard applying(applying_); !stopped()) {
        host_names_.use(in_force());
    }
    std::unique_lock lock(mutex_);
    for (;;) {
        asked_.wait(lock, [&] { return stopped_ || done_ || requested_ || !requests_.empty(); });
        if (stopped_) {
            return;
        }
        if (requested_) {
            requested_ = false;
            lock.unlock();
            do_reload({});
            lock.lock();
        } else if (!requests_.empty()) {
            Request request = std::move(requests_.front());
            requests_.pop_front();
            lock.unlock();
            request.report.set_value(do_reload(request.options));
            lock.lock();
        } else {
            lock.unlock();
            collect();
            lock.lock();
        }
    }
}

void Control::collect() {
    std::vector<std::unique_ptr<Published>> unused;  // freed with no lock held
    const std::lock_guard lock(mutex_);
    done_ = false;
    for (auto& each : published_) {
        if (each->done == worker_count_) {
            unused.push_back(std::move(each));
        }
    }
    std::erase(published_, nullptr);
}

ReloadReport Control::do_reload(const ReloadOptions& options) {
    const base::Instant began = io::monotonic_time();
    if (!options.dry_run) {
        notify(fmt::format(
            "RELOADING=1\nMONOTONIC_USEC={}",
            began.time_since_epoch() / std::chrono::microseconds(1)));
    }
    ReloadReport report;
    try {
        report = look_and_apply(options);
    } catch (const std::bad_alloc&) {
        // Files larger than memory: what is in force needs none of it.
        report = {};
        report.generation = in_force()->generation;
        report.errors.push_back(
            fmt::format("{}: there is not enough memory to read it with its rules", config_file_));
    }
    const base::Duration took = io::monotonic_time() - began;
    report.ms = static_cast<std::uint64_t>(base::to_ms(took));
    if (report.result == ReloadReport::Result::applied) {
        // What takes longest is looked at last: the new rules are in force already.
        const auto more =
            route::public_suffix_warnings(*in_force()->table, report.rules.rules_added);
        report.warnings.insert(report.warnings.end(), more.begin(), more.end());
    }
    if (!options.dry_run) {
        count(report, took);
        log(report);
        if (!stopped()) {  // STOPPING=1 is the last that the service manager hears
            notify("READY=1");
        }
    }
    return report;
}

ReloadReport Control::look_and_apply(const ReloadOptions& options) {
    ReloadReport report;
    report.generation = in_force()->generation;
    collect();
    const auto before = in_force();
    Loaded loaded = load(config_file_, before->generation + 1);
    report.warnings = std::move(loaded.warnings);
    report.errors = std::move(loaded.errors);
    if (!loaded.snapshot) {
        return report;
    }
    compare(*before, *loaded.snapshot, report);
    report.warnings.insert(
        report.warnings.end(), report.rules.warnings.begin(), report.rules.warnings.end());
    report.restart = config::changed_for_restart(started_, loaded.snapshot->config);
    const std::uint32_t shrink_max = before->config.rules.shrink_max.value;
    if (report.rules.shrinks(shrink_max) && !options.force) {
        report.errors.push_back(fmt::format(
            "{}: {} of {} rules are gone, more than rules.shrink_max = \"{} %\" allows; if that is "
            "meant: postern reload --force",
            config_file_,
            report.rules.removed,
            report.rules.before,
            shrink_max));
        return report;
    }
    for (const ListChange& list : report.lists) {
        if (list.shrinks(shrink_max) && !options.force) {
            report.errors.push_back(fmt::format(
                "{}: pool.{}.recipients_files: {} recipients instead of {}, fewer than "
                "rules.shrink_max = \"{} %\" allows; if that is meant: postern reload --force",
                config_file_,
                list.pool,
                list.after,
                list.before,
                shrink_max));
            return report;
        }
    }
    if (options.dry_run) {
        report.result = ReloadReport::Result::would_apply;
        report.generation = loaded.snapshot->generation;
        return report;
    }
    if (const auto made = shard::make_tls_contexts(*loaded.snapshot, common_.tls); !made) {
        report.errors.push_back(fmt::format("{}: {}", config_file_, made.error().text));
        return report;
    }
    if (apply(std::move(loaded.snapshot), report)) {
        report.result = ReloadReport::Result::applied;
        report.generation = in_force()->generation;
    }
    return report;
}

/// Hands the snapshot out and waits until every worker has it. False: a listener's socket can not
/// be had, and `report` says so.
bool Control::apply(std::unique_ptr<shard::Snapshot> next, ReloadReport& report) {
    const std::lock_guard applying(applying_);
    if (stopped()) {
        report.errors.emplace_back(shutting_down);
        return false;
    }
    const auto before = in_force();
    std::vector<std::vector<int>> sockets;  // of the new listeners, in the configuration's order
    for (const config::Listener& listener : next->config.listeners) {
        if (open_in(*before, listener.address)) {
            continue;
        }
        auto opened = open_sockets(listener, worker_count_);
        if (!opened) {
            close_all(sockets);
            report.errors.push_back(fmt::format("{}: {}", config_file_, opened.error().text));
            return false;
        }
        sockets.push_back(std::move(*opened));
    }
    shard::identify_pools(*next, before.get(), next_identity_);
    shard::number_listeners(*next, before.get(), common_);
    std::vector<std::vector<shard::OpenedListener>> opened(worker_count_);  // by worker
    std::size_t used = 0;
    for (const config::Listener& listener : next->config.listeners) {
        if (open_in(*before, listener.address)) {
            continue;
        }
        const auto number = static_cast<std::uint32_t>(
            std::find_if(
                next->listeners.begin(),
                next->listeners.end(),
                [&](const shard::ListenerState& each) {
                    return each.config.address == listener.address;
                }) -
            next->listeners.begin());
        for (std::uint32_t worker = 0; worker < worker_count_; ++worker) {
            opened[worker].push_back({number, sockets[used][worker]});
        }
        ++used;
    }

    std::unique_lock lock(mutex_);
    published_.push_back(std::make_unique<Published>());
    Published& published = *published_.back();
    if (published_.size() > shard::generations_max) {
        next->oldest_kept =
            published_[published_.size() - shard::generations_max]->snapshot->generation;
    }
    published.snapshot = std::move(next);
    lock.unlock();
    for (std::uint32_t worker = 0; worker < worker_count_; ++worker) {
        workers_[worker]->publish(*published.snapshot, std::move(opened[worker]));
    }
    lock.lock();
    if (!taken_by_all_.wait_for(
            lock, patience, [&] { return published.taken == worker_count_ || stopped_; })) {
        report.warnings.push_back(fmt::format(
            "{} of {} workers have not taken the new generation for {} s: they stand still",
            worker_count_ - published.taken,
            worker_count_,
            patience.count()));
    }
    lock.unlock();
    if (common_.spool != nullptr) {
        common_.spool->set_min_free(in_force()->config.spool.min_free.octets);
    }
    host_names_.use(in_force());
    collect();
    return true;
}

void Control::count(const ReloadReport& report, base::Duration took) {
    metrics::count_reload(
        common_.metrics.control(),
        report.result == ReloadReport::Result::applied,
        report.generation,
        in_force()->table->rule_count(),
        io::wall_time(),
        took);
}

// --- the log -------------------------------------------------------------------------------------

void Control::say(std::string_view event, std::string_view text) {
    const std::lock_guard lock(lines_mutex_);
    log::Line line = lines_.line(io::wall_time(), event);
    if (!text.empty()) {
        line.text(log::Field::reply, text);
    }
    line.commit();
}

void Control::line(std::string_view event, std::uint64_t generation, std::string_view text) {
    const std::lock_guard lock(lines_mutex_);
    lines_.line(io::wall_time(), event)
        .number(log::Field::generation, generation)
        .text(log::Field::reply, text)
        .commit();
}

void Control::keep_up_tls(base::Instant now) {
    if (now < tickets_due_ && now < certificates_due_) {
        return;
    }
    if (now >= tickets_due_) {
        common_.tls.rotate_tickets();
        tickets_due_ = now + tls::TicketKeys::period;
    }
    if (now >= certificates_due_) {
        const auto snapshot = in_force();
        for (const std::string& warning :
             certificate_warnings(config_file_, *snapshot, io::wall_time())) {
            line("certificate warning", snapshot->generation, warning);
        }
        certificates_due_ = now + std::chrono::days(1);
    }
}

void Control::tell(const std::string& name, bool resolved, const std::string& what) {
    const std::lock_guard lock(lines_mutex_);
    lines_.line(io::wall_time(), resolved ? "name resolved" : "name unresolved")
        .text(log::Field::host, name)
        .text(log::Field::reply, what)
        .commit();
}

/// What the last reload warned of already is not told again.
void Control::log(ReloadReport report) {
    std::vector<std::string> all = report.warnings;
    std::erase_if(report.warnings, [&](const std::string& warning) {
        return std::find(warned_of_.begin(), warned_of_.end(), warning) != warned_of_.end();
    });
    warned_of_ = std::move(all);
    for (std::size_t i = 0; i < std::min(report.warnings.size(), warnings_logged_max); ++i) {
        line("reload warning", report.generation, report.warnings[i]);
    }
    if (report.warnings.size() > warnings_logged_max) {
        line(
            "reload warning",
            report.generation,
            fmt::format(
                "and {} more: postern check prints them",
                report.warnings.size() - warnings_logged_max));
    }
    const bool applied = report.result == ReloadReport::Result::applied;
    std::string text = applied ? difference_line(report) : report.errors.front();
    if (!applied && report.errors.size() > 1) {
        text += fmt::format(" (and {} more: postern check prints them)", report.errors.size() - 1);
    }
    const std::lock_guard lock(lines_mutex_);
    lines_.line(io::wall_time(), applied ? "reloaded" : "reload refused")
        .number(log::Field::generation, report.generation)
        .text(log::Field::reply, text)
        .number(log::Field::ms, report.ms)
        .commit();
}

}  // namespace postern::app

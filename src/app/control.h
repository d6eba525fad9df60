#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host_names.h"
#include "postern/log/log.h"
#include "postern/shard/common.h"
#include "postern/shard/worker.h"
#include "reload.h"

namespace postern::app {

/// Owns the snapshots: builds the next one beside the one in force, hands it to the workers, and
/// frees those that no worker looks at any more: all of it on one thread of its own, since an
/// allocator keeps for each thread what it freed, and a table is large. Made and destroyed by the
/// control thread; the workers are gone before it.
class Control final : public shard::Control {
   public:
    /// `lines`: the control thread's; from now on only `say` builds lines there.
    Control(
        std::string config_file,
        std::uint32_t workers,
        shard::Common& common,
        log::Buffer& lines,
        std::unique_ptr<shard::Snapshot> first);
    ~Control();
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

    /// The first snapshot, numbered. Before `start`.
    const shard::Snapshot& first() const { return *published_.front()->snapshot; }

    /// The workers run, under the first snapshot. `took`: to read it.
    void start(std::vector<shard::Worker*> workers, base::Duration took);

    /// Any thread; one at a time, the others wait. Comes back when the new generation is in force
    /// on every worker, or refused, or looked at. Its lines are in the log by then. Before `start`
    /// it waits for that.
    ReloadReport reload(const ReloadOptions& options);
    /// Asks for one, and does not wait. Any thread.
    void request_reload();
    /// Nothing is handed to the workers any more; what is being read is not waited for, and
    /// refused. Control thread, before the workers are told to end.
    void stop();

    /// The generation in force; it lives at least as long as it is held. Any thread.
    std::shared_ptr<const shard::Snapshot> in_force() const;

    /// Has the worker look at its queue; `answered` is called on its thread, unless it stands
    /// still. False: it does not run. Any thread.
    bool ask_queue(
        std::uint32_t worker,
        shard::QueueAsk ask,
        std::function<void(shard::QueueAnswer)> answered);

    /// Names of smart hosts that have no address now. Any thread.
    std::size_t unresolved_names() const { return host_names_.unresolved(); }

    /// Memory of the tables of all generations that live. Any thread.
    std::uint64_t rules_octets() const;
    /// Octets held by answers that all workers know.
    std::uint64_t kept_octets() const;

    /// What time alone asks for: new keys for tickets, and once a day a warning of certificates
    /// that are about to end. Every second or so; the control thread.
    void keep_up_tls(base::Instant now);

    /// A line of the log. Any thread.
    void say(std::string_view event, std::string_view text = {});

   private:
    /// A generation, as long as it lives.
    struct Published {
        std::shared_ptr<const shard::Snapshot> snapshot;
        std::uint32_t taken = 0;  // workers for which it is or was in force
        std::uint32_t done = 0;   // workers that look at it no more
    };

    // shard::Control: on the workers' threads
    void taken(const shard::Snapshot& snapshot) override;
    void done(const shard::Snapshot& snapshot) override;

    /// A reload that somebody waits for.
    struct Request {
        ReloadOptions options;
        std::promise<ReloadReport> report;
    };

    Published& published(const shard::Snapshot& snapshot);
    bool stopped() const;
    void refuse_all();

    // On the thread of its own.
    void serve();
    ReloadReport do_reload(const ReloadOptions& options);
    ReloadReport look_and_apply(const ReloadOptions& options);
    bool apply(std::unique_ptr<shard::Snapshot> next, ReloadReport& report);
    /// Frees the snapshots that every worker is done with.
    void collect();
    void log(ReloadReport report);
    void count(const ReloadReport& report, base::Duration took);
    void tell(const std::string& name, bool resolved, const std::string& what);
    void line(std::string_view event, std::uint64_t generation, std::string_view text);

    const std::string config_file_;
    const std::uint32_t worker_count_;
    shard::Common& common_;
    const config::Config started_;    // what a key that needs a restart is
    base::Instant tickets_due_;       // the control thread's
    base::Instant certificates_due_;  // too
    std::uint64_t next_identity_ = 1;
    std::vector<shard::Worker*> workers_;  // set under mutex_
    std::vector<std::string> warned_of_;   // in the log, by the last reload
    HostNames host_names_;                 // under applying_
    std::thread thread_;
    std::mutex applying_;  // while something is handed to the workers; before mutex_

    std::mutex lines_mutex_;
    log::Buffer& lines_;

    mutable std::mutex mutex_;  // for what follows; held for a moment
    std::condition_variable taken_by_all_;
    std::condition_variable asked_;  // something for `serve`
    std::deque<Request> requests_;
    bool requested_ = false;  // by `request_reload`
    bool done_ = false;       // every worker is done with some snapshot
    bool stopped_ = false;
    // The oldest first, the one in force last. Law: but for the moment in which a new one is handed
    // out, at most shard::generations_max.
    std::vector<std::unique_ptr<Published>> published_;
};

/// The sockets of one listener, one for each worker.
base::Result<std::vector<int>> open_sockets(
    const config::Listener& listener, std::uint32_t workers);

}  // namespace postern::app

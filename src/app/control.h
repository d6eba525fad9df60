#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "postern/log/log.h"
#include "postern/shard/common.h"
#include "postern/shard/worker.h"
#include "reload.h"

namespace postern::app {

/// Owns the snapshots: builds the next one beside the one in force, hands it to the workers, and
/// frees those that no worker looks at any more. Made and destroyed by the control thread; the
/// workers are gone before it.
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
    /// on every worker, or refused, or looked at. Its lines are in the log by then.
    ReloadReport reload(const ReloadOptions& options);

    /// The generation in force; it lives at least as long as it is held. Any thread.
    std::shared_ptr<const shard::Snapshot> in_force() const;
    /// Memory of the tables of all generations that live. Any thread.
    std::uint64_t rules_octets() const;

    /// Becomes readable when there is something for `collect`. Control thread.
    int descriptor() const { return wake_; }

    /// Frees the snapshots that every worker is done with. Any thread.
    void collect();
    /// No reload any more; one that is under way is waited for.
    void stop();

    /// A line of the log. Any thread.
    void say(std::string_view event);

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

    Published& published(const shard::Snapshot& snapshot);
    ReloadReport look_and_apply(const ReloadOptions& options);
    bool apply(std::unique_ptr<shard::Snapshot> next, ReloadReport& report);
    void log(ReloadReport report);
    void count(const ReloadReport& report, base::Duration took);
    void line(std::string_view event, std::uint64_t generation, std::string_view text);

    const std::string config_file_;
    const std::uint32_t worker_count_;
    shard::Common& common_;
    const config::Config started_;  // what a key that needs a restart is
    std::uint64_t next_identity_ = 1;
    const int wake_;  // eventfd
    std::vector<shard::Worker*> workers_;

    std::mutex reloading_;                // held by the reload that is under way
    bool stopped_ = false;                // under reloading_
    std::vector<std::string> warned_of_;  // in the log, by the last reload; under reloading_

    std::mutex lines_mutex_;
    log::Buffer& lines_;

    mutable std::mutex mutex_;  // for what follows; held for a moment
    std::condition_variable taken_by_all_;
    // The oldest first, the one in force last. Law: but for the moment in which a new one is handed
    // out, at most shard::generations_max.
    std::vector<std::unique_ptr<Published>> published_;
};

/// The sockets of one listener, one for each worker.
base::Result<std::vector<int>> open_sockets(
    const config::Listener& listener, std::uint32_t workers);

}  // namespace postern::app

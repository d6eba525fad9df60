#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "postern/names/resolver.h"
#include "postern/shard/resolved.h"
#include "postern/shard/snapshot.h"

namespace postern::app {

/// Keeps the pools that name their hosts supplied with addresses: watches the names of the snapshot
/// in force, and tells of each pool whose addresses may have changed. Without names it has no
/// resolver. `use` and `stop` one at a time.
class HostNames {
   public:
    /// A pool of the snapshot in force (`Snapshot::pools` by index) has these hosts. Called from
    /// within `use` or on the resolver's thread, one call at a time.
    using Found = std::function<void(const shard::Snapshot&, std::size_t, shard::PoolAddresses)>;
    /// What is new of a name, and whether it has addresses. Called as the one above.
    using Tell = std::function<void(const std::string& name, bool resolved, const std::string&)>;

    HostNames(Found found, Tell tell) : found_(std::move(found)), tell_(std::move(tell)) {}

    /// The snapshot is in force on all workers.
    void use(std::shared_ptr<const shard::Snapshot> snapshot);

    /// After it nobody is told any more.
    void stop() { resolver_.reset(); }

    /// How many names have no address now. Any thread.
    std::size_t unresolved() const;

   private:
    void heard(const names::Question& question, std::shared_ptr<const names::Answer> answer);
    void supply(std::size_t pool);

    const Found found_;
    const Tell tell_;

    mutable std::mutex mutex_;  // for what follows, but the resolver
    std::shared_ptr<const shard::Snapshot> snapshot_;
    std::map<names::Question, std::vector<std::size_t>> pools_;  // that ask it
    shard::Answers answers_;

    std::unique_ptr<names::Resolver> resolver_;  // gone first: it calls
};

/// The answers to all that the snapshot's pools ask, asked now: `postern check --connect`. Waits as
/// long as the resolver's tries take. The error says why nothing can be asked.
base::Result<shard::Answers> resolve_now(const shard::Snapshot& snapshot);

}  // namespace postern::app

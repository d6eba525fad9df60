#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/base/time.h"
#include "postern/names/answer.h"

/// Keeps host names and MX records resolved. It has a thread of its own, the only one that uses
/// c-ares; made and destroyed by the control thread.
///
/// Addresses come from the hosts file for the names that it has, as everywhere on the system, else
/// from the DNS (no search domains), which is asked again whenever a TTL has ended. What cannot be
/// renewed is tried again with growing pauses, and the last good answer serves on for an hour; then
/// the answer is `failed`.
namespace postern::names {

class Resolver {
   public:
    struct Options {
        std::string servers;  // "192.0.2.53,127.0.0.1:5353,[2001:db8::53]:53"; empty: the system's
                              // (resolv.conf)
        base::Duration timeout = std::chrono::seconds(2);  // of the first try; doubled each round
        int tries = 2;                                     // of each server
        void (*on_thread)() = nullptr;                     // called first on the resolver's thread
    };

    /// Monotonic time.
    using Clock = base::Instant (*)();
    /// A new or changed answer. Called on the resolver's thread, which answers nothing meanwhile:
    /// it copies, posts, and returns. It may call `watch`.
    using Listener = std::function<void(const Question&, const std::shared_ptr<const Answer>&)>;

    static base::Result<std::unique_ptr<Resolver>> start(
        const Options& options, Clock clock, Listener listener);
    /// After it the listener is not called any more. REQUIRES: not on the resolver's thread.
    ~Resolver();

    /// Replaces the questions that are kept answered; reads resolv.conf again if it changed.
    /// Questions that stay keep their answers, and the listener hears of them again only when they
    /// change. A new one has its first answer, if only `failed`, within the time that all tries
    /// take. Any thread.
    void watch(std::vector<Question> questions);

   private:
    struct Implementation;
    explicit Resolver(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::names

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kept_order.h"
#include "postern/base/time.h"
#include "postern/config/config.h"
#include "postern/spool/kept.h"

namespace postern::shard {

/// When what waits of a message is given up.
inline std::int64_t expiry_ms(const spool::Kept& kept, const config::Retry& retry) {
    return kept.arrival_ms() + base::to_ms(retry.expire);
}

/// When and in which order one worker's kept messages are tried: by smart host, not by message. A
/// pool that does not answer has one message tried as a probe, with growing pauses, and costs the
/// others nothing; when it answers, the oldest goes first, and the flood is dammed. It knows no
/// relay and no disk: time and rules come in, messages go out. The worker's thread.
class Queue {
   public:
    /// Where a recipient goes now.
    struct Way {
        std::uint32_t pool = 0;  // number in the relay
        config::Retry retry;
    };

    /// The rules in force, for the queue.
    class Router {
       public:
        /// nullopt: no rule leads anywhere.
        virtual std::optional<Way> way_of(
            const spool::Kept& kept, const spool::KeptRecipient& recipient) = 0;
        /// For what leads nowhere.
        virtual const config::Retry& retry() const = 0;
        /// Nobody waits longer for the next try.
        virtual std::int64_t longest_pause_ms() const = 0;

       protected:
        ~Router() = default;
    };

    /// Most that are tried at a time for a pool.
    static constexpr std::uint32_t window_max = 64;
    /// A pool's first pause when it does not answer, and its longest, where the configuration's are
    /// not shorter.
    static constexpr base::Duration pause_first = std::chrono::seconds(1);
    static constexpr base::Duration pause_max = std::chrono::seconds(30);

    explicit Queue(Router& router) : router_(router) {}

    // --- what is in it ---------------------------------------------------------------------------
    /// It is the worker's, and not to be tried yet.
    void add(spool::Kept& kept);
    /// It is not any more. REQUIRES: not scheduled, not being tried.
    void erase(spool::Kept& kept);

    KeptIndex& index() { return index_; }

    const KeptIndex& index() const { return index_; }

    // --- when ------------------------------------------------------------------------------------
    /// To be tried: at once where a recipient is due, else when the first one is. Not while it is
    /// held(). REQUIRES: added; some recipient waits; not scheduled yet.
    void schedule(spool::Kept& kept, std::int64_t now_ms);
    /// Takes it out again. Does nothing where it is not scheduled.
    void unschedule(spool::Kept& kept);
    bool orphaned(const spool::Kept& kept) const;
    /// The recipient's time has come, or is no time that we could have meant.
    bool is_due(const spool::KeptRecipient& recipient, std::int64_t now_ms) const;
    /// The pool it waits for; nullopt: none.
    std::optional<std::uint32_t> pool_of(const spool::Kept& kept) const;

    struct Next {
        spool::Kept* kept = nullptr;  // nothing more to do now
        std::uint32_t pool = 0;
        bool expired = false;  // not to be tried any more; pool says nothing
    };

    /// What is to be tried now; it is out of the schedule then, and where it is not expired counts
    /// as being tried until `tried`. Looks at a bounded number of messages: wait() says that there
    /// is more to look at.
    Next next(base::Instant now, std::int64_t now_ms);
    /// When next() has something to do by time alone; nullopt: never.
    std::optional<base::Duration> wait(base::Instant now, std::int64_t now_ms) const;

    // --- what came of it -------------------------------------------------------------------------
    /// May a message for the pool be tried now, past those that wait?
    bool open(std::uint32_t pool, base::Instant now) const;

    /// One that did not come from next() is tried, until `passed`. What waits does not wait for
    /// these but while the pool does not answer: then there is one probe, whoever it is.
    void passing(std::uint32_t pool) { ++lane(pool).passing; }

    enum class Came : std::uint8_t {
        answer,    // the host said something about the message
        trouble,   // nobody answered
        congested  // no place was free
    };

    /// A message that next() gave is not being tried any more.
    void tried(std::uint32_t pool, Came came, base::Instant now);
    /// And one of passing().
    void passed(std::uint32_t pool, Came came, base::Instant now);
    /// What was given by next() could not be tried, for no reason of the pool's: it is not being
    /// tried any more.
    void let_go(std::uint32_t pool);
    /// There was no memory for a message: it comes again in a second, if somebody waits, and others
    /// of the pool, which may be smaller, before it, but not at once. `pool`: where it was to be
    /// tried; route::none: nowhere. REQUIRES: not scheduled.
    void put_off(spool::Kept& kept, std::uint32_t pool, base::Instant now, std::int64_t now_ms);
    /// Another message was answered by the pool's hosts.
    void answered(std::uint32_t pool);

    /// Other rules are in force: everything is looked up again, little by little.
    void rules_changed();

   private:
    struct Older {
        bool operator()(const spool::Kept& a, const spool::Kept& b) const {
            return a.arrival_ms() != b.arrival_ms() ? a.arrival_ms() < b.arrival_ms()
                                                    : a.id() < b.id();
        }
    };

    struct Sooner {
        bool operator()(const spool::Kept& a, const spool::Kept& b) const {
            return a.schedule.due_ms < b.schedule.due_ms;
        }
    };

    /// What waits for one pool.
    struct Lane {
        bool empty() const { return ready.empty() && shared.empty(); }

        /// REQUIRES: not empty.
        KeptHeap<Older>& oldest();

        const KeptHeap<Older>& oldest() const { return const_cast<Lane*>(this)->oldest(); }

        base::Instant opens() const {
            return pause == base::Duration{} ? base::Instant::min() : closed_until;
        }

        KeptHeap<Older> ready;
        KeptHeap<Older> shared;  // these could be tried at another pool, too
        config::Retry retry;
        std::uint32_t trying = 0;   // of these, no more than the window
        std::uint32_t passing = 0;  // that never waited here
        std::uint32_t window = 1;
        base::Duration pause{};        // 0: it answers
        base::Instant closed_until{};  // while it does not
        // The pause is for that, not for want of a free place. Until then one more try costs
        // little: a gateway that was down for days bounces nothing that it has not tried.
        bool silent = false;
        base::Instant rests_until{};  // since memory was short
    };

    Lane& lane(std::uint32_t pool);
    /// Nothing but time is between the lane's oldest and its being tried.
    static bool has_room(const Lane& lane);
    static bool may_try(const Lane& lane, base::Instant now);
    void learn(Lane& lane, Came came, base::Instant now);
    void look_at_clock(std::int64_t now_ms);
    void look_up_again(spool::Kept& kept);
    void look_for_other_pools(Lane& lane);

    Router& router_;
    KeptIndex index_;
    std::vector<Lane> lanes_;             // by number in the relay
    std::size_t turn_ = 0;                // the lane that is looked at first
    KeptHeap<Sooner> delayed_;            // orphans, too
    std::vector<spool::Kept*> unrouted_;  // to be looked up again; null: gone meanwhile
    std::int64_t latest_ms_ = 0;          // that next() was told of
};

}  // namespace postern::shard

#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "postern/base/siphash.h"
#include "postern/base/time.h"
#include "postern/shared/spinlock.h"

/// What all workers know of each smart host: whether it is healthy, who probes it, and how many
/// connections to it there are. Read for each message, written when a connection or the health
/// changes. Any thread.
namespace postern::shared {

/// One host's. Trusted, until somebody has trouble with it: then it is aside for a pause, 1 s
/// doubled up to 30 s; then one worker at a time may probe it with one connection; then it is
/// trusted again, and each worker's messages in flight grow slowly at first.
class HostFacts {
   public:
    static constexpr base::Duration pause_min = std::chrono::seconds(1);
    static constexpr base::Duration pause_max = std::chrono::seconds(30);
    /// Behind a trouble the window begins at one message and doubles each step; behind the last
    /// step there is none.
    static constexpr base::Duration window_step = std::chrono::milliseconds(250);
    static constexpr unsigned window_steps = 10;

    enum class Health : std::uint8_t { trusted, aside, probing };
    Health health() const;
    /// Messages that one worker may have in flight there: none unless trusted.
    std::uint32_t window(base::Instant now) const;

    /// Trusted, and its trouble, if there was any, is over and done with.
    bool proven(base::Instant now) const {
        return window(now) == std::numeric_limits<std::uint32_t>::max();
    }

    /// Sets it aside; the pause is longer than the last one if it had not been proven since.
    /// `probe`: it is the caller's probe that failed. False: it is aside already, or somebody's
    /// probe is about to tell.
    bool fail(base::Instant now, bool probe);
    /// True: its pause is over, and nobody but the caller probes it until `lease` has passed.
    bool begin_probe(base::Instant now, base::Duration lease);
    /// The probe went well. False: it was overtaken, and changes nothing.
    bool trust(base::Instant now);
    /// The probe came to nothing that tells of the host: the next may begin at once.
    void leave_probe(base::Instant now);

    /// Its last trouble was that TLS was required and not to be had.
    void set_lacks_tls(bool lacks) { lacks_tls_.store(lacks, std::memory_order_relaxed); }

    bool lacks_tls() const { return lacks_tls_.load(std::memory_order_relaxed); }

    /// TLS came to nothing: until `plain_period` has passed it is spoken to in plain text. False:
    /// that was so already.
    bool begin_plain(base::Instant now);

    bool plain(base::Instant now) const {
        return now < base::Instant(base::Duration(plain_until_.load(std::memory_order_relaxed)));
    }

    static constexpr base::Duration plain_period = std::chrono::minutes(5);

    /// Connections of all workers, those being opened included. False: there are `bound` already.
    [[nodiscard]] bool add_connection(std::uint32_t bound);
    /// REQUIRES: one was added.
    void remove_connection();

    std::uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }

    /// Those of them that mail can go by.
    void add_working() { working_.fetch_add(1, std::memory_order_relaxed); }

    void remove_working() { working_.fetch_sub(1, std::memory_order_relaxed); }

    std::uint32_t working() const { return working_.load(std::memory_order_relaxed); }

   private:
    // Health, the pause's step, and a time in ms (since when trusted, until when aside, until when
    // the lease holds), in one word, so that each change is whole. 0: trusted, never in trouble.
    struct State {
        Health health = Health::trusted;
        unsigned step = 0;
        std::int64_t time_ms = 0;
    };

    static State unpack(std::uint64_t word);
    static std::uint64_t pack(const State& state);
    template <class Change>
    bool change(Change&& change);

    std::atomic<std::uint64_t> state_{0};
    std::atomic<std::uint32_t> connections_{0};
    std::atomic<std::uint32_t> working_{0};
    std::atomic<std::int64_t> plain_until_{0};  // ns
    std::atomic<bool> lacks_tls_{false};
};

/// The facts of every host that some worker uses, in a fixed table. A worker whose host finds no
/// place any more keeps facts of its own, and bounds its own connections.
class HostTable {
   public:
    HostTable(std::size_t hosts_max, const base::HashKey& key);
    HostTable(const HostTable&) = delete;
    HostTable& operator=(const HostTable&) = delete;

    /// The facts of that host of that pool, the same for every caller until as many have given them
    /// back. nullptr: the table is full.
    HostFacts* take(std::string_view pool, std::string_view host);
    /// True: nobody else has them, so they are forgotten, and the host was not trusted.
    bool give_back(HostFacts& facts);

    /// Hosts in the table.
    std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }

   private:
    static constexpr std::uint32_t nobody = std::numeric_limits<std::uint32_t>::max();

    struct alignas(64) Entry {
        HostFacts facts;
        std::uint64_t key = 0;
        std::uint32_t users = 0;
        std::uint32_t next = nobody;  // of those with the same head, or of the free ones
    };

    std::uint32_t& head_of(std::uint64_t key) { return heads_[key & (heads_.size() - 1)]; }

    const base::HashKey key_;
    Spinlock lock_;
    std::unique_ptr<Entry[]> entries_;
    std::vector<std::uint32_t> heads_;  // a power of two
    std::uint32_t free_ = nobody;
    std::atomic<std::uint32_t> count_{0};
};

}  // namespace postern::shared

#pragma once

#include <atomic>
#include <cstdint>

#include "postern/shared/counts.h"

/// Memory for bodies, over all workers (product.md, section 3): bounded, with a reserve for bodies
/// that have begun, and no client network may have more than an eighth. Octets are leased: a worker
/// takes them from the shared number in chunks and serves messages from its lease, so that in the
/// steady state a message writes nothing that another worker reads.
namespace postern::shared {

/// What the workers share. Any thread.
class Budget {
   public:
    /// `bound`: octets of all bodies together. `networks_max`: most client networks with bodies at
    /// a time.
    Budget(std::uint64_t bound, std::uint32_t workers, std::size_t networks_max);

    std::uint64_t bound() const { return bound_; }

    /// Octets leased: in use, or at hand in some worker's lease (at most two chunks each).
    std::uint64_t leased() const { return leased_.load(std::memory_order_relaxed); }

   private:
    friend class BudgetLease;
    bool lease(std::uint64_t octets);
    void give_back(std::uint64_t octets);

    // Law: in use <= leased_ <= bound_; a body begins only while leased_ <= begin_bound_.
    const std::uint64_t bound_;
    const std::uint64_t begin_bound_;
    const std::uint64_t chunk_;
    // A network's eighth: each worker may use `network_free_` for it without telling, and what they
    // use beyond that is counted in `networks_`, up to `network_bound_`. Law: network_bound_ +
    // workers * network_free_ <= bound_ / 8.
    const std::uint64_t network_free_;
    const std::uint64_t network_bound_;
    alignas(64) std::atomic<std::uint64_t> leased_{0};
    CountTable networks_;
};

/// One worker's hand on it. One thread.
class BudgetLease {
   public:
    /// `networks_max`: as the budget's, for this worker.
    BudgetLease(Budget& budget, std::size_t networks_max);
    BudgetLease(const BudgetLease&) = delete;
    BudgetLease& operator=(const BudgetLease&) = delete;
    ~BudgetLease();

    /// Takes `octets` for a body. `first`: the body begins with them, and may not while less than
    /// an eighth of the bound is left. `network`: the client's (network_key), or 0 for one that is
    /// exempt from its eighth. False: nothing is taken.
    [[nodiscard]] bool take(std::uint64_t network, std::uint64_t octets, bool first);
    /// Gives back what was taken, in one or in parts.
    void give_back(std::uint64_t network, std::uint64_t octets);

    std::uint64_t used() const { return used_; }

   private:
    void return_surplus();
    std::uint64_t told(std::uint64_t used) const;
    bool take_from_network(std::uint64_t network, std::uint64_t octets);
    void give_back_to_network(std::uint64_t network, std::uint64_t octets);

    Budget& budget_;
    std::uint64_t used_ = 0;
    std::uint64_t leased_ = 0;  // of the budget; used_ <= leased_
    CountTable networks_;       // this worker's use; nobody else looks
};

}  // namespace postern::shared

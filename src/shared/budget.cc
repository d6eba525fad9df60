#include "postern/shared/budget.h"

#include <algorithm>

#include "postern/base/assert.h"

namespace postern::shared {
namespace {

constexpr std::uint64_t parts_of_network = 8;  // a network has one of so many parts of the bound
constexpr std::uint64_t parts_of_reserve = 8;  // for bodies that have begun
constexpr std::uint64_t parts_untold =
    8;  // of a network's part: what workers use of it without telling each other
constexpr std::uint64_t chunks_of_worker =
    64;  // so that leases at hand are a small part of the bound

}  // namespace

Budget::Budget(std::uint64_t bound, std::uint32_t workers, std::size_t networks_max)
    : bound_(bound),
      begin_bound_(bound - bound / parts_of_reserve),
      chunk_(bound / (chunks_of_worker * workers)),
      network_free_(bound / parts_of_network / parts_untold / workers),
      network_bound_(bound / parts_of_network - network_free_ * workers),
      networks_(networks_max) {}

bool Budget::lease(std::uint64_t octets) {
    std::uint64_t leased = leased_.load(std::memory_order_relaxed);
    do {
        if (octets > bound_ || leased > bound_ - octets) {
            return false;
        }
    } while (!leased_.compare_exchange_weak(leased, leased + octets, std::memory_order_relaxed));
    return true;
}

void Budget::give_back(std::uint64_t octets) {
    const std::uint64_t before = leased_.fetch_sub(octets, std::memory_order_relaxed);
    POSTERN_ASSERT(before >= octets, "a lease is given back once");
}

BudgetLease::BudgetLease(Budget& budget, std::size_t networks_max)
    : budget_(budget), networks_(networks_max) {}

BudgetLease::~BudgetLease() {
    POSTERN_ASSERT(used_ == 0, "a worker's bodies are gone before its lease");
    budget_.give_back(leased_);
}

bool BudgetLease::take(std::uint64_t network, std::uint64_t octets, bool first) {
    const std::uint64_t at_hand = leased_ - used_;
    if (octets > at_hand) {
        // A chunk more than is missing, or, near the bound, just what is missing.
        const std::uint64_t missing = octets - at_hand;
        if (budget_.lease(missing + budget_.chunk_)) {
            leased_ += missing + budget_.chunk_;
        } else if (budget_.lease(missing)) {
            leased_ += missing;
        } else {
            return false;
        }
    }
    if ((first && budget_.leased() > budget_.begin_bound_) || !take_from_network(network, octets)) {
        return_surplus();
        return false;
    }
    used_ += octets;
    return true;
}

void BudgetLease::give_back(std::uint64_t network, std::uint64_t octets) {
    POSTERN_ASSERT(octets <= used_, "a worker gives back what it took");
    used_ -= octets;
    give_back_to_network(network, octets);
    return_surplus();
}

/// Keeps one chunk at hand for the next body, and gives the rest back when it has become two.
void BudgetLease::return_surplus() {
    const std::uint64_t at_hand = leased_ - used_;
    if (at_hand > 2 * budget_.chunk_) {
        budget_.give_back(at_hand - budget_.chunk_);
        leased_ = used_ + budget_.chunk_;
    }
}

/// Of `used` octets of a network, those that the workers tell each other of.
std::uint64_t BudgetLease::told(std::uint64_t used) const {
    return used > budget_.network_free_ ? used - budget_.network_free_ : 0;
}

bool BudgetLease::take_from_network(std::uint64_t network, std::uint64_t octets) {
    if (network == 0 || octets == 0) {
        return true;
    }
    const std::uint64_t before = networks_.value(network);
    const std::uint64_t more = told(before + octets) - told(before);
    if (more > 0 && !budget_.networks_.add(network, more, budget_.network_bound_)) {
        return false;
    }
    if (!networks_.add(network, octets, budget_.bound_)) {
        if (more > 0) {
            budget_.networks_.remove(network, more);
        }
        return false;
    }
    return true;
}

void BudgetLease::give_back_to_network(std::uint64_t network, std::uint64_t octets) {
    if (network == 0 || octets == 0) {
        return;
    }
    const std::uint64_t before = networks_.value(network);
    networks_.remove(network, octets);
    const std::uint64_t less = told(before) - told(before - octets);
    if (less > 0) {
        budget_.networks_.remove(network, less);
    }
}

}  // namespace postern::shared

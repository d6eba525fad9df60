#include "postern/relay/relay.h"

#include "pool.h"

namespace postern::relay {

struct Relay::Implementation {
    Implementation(
        io::Ring& ring,
        io::Timers& timers,
        World& world,
        metrics::Meters& meters,
        const Timeouts& timeouts)
        : corridor(ring, timers, world, meters, timeouts) {}

    Corridor corridor;
    std::vector<std::unique_ptr<Pool>> pools;
};

Relay::Relay(
    io::Ring& ring,
    io::Timers& timers,
    World& world,
    metrics::Meters& meters,
    const Timeouts& timeouts)
    : implementation_(std::make_unique<Implementation>(ring, timers, world, meters, timeouts)) {}

Relay::~Relay() {
    POSTERN_ASSERT(idle(), "the relay went with connections open or mail in it");
}

std::uint32_t Relay::add_pool(const PoolSettings& settings) {
    POSTERN_ASSERT(settings.hosts.size() == 1, "a pool has one host");
    auto& pools = implementation_->pools;
    pools.push_back(std::make_unique<Pool>(implementation_->corridor, settings));
    return static_cast<std::uint32_t>(pools.size() - 1);
}

void Relay::submit(mail::Submission& submission) {
    implementation_->pools[submission.pool]->submit(submission);
}

void Relay::flush() {
    Corridor& corridor = implementation_->corridor;
    for (Pool* pool = corridor.waiting.front(); pool != nullptr;) {
        pool->distribute();
        Pool* const next = corridor.waiting.next(*pool);
        if (!pool->has_waiting()) {
            pool->unlink();
        }
        pool = next;
    }
    if (corridor.shutting_down) {
        for (const auto& pool : implementation_->pools) {
            pool->quit_idle();
        }
    }
    while (Connection* connection = corridor.ready.front()) {
        connection->pump();
    }
}

std::uint32_t Relay::recipients_max(std::uint32_t pool) const {
    return implementation_->pools[pool]->recipients_max();
}

bool Relay::lacks_smtputf8(std::uint32_t pool) const {
    return implementation_->pools[pool]->lacks_smtputf8();
}

void Relay::shut_down() {
    implementation_->corridor.shutting_down = true;
}

void Relay::give_up_unsent() {
    for (const auto& pool : implementation_->pools) {
        pool->settle_waiting();
    }
    implementation_->corridor.give_up_unsent();
}

void Relay::cut() {
    implementation_->corridor.cutting = true;
    for (const auto& pool : implementation_->pools) {
        pool->close_all();
    }
}

bool Relay::idle() const {
    for (const auto& pool : implementation_->pools) {
        if (!pool->keeps_quiet()) {
            return false;
        }
    }
    return implementation_->corridor.transfers_used == 0;
}

}  // namespace postern::relay

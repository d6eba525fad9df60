#include "postern/relay/relay.h"

#include <algorithm>

#include "pool.h"

namespace postern::relay {

struct Relay::Implementation {
    Implementation(
        io::Ring& ring,
        io::Timers& timers,
        World& world,
        shared::HostTable& hosts,
        const Timeouts& timeouts)
        : corridor(ring, timers, world, hosts, timeouts) {}

    Pool& pool(std::uint32_t number) const {
        POSTERN_ASSERT(
            number < pools.size() && pools[number] != nullptr, "a pool is used while it is there");
        return *pools[number];
    }

    template <class Use>
    void for_each_pool(Use&& use) const {
        for (const auto& one : pools) {
            if (one != nullptr) {
                use(*one);
            }
        }
    }

    void clear_away();

    Corridor corridor;
    std::vector<std::unique_ptr<Pool>> pools;  // by number; null: free
};

Relay::Relay(
    io::Ring& ring,
    io::Timers& timers,
    World& world,
    shared::HostTable& hosts,
    const Timeouts& timeouts)
    : implementation_(std::make_unique<Implementation>(ring, timers, world, hosts, timeouts)) {}

Relay::~Relay() {
    POSTERN_ASSERT(idle(), "the relay went with connections open or mail in it");
}

// --- pools
// ------------------------------------------------------------------------------------------------------------------

std::uint32_t Relay::add_pool(const PoolSettings& settings) {
    auto& pools = implementation_->pools;
    auto place = std::find(pools.begin(), pools.end(), nullptr);
    if (place == pools.end()) {
        place = pools.emplace(pools.end());
    }
    *place = std::make_unique<Pool>(implementation_->corridor, settings);
    return static_cast<std::uint32_t>(place - pools.begin());
}

void Relay::set_hosts(std::uint32_t pool, std::span<const HostAddress> hosts, Absence absence) {
    implementation_->pool(pool).set_hosts(hosts, absence);
}

void Relay::retire_pool(std::uint32_t pool) {
    POSTERN_ASSERT(!implementation_->pool(pool).retired(), "a pool was retired twice");
    implementation_->pool(pool).retire();
}

void Relay::hold(std::uint32_t pool) {
    implementation_->pool(pool).hold();
}

void Relay::let_go(std::uint32_t pool) {
    implementation_->pool(pool).let_go();
}

void Relay::Implementation::clear_away() {
    corridor.retiring = false;
    for (auto& one : pools) {
        if (one != nullptr && one->clear_away()) {
            if (one->retired() && one->keeps_quiet()) {
                one.reset();
            } else {
                corridor.retiring = true;
            }
        }
    }
}

// --- mail
// ------------------------------------------------------------------------------------------------------------------

void Relay::submit(mail::Submission& submission) {
    implementation_->pool(submission.pool).submit(submission);
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
        implementation_->for_each_pool([](Pool& pool) { pool.wind_down(); });
    }
    if (corridor.retiring) {
        implementation_->clear_away();
    }
    while (Connection* connection = corridor.ready.front()) {
        connection->pump();
    }
}

std::uint32_t Relay::recipients_max(std::uint32_t pool) const {
    return implementation_->pool(pool).recipients_max();
}

bool Relay::lacks_smtputf8(std::uint32_t pool) const {
    return implementation_->pool(pool).lacks_smtputf8();
}

// --- the end
// ------------------------------------------------------------------------------------------------------------------

void Relay::shut_down() {
    implementation_->corridor.shutting_down = true;
}

void Relay::give_up_unsent() {
    implementation_->for_each_pool([](Pool& pool) { pool.settle_waiting(); });
    implementation_->corridor.give_up_unsent();
}

void Relay::cut() {
    implementation_->corridor.cutting = true;
    implementation_->for_each_pool([](Pool& pool) { pool.close_all(); });
}

bool Relay::idle() const {
    bool idle = implementation_->corridor.transfers_used == 0;
    implementation_->for_each_pool([&](const Pool& pool) { idle = idle && pool.nothing_open(); });
    return idle;
}

}  // namespace postern::relay

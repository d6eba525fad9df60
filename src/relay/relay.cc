#include "postern/relay/relay.h"

#include <algorithm>

#include "pool.h"

namespace postern::relay {

struct Relay::Implementation {
    Implementation(io::Ring& ring, io::Timers& timers, World& world, const Timeouts& timeouts)
        : corridor(ring, timers, world, timeouts) {}

    struct Numbered {
        std::unique_ptr<Pool> pool;  // null: the number is free
        std::uint32_t holds = 0;
        bool retired = false;
    };

    /// Lets retired pools go that have nothing to do any more.
    void clear_away() {
        retiring = false;
        for (Numbered& each : pools) {
            if (each.retired) {
                each.pool->quit_idle();
                if (each.holds == 0 && each.pool->keeps_quiet()) {
                    each = {};
                } else {
                    retiring = true;
                }
            }
        }
    }

    template <class Function>
    void for_each_pool(Function function) const {
        for (const Numbered& each : pools) {
            if (each.pool != nullptr) {
                function(*each.pool);
            }
        }
    }

    Corridor corridor;
    std::vector<Numbered> pools;
    bool retiring = false;  // some are retired and not freed yet
};

Relay::Relay(io::Ring& ring, io::Timers& timers, World& world, const Timeouts& timeouts)
    : implementation_(std::make_unique<Implementation>(ring, timers, world, timeouts)) {}

Relay::~Relay() {
    POSTERN_ASSERT(idle(), "the relay went with connections open or mail in it");
}

std::uint32_t Relay::add_pool(const PoolSettings& settings) {
    POSTERN_ASSERT(settings.hosts.size() == 1, "a pool has one host");
    auto& pools = implementation_->pools;
    auto place = std::find_if(
        pools.begin(), pools.end(), [](const auto& each) { return each.pool == nullptr; });
    if (place == pools.end()) {
        place = pools.emplace(pools.end());
    }
    place->pool = std::make_unique<Pool>(implementation_->corridor, settings);
    return static_cast<std::uint32_t>(place - pools.begin());
}

void Relay::retire_pool(std::uint32_t pool) {
    POSTERN_ASSERT(!implementation_->pools[pool].retired, "a pool was retired twice");
    implementation_->pools[pool].retired = true;
    implementation_->retiring = true;
}

void Relay::hold(std::uint32_t pool) {
    ++implementation_->pools[pool].holds;
}

void Relay::let_go(std::uint32_t pool) {
    --implementation_->pools[pool].holds;
}

void Relay::set_timeouts(const Timeouts& timeouts) {
    implementation_->corridor.timeouts = timeouts;
}

void Relay::submit(mail::Submission& submission) {
    implementation_->pools[submission.pool].pool->submit(submission);
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
        implementation_->for_each_pool([](Pool& pool) { pool.quit_idle(); });
    }
    if (implementation_->retiring) {
        implementation_->clear_away();
    }
    while (Connection* connection = corridor.ready.front()) {
        connection->pump();
    }
}

std::uint32_t Relay::recipients_max(std::uint32_t pool) const {
    return implementation_->pools[pool].pool->recipients_max();
}

bool Relay::lacks_smtputf8(std::uint32_t pool) const {
    return implementation_->pools[pool].pool->lacks_smtputf8();
}

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
    bool quiet = true;
    implementation_->for_each_pool([&](Pool& pool) { quiet = quiet && pool.keeps_quiet(); });
    return quiet && implementation_->corridor.transfers_used == 0;
}

}  // namespace postern::relay

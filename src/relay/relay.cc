#include "postern/relay/relay.h"

#include "pool.h"

namespace postern::relay {

struct Relay::Implementation {
    Implementation(
        io::Ring& ring,
        io::Timers& timers,
        World& world,
        shared::HostTable& hosts,
        metrics::Meters& meters,
        const Timeouts& timeouts)
        : corridor(ring, timers, world, hosts, meters, timeouts) {}

    Pool& pool(std::uint32_t number) const {
        POSTERN_ASSERT(
            number < numbered.pools.size() && numbered.pools[number] != nullptr,
            "a pool is used while it is there");
        return *numbered.pools[number];
    }

    template <class Use>
    void for_each_pool(Use&& use) const {
        for (const auto& one : numbered.pools) {
            if (one != nullptr) {
                use(*one);
            }
        }
    }

    void clear_away();

    Corridor corridor;

    struct Numbered {
        std::vector<std::unique_ptr<Pool>> pools;  // null: free
        std::vector<std::uint32_t> free_numbers;
    } numbered;
};

Relay::Relay(
    io::Ring& ring,
    io::Timers& timers,
    World& world,
    shared::HostTable& hosts,
    metrics::Meters& meters,
    const Timeouts& timeouts)
    : implementation_(
          std::make_unique<Implementation>(ring, timers, world, hosts, meters, timeouts)) {}

Relay::~Relay() {
    POSTERN_ASSERT(idle(), "the relay went with connections open or mail in it");
}

// --- pools
// ------------------------------------------------------------------------------------------------------------------

std::uint32_t Relay::add_pool(
    const PoolSettings& settings, std::shared_ptr<const tls::ClientContext> tls) {
    auto& [pools, free_numbers] = implementation_->numbered;
    if (free_numbers.empty()) {
        free_numbers.push_back(static_cast<std::uint32_t>(pools.size()));
        pools.emplace_back();
    }
    const std::uint32_t number = free_numbers.back();
    free_numbers.pop_back();
    pools[number] =
        std::make_unique<Pool>(implementation_->corridor, number, settings, std::move(tls));
    return number;
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

std::uint32_t Relay::held(std::uint32_t pool) const {
    return implementation_->pool(pool).held();
}

bool Relay::slow(std::uint32_t pool) const {
    return implementation_->pool(pool).slow();
}

std::uint32_t Relay::room(std::uint32_t pool) const {
    return implementation_->pool(pool).room();
}

void Relay::set_timeouts(const Timeouts& timeouts) {
    implementation_->corridor.timeouts = timeouts;
}

void Relay::Implementation::clear_away() {
    for (Pool* pool = corridor.leaving.front(); pool != nullptr;) {
        Pool* const next = corridor.leaving.next(*pool);
        if (!pool->clear_away()) {
            static_cast<base::ListLink<Leaving>&>(*pool).unlink();
        } else if (pool->retired() && pool->keeps_quiet()) {
            numbered.free_numbers.push_back(pool->number);
            numbered.pools[pool->number].reset();
        }
        pool = next;
    }
}

// --- mail
// ------------------------------------------------------------------------------------------------------------------

void Relay::submit(mail::Submission& submission) {
    implementation_->pool(submission.pool).submit(submission);
}

bool Relay::take_back(mail::Submission& submission) {
    auto& transfer = *static_cast<Transfer*>(submission.relay_owner);
    if (transfer.connection != nullptr) {
        return false;
    }
    transfer.pool->take_back(transfer);
    return true;
}

bool Relay::holds(const mail::Submission& submission) const {
    const auto* const transfer = static_cast<const Transfer*>(submission.relay_owner);
    return transfer != nullptr && transfer->connection != nullptr && transfer->held();
}

void Relay::go_on(mail::Submission& submission) {
    submission.waits = false;
    if (holds(submission)) {
        auto& transfer = *static_cast<Transfer*>(submission.relay_owner);
        transfer.connection->go_on(transfer);
    }
}

void Relay::call_off(mail::Submission& submission) {
    POSTERN_ASSERT(holds(submission), "what is not held was called off");
    auto& transfer = *static_cast<Transfer*>(submission.relay_owner);
    transfer.connection->give_up(transfer, mail::Outcome::Kind::divided);
}

void Relay::flush() {
    Corridor& corridor = implementation_->corridor;
    for (Pool* pool = corridor.waiting.front(); pool != nullptr;) {
        pool->distribute();
        Pool* const next = corridor.waiting.next(*pool);
        if (!pool->has_waiting()) {
            static_cast<base::ListLink<Waiting>&>(*pool).unlink();
        }
        pool = next;
    }
    if (corridor.shutting_down) {
        implementation_->for_each_pool([](Pool& pool) { pool.wind_down(); });
    }
    implementation_->clear_away();
    while (Connection* connection = corridor.ready.front()) {
        connection->pump();
    }
}

TransactionMax Relay::transaction_max(std::uint32_t pool) const {
    return implementation_->pool(pool).transaction_max();
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

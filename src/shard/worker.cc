#include "postern/shard/worker.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "lines.h"
#include "postern/base/object_pool.h"
#include "postern/inbound/inbound.h"
#include "postern/io/mailbox.h"
#include "postern/io/timer.h"
#include "postern/mail/domain.h"
#include "postern/shard/common.h"
#include "postern/shard/message_id.h"
#include "postern/shard/sync.h"

namespace postern::shard {
namespace {

constexpr mail::Reply no_memory{452, {4, 3, 1}, "memory is short, try again later"};
constexpr mail::Reply too_many_connections{421, {4, 7, 0}, "too many connections, try again later"};
constexpr mail::Reply other_group{452, {4, 5, 3}, "goes to another smart host than the recipients before it, send it separately"};
constexpr mail::Reply too_many_for_host{452, {4, 5, 3}, "the smart host takes no more recipients, send it separately"};

}  // namespace

class Worker::Implementation final : public inbound::World, public relay::World {
   public:
    Implementation(
        std::unique_ptr<io::Ring> ring,
        const WorkerSettings& settings,
        const Snapshot& snapshot,
        Common& common,
        log::Buffer& buffer);
    ~Implementation();

    void run();
    void request_shutdown() { mailbox_.post(shutdown_letter_); }

   private:
    // --- inbound::World ---
    mail::Reply arrived(mail::Client& client, const io::Address& address) override;
    void left(const mail::Client& client, const io::Address& address) override;
    mail::Submission* begin(const mail::Client& client) override;
    mail::Reply recipient(mail::Submission& submission, mail::Recipient& recipient) override;
    bool reserve(mail::Submission& submission, std::uint64_t octets, bool first) override;
    void submit(mail::Submission& submission) override;
    void abandon(mail::Submission& submission) override;
    void refused(
        const mail::Client& client,
        const mail::Submission* submission,
        std::string_view what,
        std::string_view address,
        const mail::Reply& reply) override;

    // --- relay::World ---
    void settled(mail::Submission& submission, const mail::Outcome& outcome) override;
    void released(mail::Submission& submission) override;
    bool sender_gone(mail::Submission& submission) override { return inbound_.sender_gone(submission); }
    void trouble(std::string_view pool, std::string_view host, std::string_view what) override;

    void free(mail::Submission& submission);
    void keep_refusals(const mail::Submission& submission);
    bool kept_refusal(const mail::Submission& submission, const mail::Recipient& recipient, mail::Reply& reply);
    bool exempt(const config::Listener& listener, const base::IpAddress& address) const;

    // --- shutdown: graceful for shutdown_grace; then only for what a smart host owes an answer, for data_done ---
    void begin_shutdown();
    void end_grace();
    void end_waiting();
    bool finished() const { return shutting_down_ && submissions_.used() == 0 && inbound_.connections() == 0 && relay_.idle(); }

    struct ShutdownLetter final : io::Letter {
        explicit ShutdownLetter(Implementation& owner) : worker(owner) {}
        void deliver() override { worker.begin_shutdown(); }
        Implementation& worker;
    };
    struct ShutdownTimer final : io::Timer {
        ShutdownTimer(Function on_due, Implementation& owner) : Timer(on_due), worker(owner) {}
        Implementation& worker;
    };

    const Snapshot& snapshot_;
    Common& common_;
    std::unique_ptr<io::Ring> ring_;
    io::Timers timers_;
    io::Mailbox mailbox_;
    base::BlockPool arena_blocks_;
    base::BlockPool tail_blocks_;
    base::BlockPool chain_blocks_;
    base::ObjectPool<mail::Submission> submissions_;
    shared::BudgetLease bodies_;
    MessageIds ids_;
    Lines lines_;
    inbound::Inbound inbound_;
    relay::Relay relay_;
    std::vector<std::uint32_t> pool_of_target_;
    route::DecisionText decision_text_{};
    shared::KeptAnswers::Text kept_text_{};
    bool shutting_down_ = false;
    ShutdownLetter shutdown_letter_{*this};
    ShutdownTimer shutdown_timer_;
};

Worker::Implementation::Implementation(
    std::unique_ptr<io::Ring> ring,
    const WorkerSettings& settings,
    const Snapshot& snapshot,
    Common& common,
    log::Buffer& buffer)
    : snapshot_(snapshot),
      common_(common),
      ring_(std::move(ring)),
      timers_(ring_->now()),
      mailbox_(*ring_),
      arena_blocks_(arena_block_octets, settings.bounds.arena_blocks),
      tail_blocks_(tail_block_octets, settings.bounds.tail_blocks),
      chain_blocks_(chain_block_octets, settings.bounds.chain_blocks),
      submissions_(settings.bounds.submissions),
      bodies_(common.bodies),
      ids_(ring_->random()),
      lines_(buffer, *ring_, snapshot),
      inbound_(*ring_, timers_, *this),
      relay_(
          *ring_,
          timers_,
          *this,
          {snapshot.config.timeouts.connect,
           snapshot.config.timeouts.reply,
           snapshot.config.timeouts.busy,
           snapshot.config.timeouts.data_done}),
      shutdown_timer_(nullptr, *this) {
    for (const relay::PoolSettings& pool : snapshot.pools) {
        pool_of_target_.push_back(relay_.add_pool(pool));
    }
    const config::Config& config = snapshot.config;
    for (std::size_t i = 0; i < config.listeners.size(); ++i) {
        const config::Listener& listener = config.listeners[i];
        inbound::ListenerSettings s;
        s.name = listener.name;
        s.hostname = config.hostname;
        s.reject_bare_newline = listener.bare_newline == config::BareNewline::reject;
        s.ehlo_hide = listener.ehlo_hide;
        s.message_size_max = listener.limits.message_size.octets;
        s.recipients_max = listener.limits.recipients;
        s.errors_max = listener.limits.errors;
        s.received_max = listener.limits.received_max;
        s.command_timeout = config.timeouts.command;
        s.data_timeout = config.timeouts.data;
        inbound_.add_listener(settings.listeners[i], s);
    }
}

Worker::Implementation::~Implementation() = default;

void Worker::Implementation::run() {
    while (!finished()) {
        timers_.run(ring_->now());
        relay_.flush();
        ring_->turn(timers_.next());
    }
}

// --- senders -----------------------------------------------------------------------------------------------------------------

mail::Reply Worker::Implementation::arrived(mail::Client& client, const io::Address& address) {
    const config::Listener& listener = snapshot_.config.listeners[client.listener];
    const base::IpAddress ip = base::IpAddress::from(address.host_octets());
    client.trusted = !listener.relay.deny.contains(ip) &&
                     (listener.trusted || listener.relay.networks.contains(ip));
    client.network = common_.clients.network_of(ip);
    const std::uint32_t limit = listener.limits.connections_per_client;
    const bool counted = limit != 0 && !exempt(listener, ip);
    if (common_.connections.fetch_add(1, std::memory_order_relaxed) >= common_.connections_max) {
        common_.connections.fetch_sub(1, std::memory_order_relaxed);
        return too_many_connections;
    }
    if (counted && !common_.clients.enter(ip, limit)) {
        common_.connections.fetch_sub(1, std::memory_order_relaxed);
        return too_many_connections;
    }
    return {};
}

void Worker::Implementation::left(const mail::Client& client, const io::Address& address) {
    const config::Listener& listener = snapshot_.config.listeners[client.listener];
    const base::IpAddress ip = base::IpAddress::from(address.host_octets());
    if (listener.limits.connections_per_client != 0 && !exempt(listener, ip)) {
        common_.clients.leave(ip);
    }
    common_.connections.fetch_sub(1, std::memory_order_relaxed);
}

bool Worker::Implementation::exempt(const config::Listener& listener, const base::IpAddress& address) const {
    return listener.relay.networks.contains(address) || listener.proxy_networks.contains(address);
}

mail::Submission* Worker::Implementation::begin(const mail::Client& client) {
    mail::Submission* submission = submissions_.make(arena_blocks_, tail_blocks_, chain_blocks_);
    if (submission == nullptr) {
        return nullptr;
    }
    // The sender may be gone when the log wants to know who it was.
    const auto address = submission->arena.copy(client.address);
    const auto helo = submission->arena.copy(client.helo);
    if (!address || !helo) {
        submissions_.destroy(submission);
        return nullptr;
    }
    submission->client = client;
    submission->client.address = *address;
    submission->client.helo = *helo;
    submission->id_size = ids_.next(ring_->wall_now(), submission->id_text);
    submission->generation = snapshot_.generation;
    submission->began = ring_->now();
    return submission;
}

mail::Reply Worker::Implementation::recipient(mail::Submission& submission, mail::Recipient& recipient) {
    if (!recipient.domain.empty()) {
        mail::DomainKey key;
        if (!mail::make_domain_key(recipient.domain, key)) {
            return route::impossible_domain;
        }
        const auto copy = submission.arena.copy(key.view());
        if (!copy) {
            return no_memory;
        }
        recipient.domain_key = *copy;
    }
    const route::Decision decision = route::decide(
        *snapshot_.table,
        snapshot_.relaying[submission.client.listener],
        {recipient.address, recipient.local_part, recipient.domain_key},
        submission.client.trusted,
        decision_text_);
    if (!decision.accepted()) {
        return decision.reply;
    }
    const std::uint32_t pool = pool_of_target_[snapshot_.table->action(decision.match.action).target];
    if (submission.envelope.recipient_count > 0 && pool != submission.pool) {
        return other_group;
    }
    if (submission.envelope.recipient_count >= relay_.recipients_max(pool)) {
        return too_many_for_host;
    }
    recipient.rule = decision.match.rule;
    recipient.pool = pool;
    mail::Reply kept;
    if (kept_refusal(submission, recipient, kept)) {
        return kept;
    }
    if (!decision.outgoing.empty()) {
        const auto copy = submission.arena.copy(decision.outgoing);
        if (!copy) {
            return no_memory;
        }
        recipient.outgoing = *copy;
    }
    submission.pool = pool;
    return {};
}

bool Worker::Implementation::reserve(mail::Submission& submission, std::uint64_t octets, bool first) {
    POSTERN_ASSERT(octets >= submission.reserved_octets, "a reservation grows");
    const config::Listener& listener = snapshot_.config.listeners[submission.client.listener];
    const auto ip = base::IpAddress::parse(submission.client.address);
    const bool counted = ip.has_value() && !exempt(listener, *ip);
    if (!bodies_.take(octets - submission.reserved_octets, first)) {
        return false;
    }
    submission.reserved_octets = octets;
    (void)counted;
    return true;
}

void Worker::Implementation::submit(mail::Submission& submission) {
    submission.completed = ring_->now();
    submission.deadline = submission.completed + snapshot_.config.listeners[submission.client.listener].delivery.sync_limit;
    relay_.submit(submission);
}

void Worker::Implementation::abandon(mail::Submission& submission) {
    free(submission);
}

void Worker::Implementation::free(mail::Submission& submission) {
    bodies_.give(submission.reserved_octets);
    submissions_.destroy(&submission);
}

void Worker::Implementation::refused(
    const mail::Client& client,
    const mail::Submission* submission,
    std::string_view what,
    std::string_view address,
    const mail::Reply& reply) {
    lines_.refused(client, submission, what, address, reply);
}

// --- smart hosts -------------------------------------------------------------------------------------------------------------

void Worker::Implementation::settled(mail::Submission& submission, const mail::Outcome& outcome) {
    const mail::Reply reply = sync_answer(outcome);
    if (outcome.kind == mail::Outcome::Kind::divided) {
        keep_refusals(submission);
    }
    lines_.message(submission, outcome, reply);
    if (submission.inbound_owner != nullptr) {
        inbound_.answer(submission, reply);
    }
}

void Worker::Implementation::released(mail::Submission& submission) {
    free(submission);
}

void Worker::Implementation::trouble(std::string_view pool, std::string_view host, std::string_view what) {
    lines_.trouble(pool, host, what);
}

void Worker::Implementation::keep_refusals(const mail::Submission& submission) {
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr; r = r->next) {
        if (r->answer.code >= 400) {
            common_.kept.put(
                {snapshot_.pools[0].name, submission.envelope.reverse_path, r->address},
                kept_for_every_client(r->answer) ? 0 : submission.client.network,
                r->answer,
                ring_->now());
        }
    }
}

// --- the end -----------------------------------------------------------------------------------------------------------------

}  // namespace postern::shard

#include "postern/shard/worker.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "client_limits.h"
#include "deliveries.h"
#include "errand.h"
#include "generations.h"
#include "groups.h"
#include "kept_refusals.h"
#include "lines.h"
#include "listener_settings.h"
#include "logins.h"
#include "pool_shares.h"
#include "postern/inbound/inbound.h"
#include "postern/io/clock.h"
#include "postern/io/mailbox.h"
#include "postern/io/timer.h"
#include "postern/mail/domain.h"
#include "postern/shard/common.h"
#include "postern/shard/standing.h"
#include "postern/smtp/characters.h"
#include "pressure.h"
#include "submissions.h"
#include "tally.h"
#include "verifier.h"

namespace postern::shard {
namespace {

/// So many recipients always have room, more of them while envelopes have.
constexpr std::uint32_t small_envelope = 8;

constexpr mail::Reply no_memory{452, {4, 3, 1}, "memory is short, try again later"};
constexpr mail::Reply no_buffers{421, {4, 3, 1}, "memory is short, try again later"};
constexpr mail::Reply pool_has_its_share{
    451, {4, 4, 5}, "the smart host is slow and much mail waits for it, try again later"};
constexpr mail::Reply other_group{
    452, {4, 5, 3}, "goes to another smart host than the recipients before it, send it separately"};
constexpr mail::Reply too_many_for_host{
    452, {4, 5, 3}, "the smart host takes no more recipients, send it separately"};
constexpr mail::Reply other_mode{
    452,
    {4, 5, 3},
    "is delivered in another way than the recipients before it, send it separately"};
constexpr mail::Reply not_kept_now{
    452, {4, 3, 1}, "mail can not be brought to stable storage now, try again later"};
constexpr mail::Reply rules_gone{
    451, {4, 3, 2}, "the rules have changed too often since MAIL, try again"};
constexpr mail::Reply no_smtputf8{
    553, {5, 6, 7}, "the smart host takes no internationalized addresses"};

}  // namespace

class Worker::Implementation final : public inbound::World,
                                     public relay::World,
                                     public shared::Doors::Taker,
                                     public Logins::Asker,
                                     private Deliveries::World {
   public:
    Implementation(
        std::unique_ptr<io::Ring> ring,
        const WorkerSettings& settings,
        const Snapshot& snapshot,
        Common& common,
        Control& control,
        log::Buffer& buffer);
    ~Implementation();

    void run();

    void request_shutdown() { mailbox_.post(shutdown_letter_); }

    void request_pulse() {
        if (!pulse_letter_.under_way.exchange(true)) {
            mailbox_.post(pulse_letter_);
        }
    }

    void publish(const Snapshot& snapshot, std::vector<OpenedListener> opened) {
        post(mailbox_, [this, &snapshot, opened = std::move(opened)] {
            take(snapshot, opened);
            control_.taken(snapshot);
        });
    }

    void request_queue(QueueAsk ask, std::function<void(QueueAnswer)> answered) {
        post(mailbox_, [this, ask = std::move(ask), answered = std::move(answered)] {
            answered(ask_queue(deliveries_, ask));
        });
    }

    void set_hosts(std::uint64_t pool_identity, PoolAddresses addresses) {
        post(mailbox_, [this, pool_identity, addresses = std::move(addresses)] {
            generations_.set_hosts(pool_identity, addresses);
        });
    }

   private:
    // --- shared::Doors::Taker, on another worker's thread ---
    void take_over(std::shared_ptr<const void> terms, int descriptor) override {
        post(mailbox_, [this, terms = std::move(terms), descriptor] {
            common_.doors.arrived(index_);
            inbound_.take_over(std::static_pointer_cast<const inbound::Terms>(terms), descriptor);
        });
    }

    // --- inbound::World ---
    bool hand_over(const std::shared_ptr<const inbound::Terms>& terms, int descriptor) override {
        return common_.doors.hand_over(
            index_, inbound_.connections(), current().generation, terms, descriptor);
    }

    mail::Reply arrived(mail::Client& client, const io::Address& address) override;
    void left(const mail::Client& client) override;

    void handshake(const mail::Client& client, inbound::Handshake outcome) override {
        tally_.handshake(client, outcome);
    }

    mail::Reply moved(mail::Client& client, const io::Address* address) override;

    void noticed(const mail::Client& client, Notice notice) override {
        tally_.noticed(client, notice);
    }

    mail::Submission* begin(
        const mail::Client& client, std::uint64_t size_declared, mail::Reply& refusal) override;
    std::optional<mail::Reply> recipient(
        mail::Submission& submission, mail::Recipient& recipient) override;
    bool reserve(mail::Submission& submission, std::uint64_t octets, bool first) override;
    bool received(const mail::Submission& submission, std::uint64_t octets) override;
    void submit(mail::Submission& submission) override;
    void abandon(mail::Submission& submission) override;

    inbound::PasswordCheck* check_password(
        const mail::Client& client,
        const smtp::Credentials& credentials,
        mail::Reply& refusal) override {
        return logins_.check(
            current().listeners[client.listener].passwords, client.key, credentials, refusal);
    }

    void forget(inbound::PasswordCheck& check) override { logins_.forget(check); }

    void told_login(const mail::Client& client, const mail::Reply& reply) override {
        tally_.told_login(client, reply);
    }

    void refused(
        const mail::Client& client,
        const mail::Submission* submission,
        std::string_view what,
        std::string_view address,
        const mail::Reply& reply) override;

    // --- Logins::Asker ---
    void authenticated(inbound::PasswordCheck& check, const mail::Reply& reply) override {
        inbound_.authenticated(check, reply);
    }

    // --- relay::World ---
    void settled(mail::Submission& submission, const mail::Outcome& outcome) override {
        if (!verifier_.settled(submission, outcome)) {
            deliveries_.settled(submission, outcome);
        }
    }

    void released(mail::Submission& submission) override {
        if (!verifier_.released(submission)) {
            deliveries_.released(submission);
        }
    }

    bool sender_gone(mail::Submission& submission) override {
        return !deliveries_.promised(submission) && inbound_.sender_gone(submission);
    }

    void held(mail::Submission& submission) override { deliveries_.held(submission); }

    void trouble(std::string_view pool, std::string_view host, std::string_view what) override;

    // --- Deliveries::World ---
    bool has_gone(mail::Submission& submission) override {
        return inbound_.sender_gone(submission);
    }

    void tell(mail::Submission& submission, const mail::Reply& reply) override;
    void wrong_recipients(const mail::Submission& submission) override;
    void free(mail::Submission& submission) override;
    bool reserve_again(mail::Submission& submission, std::uint64_t octets) override;
    void give_back(const mail::Submission& submission, std::uint64_t octets) override;

    bool reserve_on_disk(const mail::Submission& submission, std::uint64_t octets) override {
        return arriving_.take(budget_network(submission), octets, false);
    }

    void give_back_on_disk(const mail::Submission& submission, std::uint64_t octets) override {
        arriving_.give_back(budget_network(submission), octets);
    }

    void go_on(mail::Submission& submission) override { inbound_.go_on(submission); }

    const config::Listener& listener_of(const mail::Client& client) const override {
        return current().listeners[client.listener].config;
    }

    // --- generations ---
    void take(const Snapshot& next, const std::vector<OpenedListener>& opened);
    void take_listeners(const Snapshot& next, const std::vector<OpenedListener>& opened);
    void unpin(mail::Submission& submission);
    void hold_groups(mail::Submission& submission);
    void let_groups_go(mail::Submission& submission);
    void let_pool_go(mail::Submission& submission);

    const Snapshot& current() const { return generations_.current(); }

    static std::uint64_t budget_network(const mail::Submission& submission) {
        return submission.client.exempt ? 0 : submission.client.network;
    }

    // Graceful for shutdown_grace; then what is not handed over is given up, and what a smart host
    // owes an answer for is waited for, up to data_done.
    enum class Stage : std::uint8_t { serving, grace, owed };
    void publish_memory();
    void begin_shutdown();
    void go_on_shutting_down();

    struct ShutdownLetter final : io::Letter {
        explicit ShutdownLetter(Implementation& owner) : worker(owner) {}

        void deliver() override { worker.begin_shutdown(); }

        Implementation& worker;
    };

    struct PulseLetter final : io::Letter {
        explicit PulseLetter(Implementation& owner) : worker(owner) {}

        void deliver() override {
            worker.publish_memory();
            under_way.store(false);
        }

        Implementation& worker;
        std::atomic<bool> under_way{false};
    };

    struct ShutdownTimer final : io::Timer {
        ShutdownTimer(Function on_due, Implementation& owner) : Timer(on_due), worker(owner) {}

        Implementation& worker;
    };

    const std::uint32_t index_;
    const std::uint64_t locked_octets_;
    Common& common_;
    Control& control_;
    std::unique_ptr<io::Ring> ring_;
    io::Timers timers_;
    io::Mailbox mailbox_;
    Submissions submissions_;
    shared::BudgetLease bodies_;
    shared::BudgetLease arriving_;  // on the disk
    Tally tally_;
    ClientLimits limits_;
    Lines lines_;
    inbound::Inbound inbound_;
    Logins logins_;
    relay::Relay relay_;
    PoolShares shares_;
    Pressure pressure_;
    Generations generations_;
    std::vector<bool> listening_;  // by listener
    route::DecisionText decision_text_{};
    Verifier verifier_;
    KeptRefusals kept_;
    Deliveries deliveries_;
    PlaceText place_text_{};
    std::string_view
        refused_rule_;  // of the recipient whose refusal is logged next; in place_text_
    Stage stage_ = Stage::serving;
    PulseLetter pulse_letter_{*this};
    ShutdownLetter shutdown_letter_{*this};
    ShutdownTimer shutdown_timer_;
};

Worker::Implementation::Implementation(
    std::unique_ptr<io::Ring> ring,
    const WorkerSettings& settings,
    const Snapshot& snapshot,
    Common& common,
    Control& control,
    log::Buffer& buffer)
    : index_(settings.index),
      locked_octets_(io::locked_octets(settings.bounds.ring)),
      common_(common),
      control_(control),
      ring_(std::move(ring)),
      timers_(ring_->now()),
      mailbox_(*ring_),
      submissions_(settings.bounds, ring_->random()),
      bodies_(common.bodies, common.connections_max),
      arriving_(common.arriving, common.connections_max),
      tally_(common.metrics.worker(settings.index), *ring_),
      limits_(common, tally_),
      lines_(buffer, *ring_, timers_),
      inbound_(*ring_, timers_, *this),
      logins_(*ring_, timers_, mailbox_, *this, common.checker, common.guesses),
      relay_(
          *ring_,
          timers_,
          *this,
          common.hosts,
          common.metrics.worker(settings.index),
          timeouts_of(snapshot.config)),
      shares_(common, relay_),
      pressure_(common, *ring_, inbound_, submissions_.arena),
      generations_(relay_, control),
      verifier_(
          common,
          *ring_,
          timers_,
          relay_,
          lines_,
          tally_.own(),
          {submissions_.arena, submissions_.tail, submissions_.chain},
          [this](mail::Submission& asker, const mail::Reply& reply) {
              inbound_.answer_recipient(asker, reply);
          }),
      kept_(common.kept),
      deliveries_(
          *this,
          {index_,
           common.metrics.workers(),
           *ring_,
           timers_,
           mailbox_,
           relay_,
           common.spool,
           submissions_,
           generations_,
           lines_,
           kept_,
           shares_,
           common.metrics.worker(settings.index),
           settings.piece_octets}),
      shutdown_timer_(
          [](io::Timer& self) { static_cast<ShutdownTimer&>(self).worker.go_on_shutting_down(); },
          *this) {
    take(snapshot, settings.listeners);
}

Worker::Implementation::~Implementation() = default;

void Worker::Implementation::run() {
    common_.doors.open(index_, *this);
    for (;;) {
        timers_.run(ring_->now());
        deliveries_.look();
        if (stage_ != Stage::serving && submissions_.used() == 0 && inbound_.closed() &&
            logins_.idle() && !common_.doors.awaits(index_) && deliveries_.idle()) {
            relay_.shut_down();
            if (relay_.idle()) {
                return;
            }
        }
        relay_.flush();
        deliveries_.flush();
        ring_->turn(deliveries_.in_haste() ? ring_->now() : timers_.next());
        tally_.turned();
        common_.doors.tell(index_, inbound_.connections(), current().generation);
    }
}

// --- generations --------------------------------------------------------------------------------

/// From now on transactions begin under `next`; what has begun goes on as it began.
void Worker::Implementation::take(const Snapshot& next, const std::vector<OpenedListener>& opened) {
    generations_.take(next);
    verifier_.take(next, generations_.current_pools());
    deliveries_.take(next, generations_.current_pools());
    relay_.set_timeouts(timeouts_of(next.config));
    take_listeners(next, opened);
}

void Worker::Implementation::take_listeners(
    const Snapshot& next, const std::vector<OpenedListener>& opened) {
    listening_.resize(next.listeners.size());
    for (std::uint32_t number = 0; number < next.listeners.size(); ++number) {
        const ListenerState& listener = next.listeners[number];
        const bool was_open = listening_[number];
        listening_[number] = listener.open;
        if (was_open && listener.open) {
            inbound_.change_listener(number, settings_of(listener.config, next, index_));
        } else if (was_open) {
            inbound_.remove_listener(number);
        }
    }
    for (const OpenedListener& each : opened) {
        tally_.add_listener(each.number, next.listeners[each.number].config.name);
        inbound_.add_listener(
            each.number,
            each.descriptor,
            settings_of(next.listeners[each.number].config, next, index_));
    }
}

/// The transaction looks at its rules no more: what it chose is copied or held.
void Worker::Implementation::unpin(mail::Submission& submission) {
    if (std::exchange(submission.takes_recipients, false)) {
        generations_.unpin(submission.generation);
    }
}

/// Before `unpin`: the pools of all its groups stay until it is done with.
void Worker::Implementation::hold_groups(mail::Submission& submission) {
    if (!submission.in_groups || !submission.takes_recipients) {
        return;
    }
    if (generations_.find(submission.generation) == nullptr) {
        submission.in_groups = false;
        submission.spool_first = true;  // and tried by the rules that are in force then
        return;
    }
    for_each_other_pool(submission, [this](std::uint32_t pool) { relay_.hold(pool); });
}

void Worker::Implementation::let_groups_go(mail::Submission& submission) {
    if (submission.in_groups && !submission.takes_recipients) {
        for_each_other_pool(submission, [this](std::uint32_t pool) { relay_.let_go(pool); });
    }
}

// --- senders ------------------------------------------------------------------------------------

mail::Reply Worker::Implementation::arrived(mail::Client& client, const io::Address& address) {
    const ListenerState& listener = current().listeners[client.listener];
    const base::IpAddress ip = base::IpAddress::from(address.host_octets());
    client.key = shared::client_key(common_.client_key, ip);
    client.network = shared::network_key(common_.client_key, ip);
    client.generation = current().generation;
    judge(client, listener.config, ip);
    if (pressure_.buffers()) {
        return no_buffers;
    }
    const mail::Reply reply =
        limits_.arrived(client, listener.config.limits, *listener.connections, ring_->now());
    if (reply.code == 0) {
        tally_.connected(client);
    }
    return reply;
}

mail::Reply Worker::Implementation::moved(mail::Client& client, const io::Address* address) {
    client.generation = current().generation;
    client.stated = true;
    if (address == nullptr) {
        judge_unknown(client);  // it goes on counting as who said so
        return {};
    }
    const config::Listener& listener = listener_of(client);
    const base::IpAddress ip = base::IpAddress::from(address->host_octets());
    const std::uint64_t before =
        std::exchange(client.key, shared::client_key(common_.client_key, ip));
    client.network = shared::network_key(common_.client_key, ip);
    judge(client, listener, ip);
    return limits_.moved(client, before, listener.limits, ring_->now());
}

void Worker::Implementation::left(const mail::Client& client) {
    limits_.left(client, *current().listeners[client.listener].connections);
    tally_.left(client);
}

mail::Submission* Worker::Implementation::begin(
    const mail::Client& client, std::uint64_t size_declared, mail::Reply& refusal) {
    refusal = limits_.message(client, listener_of(client).limits, size_declared, ring_->now());
    if (refusal.code != 0) {
        return nullptr;
    }
    refusal = no_memory;
    mail::Submission* submission = submissions_.make(client, ring_->wall_now());
    if (submission == nullptr) {
        return nullptr;
    }
    submission->generation = current().generation;
    generations_.pin();
    if (client.generation != submission->generation || !client.login.empty()) {
        submission->client.generation = submission->generation;
        if (const auto ip = base::IpAddress::parse(client.address)) {
            judge(submission->client, listener_of(client), *ip);
        } else {
            judge_unknown(submission->client);
        }
    }
    submission->began = ring_->now();
    tally_.began(*submission);
    return submission;
}

std::optional<mail::Reply> Worker::Implementation::recipient(
    mail::Submission& submission, mail::Recipient& recipient) {
    const Generations::Generation* const generation = generations_.find(submission.generation);
    if (generation == nullptr) {
        return rules_gone;
    }
    const Snapshot& snapshot = *generation->snapshot;
    const mail::Reply limited =
        limits_.recipient(submission.client, listener_of(submission.client).limits, ring_->now());
    if (limited.code != 0) {
        return limited;
    }
    if (submission.envelope.recipient_count >= small_envelope && pressure_.envelopes()) {
        return no_memory;
    }
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
    const base::Instant asked = io::monotonic_time();
    const route::Decision decision = route::decide(
        *snapshot.table,
        snapshot.listeners[submission.client.listener].relaying,
        {recipient.address, recipient.local_part, recipient.domain_key},
        submission.client.trusted,
        decision_text_);
    tally_.routed(asked);
    if (!decision.accepted()) {
        if (decision.match.found()) {
            refused_rule_ = place_of(snapshot.table->text_of(decision.match.rule), place_text_);
        }
        return decision.reply;
    }
    const route::Action& action = snapshot.table->action(decision.match.action);
    const std::uint32_t pool = generation->pools[action.target];
    const bool first = submission.envelope.recipient_count == 0;
    const mail::Mode mode =
        deliveries_.mode_of(action.delivery, pool, listener_of(submission.client));
    // With nothing to keep mail in, hybrid is as sync.
    const bool keeps = mode != mail::Mode::sync && deliveries_.keeps();
    if (mode == mail::Mode::queue && !keeps) {
        return not_kept_now;
    }
    if (!first && (mode != submission.mode || (pool != submission.pool && !keeps))) {
        return mode != submission.mode ? other_mode : other_group;
    }
    const relay::TransactionMax most = relay_.transaction_max(pool);
    const bool full = !takes_one_more(submission.envelope, pool, recipient.domain_key, most);
    const bool apart = full || (!first && pool != submission.pool);
    if (full && !keeps) {
        return too_many_for_host;
    }
    bool spool_first = apart && mode == mail::Mode::queue;
    if (apart && mode == mail::Mode::hybrid &&
        transactions_to(submission.envelope, pool, recipient.domain_key, most) >
            deliveries_.waiting_max(pool)) {
        if (!submission.client.trusted) {
            return too_many_for_host;
        }
        spool_first = true;
    }
    const std::string_view told =
        decision.outgoing.empty() ? recipient.local_part : decision.outgoing;
    if (relay_.lacks_smtputf8(pool) &&
        !(smtp::is_ascii(told) && (smtp::is_ascii(submission.envelope.reverse_path) ||
                                   !submission.envelope.reverse_path_a_label.empty()))) {
        return no_smtputf8;
    }
    recipient.pool = pool;
    if (const auto kept =
            kept_.take(submission, recipient, generations_.pool_name(pool), ring_->now())) {
        return *kept;
    }
    if ((first || apart) && !shares_.may_choose(pool, submissions_.used())) {
        tally_.limit_reached(submission.client, metrics::Limit::pool_share);
        if (!keeps) {
            return pool_has_its_share;
        }
        spool_first = true;  // what waits for it is on the disk, not in memory
    }
    if (!decision.outgoing.empty()) {
        const auto copy = submission.arena.copy(decision.outgoing);
        if (!copy) {
            return no_memory;
        }
        recipient.outgoing = *copy;
    }
    if (first) {
        const auto place = submission.arena.copy(
            place_of(snapshot.table->text_of(decision.match.rule), place_text_));
        if (!place) {
            return no_memory;
        }
        recipient.rule = *place;
        let_pool_go(submission);  // of one that was not taken after all
        submission.holds_pool = true;
        submission.pool = pool;
        submission.mode = mode;
        submission.spool_first = submission.in_groups = false;
        relay_.hold(pool);
    }
    submission.spool_first = submission.spool_first || spool_first;
    submission.in_groups = submission.in_groups || (apart && mode == mail::Mode::hybrid);
    return verifier_.asks(pool) ? verifier_.look(submission, recipient) : mail::Reply{};
}

bool Worker::Implementation::reserve(
    mail::Submission& submission, std::uint64_t octets, bool first) {
    POSTERN_ASSERT(octets >= submission.reserved_octets, "a reservation only grows");
    const std::uint64_t more = octets - submission.reserved_octets;
    if (!submission.spool_first &&
        !shares_.may_pin(submission.pool, more, submission.reserved_octets)) {
        tally_.limit_reached(submission.client, metrics::Limit::pool_share);
        if (submission.mode == mail::Mode::sync || !deliveries_.keeps()) {
            return false;
        }
        submission.spool_first = true;
    }
    if (more != 0 && !bodies_.take(budget_network(submission), more, first)) {
        return false;
    }
    shares_.pinned(submission.pool, more);
    submission.reserved_octets = octets;
    hold_groups(submission);
    unpin(submission);  // no recipient comes behind the beginning of a body
    return first ||
           deliveries_.grown(submission, common_.bodies.leased() > common_.bodies.bound() / 2);
}

bool Worker::Implementation::received(const mail::Submission& submission, std::uint64_t octets) {
    return limits_.octets(
        submission.client, listener_of(submission.client).limits, octets, ring_->now());
}

void Worker::Implementation::submit(mail::Submission& submission) {
    submission.completed = ring_->now();
    submission.deadline = submission.completed + listener_of(submission.client).delivery.sync_limit;
    tally_.submitted(submission);
    deliveries_.submit(submission);
}

void Worker::Implementation::abandon(mail::Submission& submission) {
    tally_.abandoned(submission);
    free(submission);
}

void Worker::Implementation::let_pool_go(mail::Submission& submission) {
    if (std::exchange(submission.holds_pool, false)) {
        relay_.let_go(submission.pool);
    }
}

void Worker::Implementation::free(mail::Submission& submission) {
    let_groups_go(submission);
    unpin(submission);
    deliveries_.forget_arriving(submission);
    give_back(submission, submission.reserved_octets);
    let_pool_go(submission);
    submissions_.destroy(submission);
}

void Worker::Implementation::tell(mail::Submission& submission, const mail::Reply& reply) {
    tally_.settled(submission, reply);
    inbound_.answer(submission, reply);
}

void Worker::Implementation::wrong_recipients(const mail::Submission& submission) {
    const mail::Client& client = submission.client;
    const config::Limits& limits = listener_of(client).limits;
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        limits_.refused(client, limits, "RCPT", r->answer, ring_->now());
    }
}

/// Exempt from a network's share; but new mail comes first.
bool Worker::Implementation::reserve_again(mail::Submission& submission, std::uint64_t octets) {
    if (!shares_.may_load(octets) || !bodies_.take(budget_network(submission), octets, true)) {
        return false;
    }
    shares_.pinned(submission.pool, octets);
    submission.reserved_octets = octets;
    return true;
}

void Worker::Implementation::give_back(const mail::Submission& submission, std::uint64_t octets) {
    if (octets != 0) {
        bodies_.give_back(budget_network(submission), octets);
        shares_.let_go(submission.pool, octets);
    }
}

void Worker::Implementation::refused(
    const mail::Client& client,
    const mail::Submission* submission,
    std::string_view what,
    std::string_view address,
    const mail::Reply& reply) {
    tally_.refused(client, what, reply);
    const config::Listener& listener = listener_of(client);
    limits_.refused(client, listener.limits, what, reply, ring_->now());
    lines_.refused(
        listener.name,
        std::exchange(refused_rule_, {}),
        submission != nullptr ? submission->generation : current().generation,
        client.key,
        client,
        submission,
        what,
        address,
        reply);
}

// --- smart hosts --------------------------------------------------------------------------------

void Worker::Implementation::trouble(
    std::string_view pool, std::string_view host, std::string_view what) {
    tally_.trouble(pool, host);
    lines_.trouble(pool, host, what);
}

/// What each holder of memory.h holds of it on this worker; those of the whole process are the
/// control thread's.
void Worker::Implementation::publish_memory() {
    using metrics::Holder;
    using metrics::Metric;
    metrics::Series& own = tally_.own();
    const auto set = [&own](Holder holder, std::uint64_t octets) {
        own.set<Metric::memory>(octets, holder);
    };
    const io::BufferGroup body = io::BufferGroup::body;
    set(Holder::bodies, bodies_.used());
    set(Holder::connections, inbound_.held_connection_octets());
    set(Holder::command_lines, inbound_.held_buffer_octets());
    set(Holder::envelopes, submissions_.envelope_octets());
    set(Holder::command_buffers, ring_->buffers(io::BufferGroup::command).mapped());
    set(Holder::body_buffers,
        std::uint64_t{ring_->buffers_offered(body)} * ring_->buffers(body).block_size());
    set(Holder::logins, logins_.held_octets());
    set(Holder::rings, locked_octets_);
    set(Holder::tls, inbound_.held_tls_octets());
    set(Holder::clients, index_ == 0 ? common_.rates.held_octets() : 0);
    set(Holder::spool, deliveries_.held_octets());
    own.set<Metric::transactions_open>(submissions_.used());
    inbound_.set_pressed(pressure_.look(own));
}

// --- the end ------------------------------------------------------------------------------------

void Worker::Implementation::begin_shutdown() {
    stage_ = Stage::grace;
    deliveries_.shut_down();
    tally_.stopping();
    common_.doors.close(index_);
    inbound_.shut_down();
    timers_.set(shutdown_timer_, ring_->now() + current().config.timeouts.shutdown_grace);
}

void Worker::Implementation::go_on_shutting_down() {
    if (stage_ == Stage::grace) {
        stage_ = Stage::owed;
        inbound_.cut();
        relay_.give_up_unsent();
        deliveries_.wait_for_no_disk();
        timers_.set(shutdown_timer_, ring_->now() + current().config.timeouts.data_done);
    } else if (stage_ == Stage::owed) {
        relay_.cut();
    }
}

// --- the face -----------------------------------------------------------------------------------

base::Result<std::unique_ptr<Worker>> Worker::create(
    const WorkerSettings& settings,
    const Snapshot& snapshot,
    Common& common,
    Control& control,
    log::Buffer& lines) {
    auto ring = io::Ring::create(settings.bounds.ring);
    if (!ring) {
        return ring.error();
    }
    auto implementation = std::make_unique<Implementation>(
        std::move(*ring), settings, snapshot, common, control, lines);
    return std::unique_ptr<Worker>(new Worker(std::move(implementation)));
}

Worker::Worker(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Worker::~Worker() = default;

void Worker::run() {
    implementation_->run();
}

void Worker::request_pulse() {
    implementation_->request_pulse();
}

void Worker::publish(const Snapshot& snapshot, std::vector<OpenedListener> opened) {
    implementation_->publish(snapshot, std::move(opened));
}

void Worker::set_hosts(std::uint64_t pool_identity, PoolAddresses addresses) {
    implementation_->set_hosts(pool_identity, std::move(addresses));
}

void Worker::request_queue(QueueAsk ask, std::function<void(QueueAnswer)> answered) {
    implementation_->request_queue(std::move(ask), std::move(answered));
}

void Worker::request_shutdown() {
    implementation_->request_shutdown();
}

}  // namespace postern::shard

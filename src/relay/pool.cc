#include "pool.h"

#include <algorithm>

namespace postern::relay {
namespace {

using namespace std::chrono_literals;

constexpr base::Duration pause_min = 1s;
constexpr base::Duration pause_max = 30s;

smtp::ClientSettings client_settings_of(const PoolSettings& pool) {
    smtp::ClientSettings settings;
    settings.helo = pool.helo;
    settings.pipeline_max = pool.pipeline_max;
    settings.recipients_max = pool.recipients_max;
    settings.send_8bit = pool.send_8bit;
    settings.ehlo_ignore = pool.ehlo_ignore;
    return settings;
}

}  // namespace

// --- a host
// ------------------------------------------------------------------------------------------------------------------

Host::Host(Corridor& corridor, Pool& owner, const io::Address& where, const PoolSettings& settings)
    : pool(owner),
      address(where),
      text(where.text()),
      counts(corridor.meters.host(settings.name, text, settings.by_rule)),
      corridor_(corridor),
      connections_(settings.connections_max) {
    const auto same_family = std::find_if(
        settings.source.begin(), settings.source.end(), [&](const io::Address& candidate) {
            return candidate.is_v4() == where.is_v4();
        });
    source = same_family == settings.source.end() ? nullptr : &*same_family;
}

Host::~Host() {
    counts.add<metrics::Metric::host_aside>(aside() ? -1 : 0);
}

void Host::failed(std::string_view what, bool whole) {
    const base::Instant now = corridor_.ring.now();
    if (health_ == Health::aside ||
        (health_ == Health::trusted && !whole && works() && now < pause_ends_)) {
        return;  // known
    }
    pause_ = std::clamp(2 * pause_, pause_min, pause_max);
    pause_ends_ = now + pause_;
    if (whole || health_ == Health::probing || !works()) {
        health_ = Health::aside;
        counts.count<metrics::Metric::host_aside>();
    }
    counts.count<metrics::Metric::host_trouble>();
    corridor_.world.trouble(pool.settings.name, text, what);
}

void Host::answered() {
    if (health_ == Health::probing) {
        health_ = Health::trusted;
    }
    if (health_ == Health::trusted && corridor_.ring.now() >= pause_ends_) {
        pause_ = {};
    }
}

bool Host::usable() {
    if (health_ == Health::aside && corridor_.ring.now() >= pause_ends_) {
        health_ = Health::probing;
        counts.add<metrics::Metric::host_aside>(-1);
    }
    return health_ != Health::aside;
}

bool Host::open_connection() {
    const bool full = works() && health_ == Health::trusted && corridor_.ring.now() < pause_ends_;
    if (full) {
        return false;
    }
    Connection* const connection = connections_.make(corridor_, *this);
    if (connection == nullptr) {
        return false;
    }
    base::Error why;
    if (!connection->open(why)) {
        connections_.destroy(connection);
        failed(why.text, false);
        return false;
    }
    counts.count<metrics::Metric::host_connections>();
    counts.count<metrics::Metric::host_connections_open>();
    ++counts_[index(Stage::opening)];
    list(Stage::opening).push_back(*connection);
    return true;
}

void Host::file(Connection& connection, Stage from, Stage to) {
    static_cast<base::ListLink<Staged>&>(connection).unlink();
    --counts_[index(from)];
    // The idle one that was used last is used next, so that those too many grow old.
    to == Stage::idle ? list(to).push_front(connection) : list(to).push_back(connection);
    ++counts_[index(to)];
}

void Host::closed(Connection& connection) {
    counts.add<metrics::Metric::host_connections_open>(-1);
    --counts_[index(connection.stage())];
    connections_.destroy(&connection);
}

// --- a pool
// ------------------------------------------------------------------------------------------------------------------

Pool::Pool(Corridor& corridor, const PoolSettings& definition)
    : settings(definition),
      client_settings(client_settings_of(definition)),
      corridor_(corridor),
      host_(corridor, *this, settings.hosts.front(), settings) {}

void Pool::submit(mail::Submission& submission) {
    Transfer& transfer = corridor_.take(submission, *this);
    waiting_.push_back(transfer);
    wait(transfer);
}

void Pool::wait_again(Transfer& transfer) {
    waiting_.push_front(transfer);
    wait(transfer);
}

void Pool::wait(Transfer& transfer) {
    ++waiting_count_;
    if (!linked()) {
        corridor_.waiting.push_back(*this);
    }
    wait_until_busy(transfer);
}

void Pool::wait_until_busy(Transfer& transfer) {
    corridor_.timers.set(
        transfer.deadline,
        std::min(corridor_.ring.now() + corridor_.timeouts.busy, transfer.submission->deadline));
}

void Pool::waited_too_long(Transfer& transfer) {
    const bool at_deadline = corridor_.ring.now() >= transfer.submission->deadline;
    if (!at_deadline && !host_.works() && host_.count(Stage::opening) > 0) {
        // Nobody is busy: whether there is a host at all will be known when the attempt to connect
        // ends.
        corridor_.timers.set(transfer.deadline, transfer.submission->deadline);
        return;
    }
    transfer.unlink();
    --waiting_count_;
    mail::Outcome outcome;
    outcome.kind = host_.works() ? mail::Outcome::Kind::busy : mail::Outcome::Kind::unreachable;
    corridor_.settle(transfer, outcome);
    corridor_.release(transfer);
}

// Those that wait beyond the first `keep`.
void Pool::settle_unreachable(std::uint32_t keep) {
    for (std::uint32_t count = waiting_count_; count > keep; --count) {
        auto& transfer = static_cast<Transfer&>(*waiting_.back());
        transfer.unlink();
        --waiting_count_;
        mail::Outcome outcome;
        outcome.kind = mail::Outcome::Kind::unreachable;
        outcome.host = host_.text;
        corridor_.settle(transfer, outcome);
        corridor_.release(transfer);
    }
}

void Pool::distribute() {
    if (waiting_count_ == 0) {
        return;
    }
    if (corridor_.cutting || !host_.usable()) {
        settle_unreachable(0);
        return;
    }
    std::uint32_t wanted = waiting_count_;
    if (host_.probing()) {
        wanted = host_.in_flight == 0 ? 1 : 0;
        settle_unreachable(wanted);
    }
    while (host_.count(Stage::idle) + host_.count(Stage::opening) < wanted &&
           host_.open_connection()) {
    }
    for (std::uint32_t i = host_.count(Stage::idle); i > 0 && waiting_count_ > 0; --i) {
        host_.list(Stage::idle).front()->pump();
    }
    // Each busy one in its turn, so that all come to be first.
    base::List<Connection, Staged>& busy = host_.list(Stage::busy);
    for (std::uint32_t i = host_.count(Stage::busy);
         i > 0 && waiting_count_ > host_.count(Stage::opening) && !busy.empty();
         --i) {
        Connection& connection = *busy.front();
        static_cast<base::ListLink<Staged>&>(connection).unlink();
        busy.push_back(connection);
        connection.pump();
    }
    if (waiting_count_ > 0 && !host_.usable()) {  // found out while opening
        settle_unreachable(0);
    }
}

Transfer* Pool::next(Connection& connection, Host& host) {
    const std::uint32_t here = connection.session().in_flight();
    if (waiting_count_ == 0 || host.aside() || corridor_.cutting ||
        (host.probing() && host.in_flight > 0)) {
        return nullptr;
    }
    if (here > 0) {
        const std::uint32_t elsewhere = host.count(Stage::idle) + host.count(Stage::opening);
        const std::uint32_t working = host.count(Stage::idle) + host.count(Stage::busy);
        const std::uint32_t share = (host.in_flight + waiting_count_) / std::max(working, 1U) + 1;
        if (waiting_count_ <= elsewhere || here >= share) {
            return nullptr;
        }
    }
    --waiting_count_;
    return static_cast<Transfer*>(waiting_.pop_front());
}

std::uint32_t Pool::recipients_max() const {
    return host_.recipients_max == 0 ? settings.recipients_max
                                     : std::min(settings.recipients_max, host_.recipients_max);
}

void Pool::quit_idle() {
    for (Connection* c = host_.list(Stage::idle).front(); c != nullptr;
         c = host_.list(Stage::idle).front()) {
        c->quit();
    }
}

void Pool::close_all() {
    for (const Stage stage : {Stage::opening, Stage::idle, Stage::busy}) {
        while (Connection* c = host_.list(stage).front()) {
            c->close();
        }
    }
}

}  // namespace postern::relay

#include "pool.h"

#include <algorithm>
#include <limits>

namespace postern::relay {
namespace {

using namespace std::chrono_literals;

// Pauses end, windows grow and attempts to connect take long without anything that happens.
constexpr base::Duration look_interval = 50ms;
// Messages that avoid a host may stand in front of one that does not; so many are passed over.
constexpr unsigned passed_over_max = 32;

smtp::ClientSettings::Tls starttls_of(Tls tls) {
    switch (tls) {
        case Tls::none:
            return smtp::ClientSettings::Tls::none;
        case Tls::opportunistic:
            return smtp::ClientSettings::Tls::offered;
        case Tls::required:
        case Tls::verify:
            break;
    }
    return smtp::ClientSettings::Tls::required;
}

smtp::ClientSettings client_settings_of(const PoolSettings& pool, Tls tls) {
    smtp::ClientSettings settings;
    settings.helo = pool.helo;
    settings.pipeline_max = pool.pipeline_max;
    settings.recipients_max = pool.recipients_max;
    settings.send_8bit = pool.send_8bit;
    settings.ehlo_ignore = pool.ehlo_ignore;
    settings.tls = starttls_of(tls);
    settings.auth_user = pool.auth_user;
    settings.auth_password = pool.auth_password;
    settings.xforward = pool.xforward;
    return settings;
}

}  // namespace

std::string definition_of(const PoolSettings& pool) {
    std::string octets;
    const auto add = [&octets](std::string_view text) { octets.append(text).push_back('\n'); };
    const auto add_number = [&add](std::int64_t number) { add(std::to_string(number)); };
    add(pool.name);
    add_number(pool.by_rule ? 1 : 0);
    for (const HostSettings& host : pool.hosts) {
        add(host.name.empty() ? host.address.text() : host.name);
        add_number(host.port);
        add_number(host.mx ? 1 : 0);
        add_number(host.level);
    }
    add(pool.helo);
    add_number(pool.connections_max);
    add_number(pool.pipeline_max);
    add_number(pool.recipients_max);
    add_number(pool.send_8bit ? 1 : 0);
    for (const std::string& keyword : pool.ehlo_ignore) {
        add(keyword);
    }
    add_number(static_cast<std::int64_t>(pool.tls));
    add(pool.tls_name);
    add_number(static_cast<std::int64_t>(pool.tls_files));
    add(pool.auth_user);
    add(pool.auth_password);
    add_number(pool.xforward ? 1 : 0);
    for (const io::Address& address : pool.source) {
        add(address.text());
    }
    add_number(pool.max_age.count());
    add_number(pool.idle.count());
    return octets;
}

Pool::Pool(
    Corridor& corridor,
    std::uint32_t its_number,
    const PoolSettings& its_settings,
    std::shared_ptr<const tls::ClientContext> its_tls)
    : number(its_number),
      settings(its_settings),
      tls_context(std::move(its_tls)),
      client_settings(client_settings_of(its_settings, its_settings.tls)),
      plain_settings(client_settings_of(its_settings, Tls::none)),
      definition(definition_of(its_settings)),
      corridor_(corridor) {
    POSTERN_ASSERT(
        tls_context != nullptr || settings.tls == Tls::none, "a pool's TLS is made from something");
    std::vector<HostAddress> given;
    for (const HostSettings& host : settings.hosts) {
        if (host.name.empty()) {
            given.push_back({host.address, {}, host.level});
        }
    }
    set_hosts(given, Absence::pending);
}

void Pool::set_hosts(std::span<const HostAddress> wanted, Absence absence) {
    absence_ = absence;
    std::vector<std::unique_ptr<Host>> before = std::exchange(hosts_, {});
    const auto is_at = [](const io::Address& address) {
        return [&address](const std::unique_ptr<Host>& host) {
            return host != nullptr && host->address == address;
        };
    };
    for (const HostAddress& one : wanted) {
        const auto twice = std::find_if(hosts_.begin(), hosts_.end(), is_at(one.address));
        if (twice != hosts_.end()) {
            (*twice)->level = std::min((*twice)->level, one.level);
            continue;
        }
        const auto known = std::find_if(before.begin(), before.end(), is_at(one.address));
        if (known == before.end()) {
            hosts_.push_back(std::make_unique<Host>(corridor_, *this, one, settings));
        } else {
            (*known)->level = one.level;
            (*known)->rename(one.name);
            hosts_.push_back(std::move(*known));
        }
    }
    std::stable_sort(hosts_.begin(), hosts_.end(), [](const auto& a, const auto& b) {
        return a->level < b->level;
    });
    for (std::unique_ptr<Host>& gone : before) {
        if (gone != nullptr) {
            leaving_.push_back(std::move(gone));
            begin_to_leave();
        }
    }
    sharing_.reserve(hosts_.size());
}

void Pool::retire() {
    retired_ = true;
    begin_to_leave();
}

void Pool::begin_to_leave() {
    if (!ListLink<Leaving>::linked()) {
        corridor_.leaving.push_back(*this);
    }
}

bool Pool::clear_away() {
    for (const auto& host : leaving_) {
        host->wind_down();
    }
    std::erase_if(leaving_, [](const auto& host) { return host->keeps_quiet(); });
    if (retired_) {
        wind_down();
    }
    return retired_ || !leaving_.empty();
}

bool Pool::nothing_open() const {
    bool quiet = waiting_count_ == 0;
    for_each_host([&](const Host& host) { quiet = quiet && host.keeps_quiet(); });
    return quiet;
}

template <class Use>
void Pool::for_each_host(Use&& use) const {
    for (const auto& host : hosts_) {
        use(*host);
    }
    for (const auto& host : leaving_) {
        use(*host);
    }
}

// --- waiting
// ------------------------------------------------------------------------------------------------------------------

void Pool::submit(mail::Submission& submission) {
    Transfer& transfer = corridor_.take(submission, *this);
    transfer.age.since = corridor_.ring.now();
    ages_.push_back(transfer.age);
    waiting_.push_back(transfer);
    wait(transfer);
}

void Pool::wait_again(Transfer& transfer) {
    waiting_.push_front(transfer);
    wait(transfer);
}

void Pool::take_back(Transfer& transfer) {
    leave(transfer);
    transfer.deadline.cancel();
    corridor_.release(transfer);
}

void Pool::leave(Transfer& transfer) {
    transfer.unlink();
    --waiting_count_;
}

void Pool::wait(Transfer& transfer) {
    ++waiting_count_;
    if (!ListLink<Waiting>::linked()) {
        corridor_.waiting.push_back(*this);
    }
    set_patience(transfer);
}

void Pool::set_patience(Transfer& transfer) {
    corridor_.timers.set(
        transfer.deadline,
        std::min(corridor_.ring.now() + corridor_.timeouts.busy, transfer.submission->deadline));
}

void Pool::is_due(Transfer& transfer) {
    const base::Instant deadline = transfer.submission->deadline;
    if (transfer.connection == nullptr) {
        waited_too_long(transfer);
    } else if (corridor_.ring.now() < deadline) {  // it was put off
        corridor_.timers.set(transfer.deadline, deadline);
    } else {
        transfer.connection->give_up(transfer, mail::Outcome::Kind::unreachable);
    }
}

void Pool::waited_too_long(Transfer& transfer) {
    bool works = false;
    bool opening = false;
    for (const auto& host : hosts_) {
        works = works || host->works();
        opening = opening || host->count(Stage::opening) > 0;
    }
    const Timeouts& timeouts = corridor_.timeouts;
    const base::Instant end = std::min(
        transfer.submission->deadline, transfer.age.since + timeouts.connect + timeouts.reply);
    if (corridor_.ring.now() < end && !works && opening) {
        // Nobody is busy: whether there is a host at all will be known when the attempt to connect
        // ends. Of several hosts some probe may always be under way.
        set_patience(transfer);
        return;
    }
    leave(transfer);
    mail::Outcome outcome;
    outcome.kind = hosts_.empty() ? mail::Outcome::Kind::unresolved
                   : works        ? mail::Outcome::Kind::busy
                                  : out_of_reach();
    corridor_.settle(transfer, outcome);
    corridor_.release(transfer);
}

// With no host that mail can go to: for want of TLS, where one of them could be talked to else.
mail::Outcome::Kind Pool::out_of_reach() const {
    return std::any_of(
               hosts_.begin(), hosts_.end(), [](const auto& host) { return host->lacks_tls(); })
               ? mail::Outcome::Kind::untrusted
               : mail::Outcome::Kind::unreachable;
}

// Those that wait beyond the first `keep`.
void Pool::settle(mail::Outcome::Kind kind, std::uint32_t keep) {
    for (std::uint32_t count = waiting_count_; count > keep; --count) {
        auto& transfer = static_cast<Transfer&>(*waiting_.back());
        leave(transfer);
        mail::Outcome outcome;
        outcome.kind = kind;
        if (kind == mail::Outcome::Kind::refused) {
            outcome.reply = absence_ == Absence::null_mx
                                ? mail::Reply{556, {5, 1, 10}, "the domain takes no mail"}
                                : mail::Reply{
                                      554,
                                      {5, 4, 6},
                                      "the best mail exchanger of the domain is this host: a loop"};
        }
        if (hosts_.size() == 1) {
            outcome.host = hosts_.front()->text;
        }
        corridor_.settle(transfer, outcome);
        corridor_.release(transfer);
    }
}

// There are no hosts.
void Pool::settle_absent() {
    switch (absence_) {
        case Absence::pending:
            return;
        case Absence::unresolved:
            settle(mail::Outcome::Kind::unresolved, 0);
            return;
        case Absence::null_mx:
        case Absence::own_mx:
            settle(mail::Outcome::Kind::refused, 0);
            return;
    }
}

// --- giving out
// ------------------------------------------------------------------------------------------------------------------

void Pool::distribute() {
    if (waiting_count_ == 0) {
        return;
    }
    if (corridor_.cutting) {
        settle_waiting();
        return;
    }
    if (hosts_.empty()) {
        settle_absent();
        return;
    }
    for (std::size_t begin = 0; begin < hosts_.size() && waiting_count_ > 0;) {
        const std::uint32_t level = hosts_[begin]->level;
        bool proven = false;
        sharing_.clear();
        std::size_t end = begin;
        for (; end < hosts_.size() && hosts_[end]->level == level; ++end) {
            Host& host = *hosts_[end];
            host.look();
            if (host.room() > 0) {
                sharing_.push_back(&host);
            }
            proven = host.proven() || proven;
        }
        give_out();
        if (proven) {
            break;
        }
        begin = end;
    }
    if (waiting_count_ == 0) {
        return;
    }
    const auto is = [this](auto what) {
        return std::any_of(
            hosts_.begin(), hosts_.end(), [&](const auto& host) { return ((*host).*what)(); });
    };
    if (!is(&Host::trusted)) {  // one message waits for what a probe finds
        settle(out_of_reach(), is(&Host::probing) ? 1 : 0);
    }
    if (waiting_count_ > 0 && !look_.set()) {
        corridor_.timers.set(look_, corridor_.ring.now() + look_interval);
    }
}

// To the hosts of `sharing_`: fewest in flight first. Connections are opened where shares want
// them; but what can go on an idle one does not wait for that.
void Pool::give_out() {
    if (sharing_.empty()) {
        return;
    }
    others_ = sharing_.size() > 1;
    set_quotas();
    for (Host* host : sharing_) {
        while (host->count(Stage::idle) + host->count(Stage::opening) < host->quota &&
               host->open_connection()) {
        }
    }
    give_to_idle();
    while (!sharing_.empty() && waiting_count_ > expected()) {
        set_quotas();
        for (Host* host : sharing_) {
            give_to_busy(*host);
        }
        // Who has not taken all of its share can take no more now.
        std::erase_if(
            sharing_, [](const Host* host) { return host->quota > 0 || host->room() == 0; });
    }
    for (const auto& host : hosts_) {
        host->quota = 0;
    }
}

// Each its share; then, of what is left, one each, whosever share it was.
void Pool::give_to_idle() {
    for (const bool any : {false, true}) {
        for (Host* host : sharing_) {
            for (std::uint32_t i = host->count(Stage::idle); i > 0 && waiting_count_ > 0; --i) {
                if (any) {
                    host->quota = std::min(host->room(), 1U);
                }
                Connection* const connection = host->list(Stage::idle).front();
                if (host->quota == 0 || connection == nullptr) {
                    break;
                }
                connection->pump();
                if (host->list(Stage::idle).front() == connection) {
                    break;  // what waits is not for this host
                }
            }
        }
    }
}

// Each busy one in its turn, so that all come to be first.
void Pool::give_to_busy(Host& host) {
    base::List<Connection, Staged>& busy = host.list(Stage::busy);
    for (std::uint32_t i = host.count(Stage::busy);
         i > 0 && host.quota > 0 && waiting_count_ > expected() && !busy.empty();
         --i) {
        Connection& connection = *busy.front();
        static_cast<base::ListLink<Staged>&>(connection).unlink();
        busy.push_back(connection);
        connection.pump();
    }
}

// Shares out what waits, so that those with fewest in flight get most: all are filled up to the
// same height, as far as each has room.
void Pool::set_quotas() {
    if (sharing_.size() == 1) {
        sharing_.front()->quota = std::min(waiting_count_, sharing_.front()->room());
        return;
    }
    const auto fill = [this](std::uint32_t height) {
        std::uint64_t sum = 0;
        for (Host* host : sharing_) {
            const std::uint32_t lacks = height > host->in_flight ? height - host->in_flight : 0;
            host->quota = std::min(lacks, host->room());
            sum += host->quota;
        }
        return sum;
    };
    std::uint32_t low = 0;
    std::uint32_t high = waiting_count_;
    for (const Host* host : sharing_) {
        high = std::max(high, host->in_flight + waiting_count_);
    }
    while (low < high) {
        const std::uint32_t middle = low + (high - low) / 2;
        if (fill(middle) >= waiting_count_) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // The last row is not for all: each time others go without.
    std::uint64_t surplus = fill(low);
    surplus -= std::min<std::uint64_t>(surplus, waiting_count_);
    for (std::size_t i = 0; i < sharing_.size() && surplus > 0; ++i) {
        Host& host = *sharing_[(turn_ + i) % sharing_.size()];
        if (host.quota > 0 && host.in_flight + host.quota == low) {
            --host.quota;
            --surplus;
        }
    }
    ++turn_;
}

// Connections of those that share, about to be open.
std::uint32_t Pool::expected() {
    std::uint32_t sum = 0;
    for (Host* host : sharing_) {
        sum += host->expected();
    }
    return sum;
}

Transfer* Pool::next(Connection& connection, Host& host) {
    if (waiting_count_ == 0 || host.quota == 0 || host.room() == 0) {
        return nullptr;
    }
    const std::uint32_t here = connection.session().in_flight();
    if (here > 0) {
        std::uint32_t elsewhere = expected();
        for (const Host* other : sharing_) {
            elsewhere += other->count(Stage::idle);
        }
        elsewhere -= connection.stage() == Stage::idle ? 1 : 0;
        const std::uint32_t working = host.count(Stage::idle) + host.count(Stage::busy);
        const std::uint32_t share = (host.in_flight + host.quota) / std::max(working, 1U) + 1;
        if (waiting_count_ <= elsewhere || here >= share) {
            return nullptr;
        }
    }
    unsigned passed_over = 0;
    for (smtp::Transfer* t = waiting_.front(); t != nullptr; t = waiting_.next(*t)) {
        auto& transfer = static_cast<Transfer&>(*t);
        if (!others_ || transfer.avoided != host.number) {
            transfer.unlink();
            --waiting_count_;
            --host.quota;
            return &transfer;
        }
        if (++passed_over == passed_over_max) {
            break;
        }
    }
    return nullptr;
}

bool Pool::slow() {
    const Transfer::Age* const oldest = ages_.front();
    return oldest != nullptr && corridor_.ring.now() - oldest->since > Relay::slow_after;
}

// Mirrors distribute(): what is left to wait there although no host takes it now.
std::uint32_t Pool::room() const {
    constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t room = 0;
    bool trusted = false;
    bool unknown = hosts_.empty() && absence_ == Absence::pending;
    for (const auto& host : hosts_) {
        trusted = trusted || host->trusted();
        unknown = unknown || host->probing();
        room += host->room();
    }
    if (hosts_.empty() && (absence_ == Absence::null_mx || absence_ == Absence::own_mx)) {
        return unlimited;  // has its answer at once
    }
    room = trusted ? room : unknown ? 1 : 0;
    room -= std::min<std::uint64_t>(room, waiting_count_);
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, unlimited));
}

// --- what is known of the hosts
// ------------------------------------------------------------------------------------------------------------------

TransactionMax Pool::transaction_max() const {
    const auto lower = [](std::uint32_t& most, std::uint32_t stated) {
        most = most == 0 ? stated : stated == 0 ? most : std::min(most, stated);
    };
    TransactionMax most{settings.recipients_max, 0};
    for (const auto& host : hosts_) {
        lower(most.recipients, host->transaction_max.recipients);
        lower(most.domains, host->transaction_max.domains);
    }
    return most;
}

bool Pool::lacks_smtputf8() const {
    bool any = false;
    for (const auto& host : hosts_) {
        if (host->known && !host->lacks_smtputf8) {
            return false;
        }
        any = any || host->known;
    }
    return any;
}

void Pool::wind_down() {
    if (waiting_count_ == 0) {
        for_each_host([](Host& host) { host.wind_down(); });
    }
}

void Pool::close_all() {
    for_each_host([](Host& host) { host.close_all(); });
}

}  // namespace postern::relay

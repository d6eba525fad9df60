#include "host.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "pool.h"

namespace postern::relay {
namespace {

using namespace std::chrono_literals;

constexpr base::Duration full_pause_min = 1s;
constexpr base::Duration full_pause_max = 30s;
// A connection that has been about to open for longer is not waited for, where another can take the
// message; and past the next one, its host is not taken for healthy.
constexpr base::Duration opening_patience = 200ms;
constexpr base::Duration opening_doubt = 1s;
constexpr unsigned breaks_max = 3;
constexpr base::Duration watch_interval = 1s;
constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();

shared::HostFacts& facts_of(
    Corridor& corridor, const Pool& pool, std::string_view host, shared::HostFacts& own) {
    shared::HostFacts* const facts = corridor.hosts.take(pool.definition, host);
    return facts == nullptr ? own : *facts;
}

}  // namespace

Host::Host(Corridor& corridor, Pool& owner, const HostAddress& where, const PoolSettings& settings)
    : pool(owner),
      address(where.address),
      text(where.address.text()),
      counts(corridor.meters.host(settings.name, text, settings.by_rule)),
      number(++corridor.hosts_numbered),
      name(where.name),
      level(where.level),
      corridor_(corridor),
      facts_(facts_of(corridor, owner, text, own_facts_)),
      connections_(settings.connections_max) {}

Host::~Host() {
    const bool mine = &facts_ == &own_facts_;
    const bool trouble_goes_too = mine ? !trusted() : corridor_.hosts.give_back(facts_);
    counts.add<metrics::Metric::host_aside>(trouble_goes_too ? -1 : 0);
}

// --- what its connections tell
// ------------------------------------------------------------------------------------------------------------------

void Host::failed(std::string_view what, bool whole, bool for_tls) {
    const base::Instant now = corridor_.ring.now();
    if (!whole && !probing_ && works()) {
        if (now >= full_until_) {
            full_pause_ = std::clamp(2 * full_pause_, full_pause_min, full_pause_max);
            full_until_ = now + full_pause_;
            tell(what);
        }
        return;
    }
    const bool probe = std::exchange(probing_, false);
    facts_.set_lacks_tls(for_tls);
    if (facts_.fail(now, probe)) {
        counts.add<metrics::Metric::host_aside>(probe ? 0 : 1);
        tell(what);
        corridor_.timers.set(watch_, now + watch_interval);
    }
}

void Host::goes_plain(std::string_view what) {
    if (facts_.begin_plain(corridor_.ring.now())) {
        tell(std::string(what) + "; plain text for the next 5 min");
    }
}

const smtp::ClientSettings& Host::client_settings() const {
    return facts_.plain(corridor_.ring.now()) ? pool.plain_settings : pool.client_settings;
}

void Host::rename(const std::string& found_by) {
    if (name != found_by) {
        name = found_by;
        resumption = tls::Resumption();  // was given to the other name
    }
}

void Host::watch() {
    look();
    if (!trusted()) {
        corridor_.timers.set(watch_, corridor_.ring.now() + watch_interval);
    }
}

void Host::broke(std::string_view what, base::Instant opened) {
    if (opened >= last_break_) {
        ++breaks_;
        last_break_ = corridor_.ring.now();
    }
    if (breaks_ >= breaks_max) {
        failed(what, true);
    } else {
        tell(what);
    }
}

void Host::tell(std::string_view what) {
    counts.count<metrics::Metric::host_trouble>();
    if (name.empty()) {
        corridor_.world.trouble(pool.settings.name, text, what);
    } else {
        corridor_.world.trouble(pool.settings.name, text + " (" + name + ")", what);
    }
}

void Host::file(Connection& connection, Stage from, Stage to) {
    static_cast<base::ListLink<Staged>&>(connection).unlink();
    --counts_[index(from)];
    // The idle one that was used last is used next, so that those too many grow old.
    to == Stage::idle ? list(to).push_front(connection) : list(to).push_back(connection);
    ++counts_[index(to)];
    if (from == Stage::opening && to == Stage::idle) {
        facts_.add_working();
        full_pause_ = {};
        if (std::exchange(probing_, false)) {
            counts.add<metrics::Metric::host_aside>(facts_.trust(corridor_.ring.now()) ? -1 : 0);
        }
    } else if (from != Stage::opening && to == Stage::closing) {
        facts_.remove_working();
    }
}

void Host::closed(Connection& connection) {
    --counts_[index(connection.stage())];
    connections_.destroy(&connection);
    facts_.remove_connection();
    counts.add<metrics::Metric::host_connections_open>(-1);
    if (probing_ && count(Stage::opening) == 0) {  // we ended it ourselves
        probing_ = false;
        facts_.leave_probe(corridor_.ring.now());
    }
}

// --- what its pool asks
// ------------------------------------------------------------------------------------------------------------------

void Host::look() {
    const Timeouts& timeouts = corridor_.timeouts;
    if (trusted() || probing_ ||
        !facts_.begin_probe(corridor_.ring.now(), timeouts.connect + timeouts.reply)) {
        return;
    }
    probing_ = true;
    quit_idle();  // what they still know of the host is from before its trouble
    if (!try_to_open(keeps_quiet() ? unlimited : pool.settings.connections_max) && probing_) {
        probing_ = false;
        facts_.leave_probe(corridor_.ring.now());
    }
}

std::uint32_t Host::room() const {
    const std::uint32_t window = facts_.window(corridor_.ring.now());
    return window > in_flight ? window - in_flight : 0;
}

bool Host::proven() {
    const base::Instant now = corridor_.ring.now();
    const Connection* const oldest = list(Stage::opening).front();
    const bool doubtful = count(Stage::idle) + count(Stage::busy) == 0 && oldest != nullptr &&
                          now - oldest->opened() > opening_doubt;
    return facts_.proven(now) && !doubtful;
}

bool Host::open_connection() {
    const base::Instant now = corridor_.ring.now();
    const Connection* const oldest = list(Stage::opening).front();
    if (!trusted() || now < full_until_ ||
        (oldest != nullptr && now - oldest->opened() > opening_patience)) {
        return false;
    }
    return try_to_open(keeps_quiet() ? unlimited : pool.settings.connections_max);
}

bool Host::try_to_open(std::uint32_t bound) {
    if (!facts_.add_connection(bound)) {
        return false;
    }
    Connection* const connection = connections_.make(corridor_, *this);
    if (connection == nullptr) {
        facts_.remove_connection();
        return false;
    }
    base::Error why;
    if (!connection->open(why)) {
        connections_.destroy(connection);
        facts_.remove_connection();
        failed(why.text, false);
        return false;
    }
    counts.count<metrics::Metric::host_connections>();
    counts.count<metrics::Metric::host_connections_open>();
    ++counts_[index(Stage::opening)];
    list(Stage::opening).push_back(*connection);
    return true;
}

std::uint32_t Host::expected() {
    const Connection* const oldest = list(Stage::opening).front();
    return oldest != nullptr && corridor_.ring.now() - oldest->opened() <= opening_patience
               ? count(Stage::opening)
               : 0;
}

void Host::quit_idle() {
    while (Connection* const connection = list(Stage::idle).front()) {
        connection->quit();
    }
}

void Host::wind_down() {
    watch_.cancel();
    quit_idle();
    while (Connection* const connection = list(Stage::opening).front()) {
        connection->close();
    }
}

void Host::close_all() {
    watch_.cancel();
    for (const Stage stage : {Stage::opening, Stage::idle, Stage::busy}) {
        while (Connection* const connection = list(stage).front()) {
            connection->close();
        }
    }
}

const io::Address* Host::next_source() {
    const std::vector<io::Address>& all = pool.settings.source;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const io::Address& candidate = all[next_source_++ % all.size()];
        if (candidate.is_v4() == address.is_v4()) {
            return &candidate;
        }
    }
    return nullptr;
}

}  // namespace postern::relay

#include "tests/sim/sim_world.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "postern/base/assert.h"

namespace postern::sim {

namespace {
World* current_world = nullptr;
}

Faults Faults::draw(io::Random& random) {
    const auto some = [&](unsigned most) -> unsigned {
        switch (random.below(3)) {
            case 0:
                return 0;
            case 1:
                return 1 + static_cast<unsigned>(random.below(most / 10 + 1));
            default:
                return most;
        }
    };
    Faults faults;
    faults.short_reads = some(500);
    faults.short_sends = some(500);
    faults.again = some(200);
    faults.no_buffer = some(200);
    faults.held_back = some(400);
    faults.accept_ends = some(300);
    faults.cuts = some(400);
    faults.refusals = some(200);
    faults.small_windows = some(300);
    faults.latency_max = base::Duration(random.below(3) * random.below(200'000'000));
    faults.write_fails = some(100);
    faults.short_writes = some(300);
    faults.read_fails = some(100);
    faults.create_fails = some(200);
    faults.disk_latency_max = base::Duration(random.below(3) * random.below(20'000'000));
    return faults;
}

// --- the world -----------------------------------------------------------------------------------

World::World(std::uint64_t seed, const Faults& faults)
    : random_(seed),
      faults_(faults),
      now_(std::chrono::hours(24) + base::Duration(random_.below(1'000'000'000))) {
    POSTERN_ASSERT(current_world == nullptr, "there is one simulated world at a time");
    current_world = this;
}

World::~World() {
    // What is open refers to the network; it goes first.
    events_.clear();
    descriptors_.clear();
    current_world = nullptr;
}

World& World::current() {
    POSTERN_ASSERT(current_world != nullptr, "a simulated ring needs a simulated world");
    return *current_world;
}

void World::at(base::Instant when, std::function<void()> what) {
    events_.emplace(std::max(when, now_), std::move(what));
}

base::WallTime World::wall_at(base::Instant instant) const {
    constexpr base::Duration first_of_january_2026 = std::chrono::seconds(1'767'225'600);
    return base::WallTime(first_of_january_2026 + instant.time_since_epoch() + wall_offset_);
}

base::Instant World::after_latency() {
    const auto most = static_cast<std::uint64_t>(faults_.latency_max.count());
    return now_ + base::Duration(most == 0 ? 0 : random_.below(most));
}

base::Instant World::after_disk() {
    const auto most = static_cast<std::uint64_t>(faults_.disk_latency_max.count());
    return now_ + base::Duration(most == 0 ? 0 : random_.below(most));
}

void World::step(base::Instant until) {
    if (events_.empty() || events_.begin()->first > until) {
        // For ever is no moment: with nothing to happen the clock stands.
        if (until != base::Instant::max() && until > now_) {
            now_ = until;
            steps_in_vain_ = 0;
        } else if (++steps_in_vain_ == steps_in_vain_max) {
            throw NoEnd();
        }
        return;
    }
    steps_in_vain_ = 0;
    now_ = events_.begin()->first;
    // What an event sets for this same moment happens in the next step.
    std::vector<std::function<void()>> happening;
    while (!events_.empty() && events_.begin()->first == now_) {
        happening.push_back(std::move(events_.begin()->second));
        events_.erase(events_.begin());
    }
    for (const auto& what : happening) {
        what();
    }
}

// --- the network ---------------------------------------------------------------------------------

io::Address World::next_host() {
    ++hosts_;
    return *io::Address::parse(
        "10." + std::to_string(hosts_ / 65536) + "." + std::to_string(hosts_ / 256 % 256) + "." +
            std::to_string(hosts_ % 256),
        0);
}

std::shared_ptr<Socket> World::listen(io::Address address) {
    if (address.port() == 0) {
        address = *io::Address::parse(address.host_text(), next_port_++);
    }
    auto socket = std::make_shared<Socket>(*this);
    socket->local = address;
    socket->state_ = Socket::State::listening;
    listeners_.emplace(address.text(), socket);
    return socket;
}

std::shared_ptr<Socket> World::listener_at(const io::Address& address) {
    const io::Address any = *io::Address::parse(address.is_v4() ? "0.0.0.0" : "::", address.port());
    std::vector<std::shared_ptr<Socket>> found;
    for (const io::Address& each : {address, any}) {
        const auto [from, to] = listeners_.equal_range(each.text());
        for (auto entry = from; entry != to; ++entry) {
            const std::shared_ptr<Socket> socket = entry->second.lock();
            if (socket != nullptr && socket->state_ == Socket::State::listening) {
                found.push_back(socket);
            }
        }
    }
    return found.empty() ? nullptr : found[random_.below(found.size())];
}

void World::silence(const io::Address& address) {
    silent_.push_back(address.text());
}

int World::open(std::shared_ptr<Socket> socket) {
    int descriptor = 3;
    while (descriptors_.contains(descriptor)) {
        ++descriptor;
    }
    descriptors_.emplace(descriptor, std::move(socket));
    return descriptor;
}

std::shared_ptr<Socket> World::socket(int descriptor) const {
    const auto found = descriptors_.find(descriptor);
    return found == descriptors_.end() ? nullptr : found->second;
}

void World::close(int descriptor) {
    const std::shared_ptr<Socket> socket = this->socket(descriptor);
    POSTERN_ASSERT(socket != nullptr, "a descriptor that is not open was closed");
    descriptors_.erase(descriptor);
    socket->on_change = nullptr;
    socket->close();
}

// --- a connection --------------------------------------------------------------------------------

struct Socket::Wire {
    std::size_t window = 65536;
    std::uint64_t octets = 0;  // sent so far, both ways
    std::optional<std::uint64_t> cut_after;
};

void Socket::connect(const io::Address& to) {
    POSTERN_ASSERT(state_ == State::fresh, "a simulated socket connects once");
    state_ = State::connecting;
    remote = to;
    if (std::find(world_.silent_.begin(), world_.silent_.end(), to.text()) ==
        world_.silent_.end()) {
        world_.at(
            world_.after_latency(), [self = shared_from_this()] { self->world_.establish(self); });
    }
}

void World::establish(const std::shared_ptr<Socket>& socket) {
    if (socket->state_ != Socket::State::connecting) {
        return;
    }
    const std::shared_ptr<Socket> listener = listener_at(socket->remote);
    if (listener == nullptr || happens(faults_.refusals)) {
        socket->break_off(ECONNREFUSED);
        return;
    }
    auto far = std::make_shared<Socket>(*this);
    auto wire = std::make_shared<Socket::Wire>();
    if (happens(faults_.small_windows)) {
        wire->window = 1 + random_.below(64);
    }
    if (happens(faults_.cuts)) {
        wire->cut_after = random_.below(faults_.cut_octets_max + 1);
    }
    if (socket->local.port() == 0) {
        socket->local = *io::Address::parse(
            socket->local.host_text(), static_cast<std::uint16_t>(30000 + random_.below(30000)));
    }
    far->local = socket->remote;
    far->remote = socket->local;
    far->peer_ = socket;
    socket->peer_ = far;
    far->wire_ = socket->wire_ = wire;
    far->state_ = socket->state_ = Socket::State::connected;
    listener->backlog_.push_back(far);
    listener->change();
    socket->change();
}

std::shared_ptr<Socket> Socket::accept() {
    if (backlog_.empty()) {
        return nullptr;
    }
    auto socket = std::move(backlog_.front());
    backlog_.pop_front();
    return socket;
}

/// Never from inside a call to the socket: it is told as an event of its own.
void Socket::change() {
    world_.at(world_.now(), [self = weak_from_this()] {
        const std::shared_ptr<Socket> here = self.lock();
        if (here != nullptr && here->on_change) {
            here->on_change();
        }
    });
}

void Socket::break_off(int error) {
    if (state_ == State::connected || state_ == State::connecting) {
        state_ = State::broken;
        error_ = error;
        change();
    }
}

/// The peer learns it when all that was sent before has arrived.
void Socket::tell_peer(void (Socket::*what)()) {
    last_arrival_ = std::max(last_arrival_, world_.after_latency());
    world_.at(last_arrival_, [peer = peer_, what] {
        if (const std::shared_ptr<Socket> there = peer.lock()) {
            ((*there).*what)();
        }
    });
}

int Socket::send(std::string_view bytes) {
    if (state_ == State::broken) {
        return -ECONNRESET;
    }
    if (state_ != State::connected || end_sent_) {
        return -EPIPE;
    }
    std::size_t count = std::min(bytes.size(), wire_->window - std::min(wire_->window, under_way_));
    if (count == 0) {
        return -EAGAIN;
    }
    const bool cut = wire_->cut_after && wire_->octets + count > *wire_->cut_after;
    if (cut) {
        count = *wire_->cut_after - wire_->octets;
    }
    wire_->octets += count;
    under_way_ += count;
    last_arrival_ = std::max(last_arrival_, world_.after_latency());
    world_.at(
        last_arrival_,
        [peer = peer_, self = weak_from_this(), text = std::string(bytes.substr(0, count))] {
            const std::shared_ptr<Socket> there = peer.lock();
            const std::shared_ptr<Socket> here = self.lock();
            if (there != nullptr && there->state_ == State::connected) {
                there->inbox_ += text;
                there->change();
            } else if (here != nullptr && (there == nullptr || there->state_ == State::closed)) {
                // RFC 9293, 3.10.7.1: what comes for a connection that is no more is answered with
                // a reset.
                here->world_.at(here->world_.after_latency(), [self] {
                    if (const std::shared_ptr<Socket> sender = self.lock()) {
                        sender->reset_arrives();
                    }
                });
            }
        });
    if (cut) {
        tell_peer(&Socket::reset_arrives);
        break_off(ECONNRESET);
        return count > 0 ? static_cast<int>(count) : -ECONNRESET;
    }
    return static_cast<int>(count);
}

int Socket::receive(char* into, std::size_t size) {
    if (!inbox_.empty()) {
        const std::size_t count = std::min(size, inbox_.size());
        inbox_.copy(into, count);
        inbox_.erase(0, count);
        if (const std::shared_ptr<Socket> peer = peer_.lock()) {
            peer->under_way_ -= count;
            tell_peer(&Socket::window_opens);
        }
        return static_cast<int>(count);
    }
    if (state_ == State::broken) {
        return -error_;
    }
    return end_arrived_ || receiving_shut_ ? 0 : -EAGAIN;
}

void Socket::hold(std::string_view bytes) {
    held_ += bytes;
}

void Socket::shut_down_sending() {
    if (!held_.empty() && state_ == State::connected && !end_sent_) {
        const std::size_t window = std::exchange(wire_->window, SIZE_MAX);
        send(held_);
        wire_->window = window;
        held_.clear();
    }
    if (state_ == State::connected && !end_sent_) {
        end_sent_ = true;
        tell_peer(&Socket::end_arrives);
    }
}

void Socket::shut_down() {
    shut_down_sending();
    receiving_shut_ = true;
    if (state_ == State::listening) {
        state_ = State::broken;
        error_ = EINVAL;
        for (const auto& waiting : std::exchange(backlog_, {})) {
            waiting->reset();
        }
    } else if (state_ == State::connecting) {
        state_ = State::broken;
        error_ = ECONNRESET;
    }
    change();
}

void Socket::close() {
    if (state_ == State::connected && !inbox_.empty()) {
        reset();
        return;
    }
    shut_down();
    state_ = State::closed;
}

void Socket::reset() {
    if (state_ == State::connected) {
        tell_peer(&Socket::reset_arrives);
    }
    state_ = State::closed;
    inbox_.clear();
}

void Socket::end_arrives() {
    end_arrived_ = true;
    change();
}

void Socket::reset_arrives() {
    // What arrived and was not read may be lost with it.
    if (world_.random_.chance(1, 2)) {
        inbox_.clear();
    }
    break_off(ECONNRESET);
}

// --- peers ---------------------------------------------------------------------------------------

Peer::Peer(World& world, const io::Address& to, std::function<void(Peer&)> on_change)
    : Peer(world, std::make_shared<Socket>(world), std::move(on_change)) {
    socket_->local = world.next_host();
    socket_->connect(to);
}

Peer::Peer(World& world, std::shared_ptr<Socket> socket, std::function<void(Peer&)> on_change)
    : world_(world), socket_(std::move(socket)), on_change_(std::move(on_change)) {
    socket_->on_change = [this] { move(); };
}

Peer::~Peer() {
    socket_->on_change = nullptr;
    if (!closed_) {
        socket_->close();
    }
}

void Peer::move() {
    if (stopped_ || closed_) {
        return;
    }
    char buffer[4096];
    for (int count = 0; (count = socket_->receive(buffer, sizeof buffer)) > 0;) {
        received.append(buffer, static_cast<std::size_t>(count));
    }
    while (!outbox_.empty()) {
        const std::size_t piece = 1 + world_.random().below(outbox_.size());
        const int count = socket_->send(std::string_view(outbox_).substr(0, piece));
        if (count <= 0) {
            break;
        }
        outbox_.erase(0, static_cast<std::size_t>(count));
    }
    if (end_wanted_ && outbox_.empty() && !std::exchange(end_done_, true)) {
        socket_->shut_down_sending();
    }
    on_change_(*this);
}

void Peer::write(std::string_view bytes) {
    outbox_ += bytes;
    socket_->change();
}

void Peer::end() {
    end_wanted_ = true;
    write({});
}

void Peer::close() {
    closed_ = true;
    socket_->close();
}

void Peer::reset() {
    closed_ = true;
    socket_->reset();
}

void Peer::stop() {
    stopped_ = true;
}

void Peer::go_on() {
    stopped_ = false;
    write({});
}

bool Peer::over() const {
    return closed_ || socket_->error() != 0 || socket_->ended();
}

PeerListener::PeerListener(
    World& world, const io::Address& address, std::function<void(std::shared_ptr<Socket>)> on_peer)
    : socket_(world.listen(address)) {
    socket_->on_change = [socket = std::weak_ptr(socket_), on_peer = std::move(on_peer)] {
        const std::shared_ptr<Socket> here = socket.lock();
        while (here != nullptr) {
            std::shared_ptr<Socket> arrived = here->accept();
            if (arrived == nullptr) {
                break;
            }
            on_peer(std::move(arrived));
        }
    };
}

PeerListener::~PeerListener() {
    socket_->on_change = nullptr;
    socket_->close();
}

}  // namespace postern::sim

#include <valgrind/callgrind.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <set>
#include <unordered_map>
#include <vector>

#include "postern/io/clock.h"
#include "postern/io/entropy.h"
#include "postern/io/ring.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"

/// io's ring over a simulated world: the same symbols as src/io/uring.cc and src/io/socket.cc have.
/// Each ring is a host of its own.
///
/// What was armed is tried when the next turn begins, and again whenever its socket changes. What
/// it came to waits in `ready` until a turn runs it, in random order beside that of one completion.
/// It is stricter than a kernel: a descriptor that is closed under an operation, or two sends at
/// once on a socket, are assertions.
namespace postern::io {

namespace {

struct Operation {
    enum class Kind : std::uint8_t { accept, connect, receive, send, write, read, close, cancel };
    Kind kind;
    Completion* completion;
    int descriptor = -1;
    const Completion* target = nullptr;  // cancel
    BufferGroup group = BufferGroup::command;
    const msghdr* message = nullptr;
    const Address* to = nullptr;
    std::size_t sent = 0;
    std::span<const char> from{};  // write
    std::span<char> into{};        // read
    std::uint64_t offset = 0;
    bool last = false;   // send
    bool begun = false;  // connect
};

struct Result {
    Completion* completion;
    Done done;
};

/// Instructions of the world are not the worker's (bench/instructions.py): callgrind's collection
/// is off from where the worker calls the ring until it is back, but for what the ring calls back.
/// Without callgrind: nothing.
struct Crossing {
    Crossing() { CALLGRIND_TOGGLE_COLLECT; }

    ~Crossing() { CALLGRIND_TOGGLE_COLLECT; }

    Crossing(const Crossing&) = delete;
};

sim::Socket& socket_of(int descriptor) {
    const std::shared_ptr<sim::Socket> socket = sim::World::current().socket(descriptor);
    POSTERN_ASSERT(socket != nullptr, "a descriptor that is not open was used");
    return *socket;  // the world holds it
}

}  // namespace

struct Ring::Implementation {
    explicit Implementation(const RingOptions& options)
        : pools{
              {{options.command_buffer_size, options.command_buffers_max},
               {options.body_buffer_size, options.body_buffers_max}}} {
        sim::World::current().on_power_cut[this] = [this] { drop_all(); };
    }

    ~Implementation() {
        sim::World::current().on_power_cut.erase(this);
        POSTERN_ASSERT(
            submissions.empty() && ready.empty() && on_disk.empty() &&
                std::all_of(
                    armed.begin(),
                    armed.end(),
                    [](const auto& each) { return each.second.empty(); }),
            "a ring ended with operations under way");
    }

    void arm(Operation operation);
    void submit();
    void drop_all();
    void try_all(int descriptor);
    bool attempt(Operation& operation);
    bool attempt_accept(Operation& operation);
    bool attempt_connect(Operation& operation);
    bool attempt_receive(Operation& operation);
    bool attempt_send(Operation& operation);
    void cancel(const Operation& operation);
    void close(int descriptor);
    bool finish(const Operation& operation, Done done);
    bool finish(const Operation& operation, std::int32_t result);
    void run_ready();
    bool watch(int descriptor);
    std::function<void(std::int32_t)> disk_done(const Operation& operation);

    sim::World& world = sim::World::current();
    Address host = world.next_host();
    base::Instant now = world.now();
    std::array<base::BlockPool, 2> pools;
    std::array<base::List<BufferWaiter>, 2> waiters;
    std::vector<Operation> submissions;                     // armed since the last turn
    std::unordered_map<int, std::vector<Operation>> armed;  // by descriptor
    std::vector<Result> ready;
    std::set<Completion*> on_disk;  // writes and reads under way
    Counters counters;
    bool woken = false;
    void (*on_wake)(void*) = nullptr;
    void* on_wake_context = nullptr;
};

std::size_t locked_octets(const RingOptions&) {
    return 0;
}

base::Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
    return std::unique_ptr<Ring>(new Ring(std::make_unique<Implementation>(options)));
}

Ring::Ring(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Ring::~Ring() = default;

base::Instant Ring::now() const {
    return implementation_->now;
}

base::WallTime Ring::wall_now() const {
    return implementation_->world.wall_at(implementation_->now);
}

std::uint64_t Ring::random() {
    const Crossing crossing;
    return implementation_->world.random().next();
}

// --- the loop ------------------------------------------------------------------------------------

void Ring::turn(base::Instant until) {
    const Crossing crossing;
    Implementation& self = *implementation_;
    ++self.counters.turns;
    ++self.counters.enters;
    bool all_served = true;
    for (std::size_t group = 0; group < 2; ++group) {
        for (std::uint32_t count = self.pools[group].available();
             count > 0 && !self.waiters[group].empty();
             --count) {
            const Crossing back;
            finish(*self.waiters[group].pop_front());
        }
        all_served =
            all_served && (self.waiters[group].empty() || self.pools[group].available() == 0);
    }
    self.submit();
    if (self.ready.empty() && !self.woken && all_served) {
        // One moment of the world at a time, so that several rings can take turns; a return with
        // nothing done is no harm.
        self.world.step(until);
    }
    self.now = self.world.now();
    self.run_ready();
}

void Ring::Implementation::submit() {
    for (Operation& operation : std::exchange(submissions, {})) {
        if (operation.kind == Operation::Kind::cancel) {
            cancel(operation);
        } else if (operation.kind == Operation::Kind::close) {
            close(operation.descriptor);
            finish(operation, 0);
        } else if (operation.kind == Operation::Kind::write) {
            on_disk.insert(operation.completion);
            sim::Disk::current().write(
                operation.descriptor, operation.from, operation.offset, disk_done(operation));
        } else if (operation.kind == Operation::Kind::read) {
            on_disk.insert(operation.completion);
            sim::Disk::current().read(
                operation.descriptor, operation.into, operation.offset, disk_done(operation));
        } else if (!attempt(operation)) {
            armed[operation.descriptor].push_back(operation);
        }
    }
}

std::function<void(std::int32_t)> Ring::Implementation::disk_done(const Operation& operation) {
    return [this, operation](std::int32_t result) {
        on_disk.erase(operation.completion);
        finish(operation, result);
    };
}

void Ring::Implementation::drop_all() {
    for (const Operation& operation : submissions) {
        disarm(*operation.completion);
    }
    for (const auto& [descriptor, operations] : armed) {
        for (const Operation& operation : operations) {
            disarm(*operation.completion);
        }
    }
    for (const Result& result : ready) {
        disarm(*result.completion);
    }
    for (Completion* completion : on_disk) {
        disarm(*completion);
    }
    submissions.clear();
    armed.clear();
    ready.clear();
    on_disk.clear();
}

void Ring::Implementation::run_ready() {
    if (std::exchange(woken, false) && on_wake != nullptr) {
        const Crossing back;
        on_wake(on_wake_context);
    }
    std::vector<Result> kept;
    std::vector<Result> running = std::exchange(ready, {});
    counters.completions += running.size();
    while (!running.empty()) {
        // Any of them; of one completion the oldest first, and none past one that is held back.
        const Completion* picked = running[world.random().below(running.size())].completion;
        const auto same = [&](const Result& each) { return each.completion == picked; };
        const auto first = std::find_if(running.begin(), running.end(), same);
        Result result = std::move(*first);
        running.erase(first);
        if (world.happens(world.faults().held_back) ||
            std::any_of(kept.begin(), kept.end(), same)) {
            kept.push_back(std::move(result));
        } else {
            const Crossing back;
            Ring::finish(*result.completion, std::move(result.done));
        }
    }
    // What callbacks caused meanwhile is behind them.
    ready.insert(
        ready.begin(), std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end()));
}

// --- operations ----------------------------------------------------------------------------------

void Ring::Implementation::arm(Operation operation) {
    Ring::arm(*operation.completion);
    submissions.push_back(operation);
}

/// False: not open.
bool Ring::Implementation::watch(int descriptor) {
    const std::shared_ptr<sim::Socket> socket = world.socket(descriptor);
    if (socket != nullptr) {
        socket->on_change = [this, descriptor] { try_all(descriptor); };
    }
    return socket != nullptr;
}

void Ring::Implementation::try_all(int descriptor) {
    std::erase_if(armed[descriptor], [&](Operation& each) { return attempt(each); });
}

/// True: it is over (not of a multishot accept that goes on).
bool Ring::Implementation::attempt(Operation& operation) {
    if (!watch(operation.descriptor)) {
        return finish(operation, -EBADF);
    }
    switch (operation.kind) {
        case Operation::Kind::accept:
            return attempt_accept(operation);
        case Operation::Kind::connect:
            return attempt_connect(operation);
        case Operation::Kind::receive:
            return attempt_receive(operation);
        case Operation::Kind::send:
            return attempt_send(operation);
        case Operation::Kind::write:
        case Operation::Kind::read:
        case Operation::Kind::close:
        case Operation::Kind::cancel:
            break;
    }
    return true;
}

bool Ring::Implementation::finish(const Operation& operation, Done done) {
    ready.push_back({operation.completion, std::move(done)});
    return true;
}

bool Ring::Implementation::finish(const Operation& operation, std::int32_t result) {
    return finish(operation, Done{.result = result, .buffer = {}});
}

bool Ring::Implementation::attempt_accept(Operation& operation) {
    sim::Socket& listener = socket_of(operation.descriptor);
    if (listener.error() != 0) {
        return finish(operation, -listener.error());
    }
    const bool ends = world.happens(world.faults().accept_ends);
    if (ends && world.random().chance(1, 2)) {
        return finish(operation, -EMFILE);
    }
    while (std::shared_ptr<sim::Socket> accepted = listener.accept()) {
        const int descriptor = world.open(std::move(accepted));
        finish(operation, {.result = descriptor, .more = !ends, .buffer = {}});
        if (ends) {
            return true;
        }
    }
    return false;
}

bool Ring::Implementation::attempt_connect(Operation& operation) {
    sim::Socket& socket = socket_of(operation.descriptor);
    if (!std::exchange(operation.begun, true)) {
        socket.connect(*operation.to);
    }
    if (socket.error() != 0) {
        return finish(operation, -socket.error());
    }
    return socket.connected() && finish(operation, 0);
}

bool Ring::Implementation::attempt_receive(Operation& operation) {
    if (world.happens(world.faults().again)) {
        return finish(operation, world.random().chance(1, 2) ? -EINTR : -EAGAIN);
    }
    // As the kernel does it: a buffer first, even if there is nothing to read.
    base::BlockPool& pool = pools[operation.group == BufferGroup::body];
    base::BlockRef block = world.happens(world.faults().no_buffer) ? base::BlockRef() : pool.take();
    if (!block) {
        ++counters.buffers_exhausted;
        return finish(operation, -ENOBUFS);
    }
    std::size_t size = block->capacity;
    if (world.happens(world.faults().short_reads)) {
        size = 1 + world.random().below(world.random().chance(1, 2) ? 4 : size);
    }
    sim::Socket& socket = socket_of(operation.descriptor);
    const int count = socket.receive(block->data(), size);
    if (count == -EAGAIN) {
        return false;
    }
    const bool rest = socket.ended() || !socket.arrived().empty();
    return finish(
        operation,
        {.result = count, .rest = rest, .buffer = count > 0 ? std::move(block) : base::BlockRef()});
}

bool Ring::Implementation::attempt_send(Operation& operation) {
    if (operation.sent == 0 && world.happens(world.faults().again)) {
        return finish(operation, world.random().chance(1, 2) ? -EINTR : -EAGAIN);
    }
    sim::Socket& socket = socket_of(operation.descriptor);
    std::size_t skip = operation.sent;
    for (std::size_t piece = 0; piece < operation.message->msg_iovlen; ++piece) {
        const iovec& part = operation.message->msg_iov[piece];
        std::string_view bytes(static_cast<const char*>(part.iov_base), part.iov_len);
        bytes.remove_prefix(std::min(skip, bytes.size()));
        skip -= part.iov_len - bytes.size();
        while (!bytes.empty()) {
            const bool short_one = world.happens(world.faults().short_sends);
            const std::size_t most =
                short_one ? 1 + world.random().below(bytes.size()) : bytes.size();
            if (operation.last && socket.connected()) {
                socket.hold(bytes.substr(0, most));
            }
            const int count = operation.last && socket.connected()
                                  ? static_cast<int>(most)
                                  : socket.send(bytes.substr(0, most));
            if (count == -EAGAIN) {
                return false;
            }
            if (count < 0) {
                return finish(
                    operation,
                    operation.sent > 0 ? static_cast<std::int32_t>(operation.sent) : count);
            }
            operation.sent += static_cast<std::size_t>(count);
            bytes.remove_prefix(static_cast<std::size_t>(count));
            if (short_one) {
                return finish(operation, static_cast<std::int32_t>(operation.sent));
            }
        }
    }
    return finish(operation, static_cast<std::int32_t>(operation.sent));
}

void Ring::Implementation::cancel(const Operation& operation) {
    std::size_t count = 0;
    for (auto& [descriptor, operations] : armed) {
        count += std::erase_if(operations, [&](Operation& each) {
            return each.completion == operation.target && finish(each, -ECANCELED);
        });
    }
    finish(operation, count == 0 ? -ENOENT : 0);
}

void Ring::Implementation::close(int descriptor) {
    const auto on_it = [&](const Operation& each) { return each.descriptor == descriptor; };
    const bool under_way =
        !armed[descriptor].empty() || std::any_of(submissions.begin(), submissions.end(), on_it);
    POSTERN_ASSERT(
        !under_way,
        "a descriptor was closed under an operation: it would go on (io_uring_cancelation(7))");
    world.close(descriptor);
}

void Ring::accept(Completion& completion, int listener) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::accept, .completion = &completion, .descriptor = listener});
}

int Ring::accept_waiting(int listener) {
    const Crossing crossing;
    std::shared_ptr<sim::Socket> accepted = socket_of(listener).accept();
    return accepted ? implementation_->world.open(std::move(accepted)) : -1;
}

void Ring::connect(Completion& completion, int socket, const Address& to) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::connect,
         .completion = &completion,
         .descriptor = socket,
         .to = &to});
}

void Ring::receive(Completion& completion, int socket, BufferGroup group, bool) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::receive,
         .completion = &completion,
         .descriptor = socket,
         .group = group});
}

void Ring::send(Completion& completion, int socket, const msghdr& message, bool last) {
    const Crossing crossing;
    const auto sends_too = [&](const Operation& each) {
        return each.descriptor == socket && each.kind == Operation::Kind::send;
    };
    Implementation& self = *implementation_;
    const auto& armed = self.armed[socket];
    const bool another = std::any_of(armed.begin(), armed.end(), sends_too) ||
                         std::any_of(self.submissions.begin(), self.submissions.end(), sends_too);
    POSTERN_ASSERT(!another, "two sends at once on a socket: their octets would mix");
    self.arm(
        {.kind = Operation::Kind::send,
         .completion = &completion,
         .descriptor = socket,
         .message = &message,
         .last = last});
}

void Ring::write(
    Completion& completion, int file, std::span<const char> octets, std::uint64_t offset) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::write,
         .completion = &completion,
         .descriptor = file,
         .from = octets,
         .offset = offset});
}

void Ring::read(Completion& completion, int file, std::span<char> into, std::uint64_t offset) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::read,
         .completion = &completion,
         .descriptor = file,
         .into = into,
         .offset = offset});
}

void Ring::close(Completion& completion, int descriptor) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::close, .completion = &completion, .descriptor = descriptor});
}

void Ring::cancel(Completion& completion, const Completion& target) {
    const Crossing crossing;
    implementation_->arm(
        {.kind = Operation::Kind::cancel, .completion = &completion, .target = &target});
}

// --- answered at once ----------------------------------------------------------------------------

base::Result<int> Ring::open_socket(const Address&, const Address* from) {
    const Crossing crossing;
    sim::World& world = implementation_->world;
    auto socket = std::make_shared<sim::Socket>(world);
    socket->local = from != nullptr ? *from : implementation_->host;
    return world.open(std::move(socket));
}

void Ring::shut_down(int socket) {
    const Crossing crossing;
    socket_of(socket).shut_down();
}

void Ring::shut_down_sending(int socket) {
    const Crossing crossing;
    socket_of(socket).shut_down_sending();
}

void Ring::close(int descriptor) {
    const Crossing crossing;
    implementation_->close(descriptor);
}

base::Result<Address> Ring::peer_address(int socket) {
    const Crossing crossing;
    return socket_of(socket).remote;
}

base::Result<Address> Ring::local_address(int socket) {
    const Crossing crossing;
    return socket_of(socket).local;
}

Ring::Hangup Ring::look_for_hangup(int socket) {
    const Crossing crossing;
    const sim::Socket& looked_at = socket_of(socket);
    if (looked_at.error() != 0) {
        return Hangup::reset;
    }
    return looked_at.ended() ? Hangup::ended : Hangup::no;
}

std::size_t Ring::peek(int socket, std::span<char> into) {
    const Crossing crossing;
    return socket_of(socket).arrived().copy(into.data(), into.size());
}

base::BlockPool& Ring::buffers(BufferGroup group) {
    return implementation_->pools[group == BufferGroup::body];
}

std::uint32_t Ring::buffers_offered(BufferGroup) const {
    return 0;
}

void Ring::when_buffer_returns(BufferGroup group, BufferWaiter& waiter) {
    implementation_->waiters[group == BufferGroup::body].push_back(waiter);
}

void Ring::set_on_wake(void (*on_wake)(void*), void* context) {
    implementation_->on_wake = on_wake;
    implementation_->on_wake_context = context;
}

void Ring::wake() {
    implementation_->woken = true;
}

const Ring::Counters& Ring::counters() const {
    return implementation_->counters;
}

base::WallTime wall_time() {
    const Crossing crossing;
    const sim::World& world = sim::World::current();
    return world.wall_at(world.now());
}

base::Instant monotonic_time() {
    const Crossing crossing;
    return sim::World::current().now();
}

void fill_with_entropy(std::span<std::byte> into) {
    const Crossing crossing;
    for (std::byte& octet : into) {
        octet = static_cast<std::byte>(sim::World::current().random().below(256));
    }
}

base::Result<int> open_listener(const Address& address) {
    sim::World& world = sim::World::current();
    return world.open(world.listen(address));
}

}  // namespace postern::io

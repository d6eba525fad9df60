#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include "postern/io/clock.h"
#include "postern/io/entropy.h"
#include "postern/io/random.h"
#include "postern/io/ring.h"
#include "restrict.h"
#include "setup_error.h"

/// The ring on io_uring: kernel 6.1 and liburing 2.3 have all it uses.
namespace postern::io {

namespace {

constexpr unsigned setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                                 IORING_SETUP_R_DISABLED;
// Many sockets can become ready in one wait; a short queue costs the kernel a list on the side.
constexpr unsigned completions_per_entry = 4;
constexpr std::size_t groups = 2;

std::uint64_t draw_seed() {
    std::uint64_t seed = 0;
    fill_with_entropy(std::as_writable_bytes(std::span(&seed, 1)));
    return seed;
}

base::Error world_error(const std::string& attempted) {
    return {attempted + ": " + strerrordesc_np(errno)};
}

/// A group of receive buffers: blocks of a pool, of which some are offered to the kernel in a list
/// that both map. The kernel names a buffer by the number of its place in `offered_`.
class Buffers {
   public:
    Buffers(std::uint32_t buffer_size, std::uint32_t count_max, std::uint32_t places)
        : pool(buffer_size, count_max), offered_(places, nullptr) {
        POSTERN_ASSERT(
            std::has_single_bit(places) && places <= 32768,
            "offered buffers: a power of two, at most 32768");
        empty_places_.reserve(places);
        for (std::uint32_t place = places; place-- > 0;) {
            empty_places_.push_back(static_cast<std::uint16_t>(place));
        }
    }

    ~Buffers() {
        for (base::Block* block : offered_) {
            if (block != nullptr) {
                base::BlockRef::adopt(block);  // given back
            }
        }
        if (list_ != nullptr) {
            munmap(list_, list_octets());
        }
    }

    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;

    /// 0, or a negative errno.
    int register_with(io_uring& ring, std::uint16_t group) {
        void* memory = mmap(
            nullptr, list_octets(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return -errno;
        }
        list_ = static_cast<io_uring_buf_ring*>(memory);
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<std::uintptr_t>(list_);
        registration.ring_entries = static_cast<std::uint32_t>(offered_.size());
        registration.bgid = group;
        return io_uring_register_buf_ring(&ring, &registration, 0);
    }

    /// Fills empty places as far as the pool has blocks.
    void offer() {
        int added = 0;
        while (!empty_places_.empty()) {
            base::Block* block = pool.take().detach();
            if (block == nullptr) {
                break;
            }
            const std::uint16_t place = empty_places_.back();
            empty_places_.pop_back();
            offered_[place] = block;
            const auto mask = static_cast<int>(offered_.size() - 1);
            io_uring_buf_ring_add(list_, block->data(), block->capacity, place, mask, added++);
        }
        if (added > 0) {
            io_uring_buf_ring_advance(list_, added);
        }
    }

    /// The kernel has taken the buffer of this place.
    base::BlockRef taken(std::uint16_t place) {
        empty_places_.push_back(place);
        return base::BlockRef::adopt(std::exchange(offered_[place], nullptr));
    }

    std::uint32_t offered() const {
        return static_cast<std::uint32_t>(offered_.size() - empty_places_.size());
    }

    base::BlockPool pool;
    base::List<BufferWaiter> waiters;

   private:
    std::size_t list_octets() const { return offered_.size() * sizeof(io_uring_buf); }

    std::vector<base::Block*> offered_;
    std::vector<std::uint16_t> empty_places_;
    io_uring_buf_ring* list_ = nullptr;
};

// A completion's address is aligned, so the low bits of user_data have room for what its result
// must be read as.
enum : std::uint64_t { plain = 0, received_command = 1, received_body = 2, kind_mask = 7 };

static_assert(alignof(Completion) > kind_mask);

}  // namespace

struct Ring::Implementation {
    explicit Implementation(const RingOptions& o)
        : buffers{{{o.command_buffer_size, o.command_buffers_max, o.command_buffers_offered}, {o.body_buffer_size, o.body_buffers_max, o.body_buffers_offered}}},
          random(draw_seed()),
          now(monotonic_time()),
          wall_now(wall_time()) {}

    ~Implementation() {
        if (made) {
            io_uring_queue_exit(&ring);
        }
        Ring::disarm(woken);
        if (wake_descriptor >= 0) {
            ::close(wake_descriptor);
        }
    }

    Implementation(const Implementation&) = delete;
    Implementation& operator=(const Implementation&) = delete;

    io_uring_sqe* next_entry(Completion& completion, std::uint64_t kind = plain);
    bool offer_buffers();
    void enter(base::Instant until);
    void run_completions();
    void run_one(const io_uring_cqe& entry);
    void await_wake();
    static void on_woken(Completion& self, Done done);

    io_uring ring{};
    bool made = false;
    std::array<Buffers, groups> buffers;
    Random random;
    base::Instant now;
    base::WallTime wall_now;
    Counters counters;

    struct Woken : Completion {
        Woken() : Completion(on_woken) {}

        Implementation* implementation = nullptr;
    };

    Woken woken;
    int wake_descriptor = -1;
    void (*on_wake)(void*) = nullptr;
    void* on_wake_context = nullptr;
};

std::size_t locked_octets(const RingOptions& options) {
    // Each is mapped by itself, in whole pages; the two queues share one, with their heads and
    // tails in front.
    const auto pages = [](std::size_t octets) { return (octets + 4095) / 4096 * 4096; };
    constexpr std::size_t heads = 256;
    const std::size_t entries = std::bit_ceil(options.entries);
    return pages(entries * sizeof(io_uring_sqe)) +
           pages(
               heads +
               entries * (sizeof(std::uint32_t) + completions_per_entry * sizeof(io_uring_cqe))) +
           pages(options.command_buffers_offered * sizeof(io_uring_buf)) +
           pages(options.body_buffers_offered * sizeof(io_uring_buf));
}

base::Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
    POSTERN_ASSERT(options.entries > 0 && options.entries <= 8192, "a ring has 1 to 8192 entries");
    auto made = std::make_unique<Implementation>(options);
    const auto refused = [&](const char* attempted, int result) -> base::Error {
        return setup_error(-result, read_setup_facts(attempted, locked_octets(options)));
    };

    io_uring_params parameters{};
    parameters.flags = setup_flags;
    parameters.cq_entries = std::bit_ceil(options.entries) * completions_per_entry;
    if (int result = io_uring_queue_init_params(options.entries, &made->ring, &parameters);
        result < 0) {
        return refused("io_uring_setup", result);
    }
    made->made = true;
    if (int result = io_uring_register_ring_fd(&made->ring); result < 0) {
        return refused("IORING_REGISTER_RING_FDS", result);
    }
    // Nothing we do should need the kernel's own threads; their default bound is tens of thousands.
    unsigned threads_max[2] = {2, 4};
    if (int result = io_uring_register_iowq_max_workers(&made->ring, threads_max); result < 0) {
        return refused("IORING_REGISTER_IOWQ_MAX_WORKERS", result);
    }
    for (std::uint16_t group = 0; group < groups; ++group) {
        if (int result = made->buffers[group].register_with(made->ring, group); result < 0) {
            return refused("IORING_REGISTER_PBUF_RING", result);
        }
        made->buffers[group].offer();
    }
    if (int result = restrict_ring(made->ring); result < 0) {
        return refused("IORING_REGISTER_RESTRICTIONS", result);
    }
    if (int result = io_uring_enable_rings(&made->ring); result < 0) {
        return refused("IORING_REGISTER_ENABLE_RINGS", result);
    }
    made->wake_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->wake_descriptor < 0) {
        return world_error("cannot make an eventfd for a worker's mailbox");
    }
    made->woken.implementation = made.get();
    made->await_wake();
    return std::unique_ptr<Ring>(new Ring(std::move(made)));
}

Ring::Ring(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Ring::~Ring() = default;

// --- time and randomness -------------------------------------------------------------------------

base::Instant Ring::now() const {
    return implementation_->now;
}

base::WallTime Ring::wall_now() const {
    return implementation_->wall_now;
}

std::uint64_t Ring::random() {
    return implementation_->random.next();
}

// --- the loop ------------------------------------------------------------------------------------

void Ring::turn(base::Instant until) {
    Implementation& self = *implementation_;
    ++self.counters.turns;
    const bool all_served = self.offer_buffers();
    self.enter(all_served ? until : base::Instant::min());
    self.now = monotonic_time();
    self.wall_now = wall_time();
    self.run_completions();
}

/// False: someone still waits for a buffer although there is one; the next turn serves it.
bool Ring::Implementation::offer_buffers() {
    bool all_served = true;
    for (Buffers& group : buffers) {
        group.offer();
        // Who is called may find that it has nothing to read and leave its buffer to another, so as
        // many as there are buffers are called in each turn, as long as there are any.
        for (std::uint32_t count = group.offered(); count > 0 && !group.waiters.empty(); --count) {
            Ring::finish(*group.waiters.pop_front());
        }
        all_served = all_served && (group.waiters.empty() || group.offered() == 0);
    }
    return all_served;
}

void Ring::Implementation::enter(base::Instant until) {
    ++counters.enters;
    int result = 0;
    const base::Duration wait =
        until == base::Instant::min() ? base::Duration(0) : until - monotonic_time();
    if (wait <= base::Duration(0)) {
        result = io_uring_submit_and_get_events(&ring);
    } else {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
        __kernel_timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (wait - seconds).count()};
        io_uring_cqe* first = nullptr;
        result = io_uring_submit_and_wait_timeout(&ring, &first, 1, &timeout, nullptr);
    }
    // ETIME: the wait is over. EINTR: a signal. EAGAIN, EBUSY: the kernel is short of memory or of
    // room for completions; what was not submitted is submitted by the next turn.
    const bool expected = result >= 0 || result == -ETIME || result == -EINTR ||
                          result == -EAGAIN || result == -EBUSY;
    POSTERN_ASSERT(expected, "io_uring_enter failed");
}

void Ring::Implementation::run_completions() {
    // Only those that are here now: what a callback causes is for the next turn.
    unsigned count = io_uring_cq_ready(&ring);
    if (io_uring_cq_has_overflow(&ring)) {
        ++counters.completion_overflows;
    }
    counters.completions += count;
    unsigned head = 0;
    io_uring_cqe* entry = nullptr;
    io_uring_for_each_cqe(&ring, head, entry) {
        if (count-- == 0) {
            break;
        }
        const io_uring_cqe copy{
            .user_data = entry->user_data, .res = entry->res, .flags = entry->flags};
        io_uring_cq_advance(&ring, 1);
        run_one(copy);
    }
}

void Ring::Implementation::run_one(const io_uring_cqe& entry) {
    const std::uint64_t kind = entry.user_data & kind_mask;
    auto* completion = reinterpret_cast<Completion*>(entry.user_data & ~kind_mask);
    Done done{
        .result = entry.res,
        .more = (entry.flags & IORING_CQE_F_MORE) != 0,
        .rest = (entry.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0,
        .buffer = {}};
    if (kind != plain) {
        Buffers& group = buffers[kind == received_body];
        if ((entry.flags & IORING_CQE_F_BUFFER) != 0) {
            base::BlockRef taken =
                group.taken(static_cast<std::uint16_t>(entry.flags >> IORING_CQE_BUFFER_SHIFT));
            if (entry.res > 0) {
                done.buffer = std::move(taken);
            }
        }
        counters.buffers_exhausted += entry.res == -ENOBUFS;
    }
    Ring::finish(*completion, std::move(done));
}

// --- operations ----------------------------------------------------------------------------------

/// Arms `completion`; the entry must be prepared before the next call.
io_uring_sqe* Ring::Implementation::next_entry(Completion& completion, std::uint64_t kind) {
    Ring::arm(completion);
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    while (entry == nullptr) {
        ++counters.enters;
        const int result = io_uring_submit(&ring);
        POSTERN_ASSERT(
            result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY,
            "io_uring_enter failed");
        entry = io_uring_get_sqe(&ring);
    }
    // The functions that prepare an entry leave user_data as it is, and clear the flags.
    io_uring_sqe_set_data64(entry, reinterpret_cast<std::uintptr_t>(&completion) | kind);
    completion.kind_ = static_cast<std::uint8_t>(kind);
    return entry;
}

void Ring::accept(Completion& completion, int listener) {
    // No address is asked for: a multishot accept would write them all to one place.
    io_uring_prep_multishot_accept(
        implementation_->next_entry(completion), listener, nullptr, nullptr, SOCK_CLOEXEC);
}

int Ring::accept_waiting(int listener) {
    // Polled first: the socket blocks, and whoever has come stays in its queue, gone or not.
    pollfd waiting{listener, POLLIN, 0};
    if (::poll(&waiting, 1, 0) != 1 || (waiting.revents & POLLIN) == 0) {
        return -1;
    }
    return ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
}

void Ring::connect(Completion& completion, int socket, const Address& to) {
    io_uring_prep_connect(implementation_->next_entry(completion), socket, to.raw(), to.raw_size());
}

void Ring::receive(Completion& completion, int socket, BufferGroup group, bool likely) {
    const bool body = group == BufferGroup::body;
    io_uring_sqe* entry =
        implementation_->next_entry(completion, body ? received_body : received_command);
    io_uring_prep_recv(entry, socket, nullptr, buffers(group).block_size(), 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = static_cast<std::uint16_t>(body);
    entry->ioprio = likely ? 0 : IORING_RECVSEND_POLL_FIRST;
}

void Ring::send(Completion& completion, int socket, const msghdr& message, bool last) {
    // MSG_WAITALL: the kernel goes on after a short send by itself. MSG_MORE: what is held back
    // goes with the end of the stream.
    const int flags = MSG_NOSIGNAL | MSG_WAITALL | (last ? MSG_MORE : 0);
    io_uring_sqe* entry = implementation_->next_entry(completion);
    if (message.msg_iovlen == 1) {
        io_uring_prep_send(
            entry, socket, message.msg_iov->iov_base, message.msg_iov->iov_len, flags);
    } else {
        io_uring_prep_sendmsg(entry, socket, &message, flags);
    }
}

// RWF_DSYNC: the write and its flush are one operation. Past the page cache and over blocks that
// are there already it needs none of the kernel's threads; else one of them does it.
void Ring::write(
    Completion& completion, int file, std::span<const char> octets, std::uint64_t offset) {
    io_uring_sqe* entry = implementation_->next_entry(completion);
    io_uring_prep_write(entry, file, octets.data(), static_cast<unsigned>(octets.size()), offset);
    entry->rw_flags = RWF_DSYNC;
}

void Ring::read(Completion& completion, int file, std::span<char> into, std::uint64_t offset) {
    io_uring_prep_read(
        implementation_->next_entry(completion),
        file,
        into.data(),
        static_cast<unsigned>(into.size()),
        offset);
}

void Ring::close(Completion& completion, int descriptor) {
    io_uring_prep_close(implementation_->next_entry(completion), descriptor);
}

void Ring::cancel(Completion& completion, const Completion& target) {
    const std::uint64_t named = reinterpret_cast<std::uintptr_t>(&target) | target.kind_;
    io_uring_prep_cancel64(implementation_->next_entry(completion), named, 0);
}

// --- buffers -------------------------------------------------------------------------------------

base::BlockPool& Ring::buffers(BufferGroup group) {
    return implementation_->buffers[group == BufferGroup::body].pool;
}

std::uint32_t Ring::buffers_offered(BufferGroup group) const {
    return implementation_->buffers[group == BufferGroup::body].offered();
}

void Ring::when_buffer_returns(BufferGroup group, BufferWaiter& waiter) {
    implementation_->buffers[group == BufferGroup::body].waiters.push_back(waiter);
}

// --- waking --------------------------------------------------------------------------------------

// A poll and a read(2), not a read operation: so nothing of ours is written to when a ring ends
// with the operation armed.
void Ring::Implementation::await_wake() {
    io_uring_prep_poll_add(next_entry(woken), wake_descriptor, POLLIN);
}

void Ring::Implementation::on_woken(Completion& self, Done) {
    Implementation& ring = *static_cast<Woken&>(self).implementation;
    eventfd_t count = 0;
    eventfd_read(ring.wake_descriptor, &count);
    ring.await_wake();
    if (ring.on_wake != nullptr) {
        ring.on_wake(ring.on_wake_context);
    }
}

void Ring::set_on_wake(void (*on_wake)(void*), void* context) {
    implementation_->on_wake = on_wake;
    implementation_->on_wake_context = context;
}

void Ring::wake() {
    eventfd_write(implementation_->wake_descriptor, 1);
}

const Ring::Counters& Ring::counters() const {
    return implementation_->counters;
}

}  // namespace postern::io

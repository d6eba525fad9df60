#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>

#include "postern/base/block.h"
#include "postern/base/list.h"
#include "postern/base/result.h"
#include "postern/base/time.h"
#include "postern/io/address.h"

/// All that a worker asks of the kernel: operations that complete later, a few that answer at once,
/// time and randomness. Two implementations exist, chosen at link time: io_uring (src/io) and a
/// simulated one (tests/sim), so a whole worker runs under one seed. A ring is made and used by one
/// thread; only `Mailbox::post` (mailbox.h) may be called from another.
namespace postern::io {

class Ring;

/// What an operation came to.
struct Done {
    std::int32_t result = 0;  // octets or a descriptor, or a negative errno
    bool more = false;        // a multishot operation that stays armed
    bool rest = false;        // receive: more waited behind these, as far as the kernel says
    base::BlockRef buffer;    // receive: the block that holds `result` octets, from its start
};

/// An operation under way, embedded in what owns it; the kernel knows it by its address, so it must
/// not move or be freed while armed. It is armed once at a time. Callbacks run in `Ring::turn`,
/// never from inside the call that armed.
class Completion {
   public:
    using Function = void (*)(Completion& self, Done done);

    explicit Completion(Function on_done) : on_done_(on_done) {}

    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;

    ~Completion() { POSTERN_ASSERT(!armed_, "an operation under way was destroyed"); }

    bool armed() const { return armed_; }

   private:
    friend class Ring;
    Function on_done_;
    bool armed_ = false;
    std::uint8_t kind_ = 0;  // what the ring must read its result as
};

/// Receive buffers come from one of two groups, chosen by what is awaited, so that an idle
/// connection holds none.
enum class BufferGroup : std::uint8_t { command, body };

/// Waits for a receive buffer; embedded in what waits. Not an operation: to stop waiting, unlink or
/// destroy it.
class BufferWaiter : public base::ListLink<> {
   public:
    using Function = void (*)(BufferWaiter& self);

    explicit BufferWaiter(Function on_buffer) : on_buffer_(on_buffer) {}

   private:
    friend class Ring;
    Function on_buffer_;
};

struct RingOptions {
    unsigned entries = 1024;                   // submissions a turn before an extra enter is needed
    std::uint32_t command_buffer_size = 4096;  // octets each
    std::uint32_t command_buffers_offered = 256;  // may be filled in one turn; a power of two
    std::uint32_t command_buffers_max = 16384;    // how many may exist, in use or offered
    // No power of two: blocks that far apart would share the few sets of the cache where their
    // first pages lie, and most bodies are no longer than that.
    std::uint32_t body_buffer_size = 61440;
    std::uint32_t body_buffers_offered = 64;
    std::uint32_t body_buffers_max = 16384;
};

class Ring {
   public:
    /// Made on the thread that will use it, after privileges are dropped. The error names which of
    /// the ways io_uring was refused in, and what to set.
    static base::Result<std::unique_ptr<Ring>> create(const RingOptions& options);
    /// REQUIRES: nothing is armed, no block of buffers() is in use.
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // --- time and randomness: no other code asks the system for either ---------------------------
    base::Instant now() const;        // as of the moment this turn's waiting ended
    base::WallTime wall_now() const;  // the same moment in UTC
    std::uint64_t random();

    // --- the loop --------------------------------------------------------------------------------
    /// Submits all that was armed, waits until something completes or `until` has come, runs every
    /// completion that is there. One io_uring_enter. `until` in the past: does not wait. What a
    /// callback arms is submitted by the next turn.
    void turn(base::Instant until);

    // --- operations; each arms `completion`. Descriptors stay the caller's -----------------------
    /// Multishot: a descriptor at a time (blocking, close-on-exec), `more` says if it goes on.
    /// Where it does not, accepting has stopped, and arming again is the caller's (listener.h does
    /// it, with a pause where descriptors have run out).
    void accept(Completion& completion, int listener);
    /// `to` outlives the operation.
    void connect(Completion& completion, int socket, const Address& to);
    /// One-shot, of at most a buffer of the group. 0: the peer has ended its stream. -ENOBUFS:
    /// every buffer of the group is in use; wait with `when_buffer_returns` (stream.h does).
    /// `likely`: octets probably wait, and looking comes before waiting; a look in vain costs more
    /// than a wait for what is there already. Either is right.
    void receive(Completion& completion, int socket, BufferGroup group, bool likely);
    /// Sends what `message` points to; fewer octets than that only where there is an error behind
    /// them, or a signal. `message` and its octets outlive the operation. `last`: as soon as this
    /// is done, sending is shut down, and the end of the stream shares the last segment.
    void send(Completion& completion, int socket, const msghdr& message, bool last);
    /// Of an open file (file.h), whole blocks. What the result says was written is on stable
    /// storage by then; it may be fewer than asked for, and of a write that failed any part may be,
    /// too. `octets` outlive the operation.
    void write(
        Completion& completion, int file, std::span<const char> octets, std::uint64_t offset);
    /// The same; 0: past the end.
    void read(Completion& completion, int file, std::span<char> into, std::uint64_t offset);
    /// The descriptor is nobody's from now on; no operation on it may be under way.
    void close(Completion& completion, int descriptor);
    /// Ends the operation of `target`, if it is armed: it completes, with -ECANCELED if it was not
    /// faster. It and this one (result: 0, or -ENOENT, -EALREADY) complete in any order. One
    /// operation by its name, not all of a descriptor: for those the kernel looks at each that is
    /// armed in the ring, which with ten thousand connections takes a third of a millisecond.
    void cancel(Completion& completion, const Completion& target);

    // --- answered at once ------------------------------------------------------------------------
    /// A stream socket with NODELAY, bound to `from` (any port of it) unless null.
    base::Result<int> open_socket(const Address& to, const Address* from);
    /// The next connection that waits at a listening socket, as `accept` gives it, or -1: none
    /// waits, or it can not be had. For a socket that is about to be closed: it waits for nobody
    /// any more.
    int accept_waiting(int listener);
    /// Both ways: a receive or a send of a connected socket that is under way ends.
    void shut_down(int socket);
    void shut_down_sending(int socket);
    void close(int descriptor);
    base::Result<Address> peer_address(int socket);
    base::Result<Address> local_address(int socket);
    /// Has the peer hung up? `ended`: it will send no more, and what it sent before waits to be
    /// read.
    enum class Hangup : std::uint8_t { no, ended, reset };
    Hangup look_for_hangup(int socket);
    /// Copies up to into.size() octets that wait to be read, and leaves them there. Returns the
    /// count, 0 for none.
    std::size_t peek(int socket, std::span<char> into);

    // --- buffers ---------------------------------------------------------------------------------
    /// Where the group's buffers come from. Offered ones count as used.
    base::BlockPool& buffers(BufferGroup group);
    /// How many the next receives can have.
    std::uint32_t buffers_offered(BufferGroup group) const;
    /// Calls `waiter` once, from a turn, when the group has a buffer to offer.
    void when_buffer_returns(BufferGroup group, BufferWaiter& waiter);

    // --- for Mailbox alone: how another thread ends this ring's waiting --------------------------
    /// `on_wake` is called from a turn after one or several `wake`; null: no more.
    void set_on_wake(void (*on_wake)(void* context), void* context);
    void wake();  // any thread

    struct Counters {
        std::uint64_t turns = 0;
        std::uint64_t enters = 0;  // as turns, and those for a full submission queue
        std::uint64_t completions = 0;
        std::uint64_t buffers_exhausted = 0;  // receives that ended in -ENOBUFS
        /// Turns in which the kernel's queue was too short: anything but 0 is an alarm.
        std::uint64_t completion_overflows = 0;
    };

    const Counters& counters() const;

    struct Implementation;

   private:
    explicit Ring(std::unique_ptr<Implementation> implementation);

    static void arm(Completion& completion) {
        POSTERN_ASSERT(!completion.armed_, "an operation was armed twice");
        completion.armed_ = true;
    }

    static void disarm(Completion& completion) { completion.armed_ = false; }

    static void finish(Completion& completion, Done done) {
        completion.armed_ = done.more;
        completion.on_done_(completion, std::move(done));
    }

    static void finish(BufferWaiter& waiter) { waiter.on_buffer_(waiter); }

    std::unique_ptr<Implementation> implementation_;
};

/// Octets of a ring that the kernel charges to RLIMIT_MEMLOCK (since 6.14; earlier kernels charge
/// none): its queues and the lists of offered buffers, not the buffers.
std::size_t locked_octets(const RingOptions& options);

/// A listening socket, for the control thread to make before privileges are dropped: SO_REUSEPORT
/// (each worker has its own), not inherited by children, NODELAY for what it accepts; of an IPv6
/// address it takes no IPv4. The error says which address and why.
base::Result<int> open_listener(const Address& address);

}  // namespace postern::io

#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "postern/base/block.h"
#include "postern/base/result.h"
#include "postern/base/time.h"
#include "postern/io/address.h"

/// All that a worker asks of the kernel: operations that complete later, a few that answer at once, time and randomness. Two
/// implementations exist, chosen at link time: io_uring (src/io) and a simulated one (tests/sim), so a whole worker runs under
/// one seed. A ring is made and used by one thread; only `Mailbox::post` (mailbox.h) may be called from another.
namespace postern::io {

class Ring;
class Completion;

/// What an operation came to.
struct Done {
    std::int32_t result = 0;  // octets or a descriptor, or a negative errno
    bool more = false;        // a multishot operation that stays armed
    base::BlockRef buffer;    // receive: the block that holds `result` octets, from its start
};

/// An operation under way, embedded in what owns it; the kernel knows it by its address, so it must not move or be freed while
/// armed. It is armed once at a time. Callbacks run in `Ring::turn`, never from inside the call that armed.
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
};

/// Receive buffers come from one of two groups, chosen by what is awaited, so that an idle connection holds none.
enum class BufferGroup : std::uint8_t { command, body };

struct RingOptions {
    unsigned entries = 1024;                     // submissions a turn before an extra enter is needed
    std::uint32_t command_buffer_size = 4096;    // octets each
    std::uint32_t command_buffers_offered = 256; // how many the kernel may fill at a time
    std::uint32_t command_buffers_max = 16384;   // how many may exist, in use or offered
    std::uint32_t body_buffer_size = 65536;
    std::uint32_t body_buffers_offered = 64;
    std::uint32_t body_buffers_max = 16384;
};

class Ring {
   public:
    /// Made on the thread that will use it, after privileges are dropped. The error names which of the ways io_uring was refused
    /// in, and what to set.
    static base::Result<std::unique_ptr<Ring>> create(const RingOptions& options);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // --- time and randomness: no other code asks the system for either ---------------------------------------------------
    base::Instant now() const;        // as of the turn's beginning
    base::WallTime wall_now() const;  // the same moment in UTC
    std::uint64_t random();

    // --- the loop --------------------------------------------------------------------------------------------------------
    /// Submits all that was armed, waits until something completes or `until` has come, runs every completion that is there.
    /// One io_uring_enter. `until` in the past: does not wait.
    void turn(base::Instant until);

    // --- operations; each arms `completion`. Descriptors stay the caller's ------------------------------------------------
    void accept(Completion& completion, int listener);  // multishot: a descriptor at a time, `more` says if it goes on
    void connect(Completion& completion, int socket, const Address& to);  // `to` outlives the operation
    /// One-shot. -ENOBUFS: the group is used up (stream.h waits for one to come back).
    void receive(Completion& completion, int socket, BufferGroup group);
    /// Sends what `message` points to, all of it unless there is an error; `message` and its octets outlive the operation.
    void send(Completion& completion, int socket, const msghdr& message);
    /// Ends every operation of that descriptor; each completes, as a rule with -ECANCELED, and then this one.
    void cancel(Completion& completion, int socket);

    // --- answered at once ---------------------------------------------------------------------------------------------
    base::Result<int> open_socket(const Address& to, const Address* from);  // a stream socket, NODELAY
    void shut_down(int socket);   // both ways
    void shut_down_sending(int socket);
    void close(int descriptor);
    void set_no_delay(int socket);
    base::Result<Address> peer_address(int socket);
    base::Result<Address> local_address(int socket);
    /// Has the peer hung up? `ended`: it will send no more, and what it sent before waits to be read.
    enum class Hangup : std::uint8_t { no, ended, reset };
    Hangup look_for_hangup(int socket);
    /// Copies up to into.size() octets that wait to be read, and leaves them there. Returns the count, 0 for none.
    std::size_t peek(int socket, std::span<char> into);

    // --- buffers ----------------------------------------------------------------------------------------------------------
    base::BlockPool& buffers(BufferGroup group);
    /// Calls `waiter` once when a buffer of the group has come back after -ENOBUFS.
    void when_buffers_return(BufferGroup group, Completion& waiter);

    struct Counters {
        std::uint64_t turns = 0, enters = 0, completions = 0;
        std::uint64_t buffers_exhausted = 0;
        std::uint64_t completion_overflows = 0;  // the kernel's; anything but 0 is an alarm
    };
    const Counters& counters() const;

    struct Implementation;

   private:
    explicit Ring(std::unique_ptr<Implementation> implementation);
    friend class Mailbox;
    friend class Timers;
    static void arm(Completion& completion) {
        POSTERN_ASSERT(!completion.armed_, "an operation was armed twice");
        completion.armed_ = true;
    }
    static void finish(Completion& completion, Done done) {
        completion.armed_ = done.more;
        completion.on_done_(completion, std::move(done));
    }
    std::unique_ptr<Implementation> implementation_;
};

/// A listening socket, for the control thread to make before privileges are dropped: SO_REUSEPORT (each worker has its own),
/// non-inheritable. The error says which address and why.
base::Result<int> open_listener(const Address& address);

}  // namespace postern::io

#pragma once

#include <span>
#include <string_view>

#include "postern/io/ring.h"

namespace postern::io {

/// What a stream tells its owner. Called from Ring::turn, one at a time, never from inside a call
/// to the stream; each may call the stream again. After `close` only on_closed comes.
class StreamOwner {
   public:
    virtual void on_connected(int error) = 0;  // 0, or an errno: then all that is left is to close
    /// `bytes` lie in `block`. Empty with error 0: the peer has ended its stream. Else an errno.
    virtual void on_received(base::BlockRef block, std::string_view bytes, int error) = 0;
    virtual void on_sent(int error) = 0;  // all of it, or an errno
    /// Nothing of the stream is under way any more and its descriptor is closed: it may be freed.
    /// The last call.
    virtual void on_closed() = 0;

   protected:
    ~StreamOwner() = default;
};

/// One TCP connection: at most one receive and one send under way, and the one place where the
/// closing sequence stands: shut down and cancel what is under way, wait until nothing is, close.
/// Embedded in its owner; one thread, the ring's. Law: nothing is armed in `idle` and `closed`;
/// there is a descriptor in all others, until `closing` gives it back.
class Stream {
   public:
    Stream(Ring& ring, StreamOwner& owner);
    /// REQUIRES: idle or closed.
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    /// A descriptor that was accepted. REQUIRES: idle.
    void adopt(int descriptor);
    /// Ends in on_connected. REQUIRES: idle; `to` outlives the attempt. The error (no socket) is
    /// the world's, and then the stream stays idle.
    base::Result<void> connect(const Address& to, const Address* from);

    /// Ends in on_received. REQUIRES: open, no receive under way. Waits by itself while the group
    /// has no buffer.
    void receive(BufferGroup group);

    bool receiving() const { return receive_.armed() || waiter_.linked(); }

    /// Ends in on_sent, when all has been sent. REQUIRES: open, nothing being sent, no piece empty.
    /// The octets and the array `pieces` outlive the operation, and past `close` on_closed; the
    /// array may be changed by it. At most 1024 pieces.
    void send(std::span<iovec> pieces);
    void send(std::string_view bytes);

    bool sending() const { return send_.armed(); }

    /// Ends in on_closed. The peer is told that no more will come; what it still sends, up to
    /// `octets_max`, is thrown away until it ends too, and then it is closed. So our last answer is
    /// not destroyed by the reset that closing on unread data causes. Has no deadline: `close` ends
    /// it. REQUIRES: open, nothing being sent.
    void end(std::uint64_t octets_max);
    /// Ends in on_closed. Sends what `bytes` hold, if anything, and closes behind it without
    /// waiting for the peer, which is not expected to send more; one segment takes both. Should
    /// more have come all the same, it goes on as `end`. `bytes` outlive on_closed. Has no
    /// deadline: `close` ends it. REQUIRES: open, nothing under way.
    void finish(std::string_view bytes, std::uint64_t octets_max);
    /// Ends in on_closed. At any time, once or again.
    void close();

    bool open() const { return state_ == State::open; }

    int descriptor() const { return descriptor_; }

   private:
    // idle -> connecting -> open -> ending -> closing -> closed; adopt goes from idle to open,
    // close from each to closing.
    enum class State : std::uint8_t { idle, connecting, open, ending, closing, closed };

    struct Operation : Completion {
        Operation(Function on_done, Stream& owner) : Completion(on_done), stream(owner) {}

        Stream& stream;
    };

    struct Waiter : BufferWaiter {
        Waiter(Function on_buffer, Stream& owner) : BufferWaiter(on_buffer), stream(owner) {}

        Stream& stream;
    };

    static void on_connect(Completion& self, Done done);
    static void on_receive(Completion& self, Done done);
    static void on_send(Completion& self, Done done);
    static void on_close(Completion& self, Done done);
    static void on_buffer(BufferWaiter& self);
    void set_state(State next);
    void send_all(std::span<iovec> pieces);
    void send_rest();
    void sending_ends(int error);
    void throw_away(const Done& done);
    void close_when_quiet();

    Ring& ring_;
    StreamOwner& owner_;
    int descriptor_ = -1;
    State state_ = State::idle;
    BufferGroup group_ = BufferGroup::command;
    bool rest_ = false;  // what was received last was not all there was
    Operation connect_;
    Operation receive_;
    Operation send_;
    Operation close_;  // of what is under way, then of the descriptor
    Waiter waiter_;
    iovec single_{};
    msghdr message_{};                   // what is still to be sent
    std::uint64_t thrown_away_max_ = 0;  // ending: octets that may still come
};

}  // namespace postern::io

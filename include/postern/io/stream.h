#pragma once

#include "postern/base/list.h"
#include "postern/io/ring.h"

namespace postern::io {

/// What a stream tells its owner. Called from Ring::turn, one at a time, never from inside a call to the stream.
class StreamOwner {
   public:
    virtual void on_connected(int error) = 0;  // 0, or an errno
    /// `bytes` lie in `block`. Empty with error 0: the peer has ended its stream. Else an errno.
    virtual void on_received(base::BlockRef block, std::string_view bytes, int error) = 0;
    virtual void on_sent(int error) = 0;  // all of it, or an errno
    /// Nothing of the stream is under way any more and its descriptor is closed: it may be freed. The last call.
    virtual void on_closed() = 0;

   protected:
    ~StreamOwner() = default;
};

/// One TCP connection: at most one receive and one send under way, and the one place where the closing sequence stands: shut
/// down, cancel by descriptor, wait until nothing is under way, close. Embedded in its owner; one thread, the ring's.
/// Law: descriptor_ < 0 exactly in `idle` and `closed`.
class Stream {
   public:
    Stream(Ring& ring, StreamOwner& owner);
    ~Stream();

    /// A descriptor that was accepted. REQUIRES: idle.
    void adopt(int descriptor);
    /// Ends in on_connected. REQUIRES: idle. The error (no socket) is the world's, and then the stream stays idle.
    base::Result<void> connect(const Address& to, const Address* from);

    /// Ends in on_received. REQUIRES: open, no receive under way. Waits by itself while the group has no buffer.
    void receive(BufferGroup group);
    bool receiving() const;

    /// Ends in on_sent, when all has been sent. REQUIRES: open, nothing being sent. The octets outlive the operation; the array
    /// `pieces` too, and may be changed by it. At most 1024 pieces.
    void send(std::span<iovec> pieces);
    void send(std::string_view bytes);
    bool sending() const;

    /// Ends in on_closed. `linger`: what the peer still sends is read and thrown away for a moment first (at most `linger`
    /// octets), so that our last answer is not destroyed by a reset. May be called at any time, once or again.
    void close();

    bool open() const;
    int descriptor() const { return descriptor_; }

   private:
    enum class State : std::uint8_t { idle, connecting, open, closing, closed };
    void set_state(State next);
    Ring& ring_;
    StreamOwner& owner_;
    int descriptor_ = -1;
    State state_ = State::idle;
};

}  // namespace postern::io

#include "postern/io/stream.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace postern::io {

namespace {

/// What a signal or a full completion queue causes: the operation did nothing and is armed again.
bool again(std::int32_t result) {
    return result == -EINTR || result == -EAGAIN;
}

/// An iovec serves both ways; a send does not write.
iovec of(std::string_view bytes) {
    return {const_cast<char*>(bytes.data()), bytes.size()};
}

}  // namespace

Stream::Stream(Ring& ring, StreamOwner& owner)
    : ring_(ring),
      owner_(owner),
      connect_(on_connect, *this),
      receive_(on_receive, *this),
      send_(on_send, *this),
      close_(on_close, *this),
      waiter_(on_buffer, *this) {}

Stream::~Stream() {
    POSTERN_ASSERT(
        state_ == State::idle || state_ == State::closed,
        "a stream was destroyed before it was closed");
}

void Stream::set_state(State next) {
    bool legal = false;
    switch (next) {
        case State::idle:
            break;
        case State::connecting:
            legal = state_ == State::idle;
            break;
        case State::open:
            legal = state_ == State::idle || state_ == State::connecting;
            break;
        case State::ending:
            legal = state_ == State::open;
            break;
        case State::closing:
            legal = state_ != State::closing && state_ != State::closed;
            break;
        case State::closed:
            legal = state_ == State::closing;
            break;
    }
    POSTERN_ASSERT(legal, "a stream may not go to this state from where it is");
    state_ = next;
}

// --- connecting ----------------------------------------------------------------------------------

void Stream::adopt(int descriptor) {
    POSTERN_ASSERT(descriptor >= 0, "a stream needs a descriptor");
    set_state(State::open);
    descriptor_ = descriptor;
}

base::Result<void> Stream::connect(const Address& to, const Address* from) {
    base::Result<int> socket = ring_.open_socket(to, from);
    if (!socket) {
        return socket.error();
    }
    set_state(State::connecting);
    descriptor_ = *socket;
    ring_.connect(connect_, descriptor_, to);
    return {};
}

void Stream::on_connect(Completion& self, Done done) {
    Stream& stream = static_cast<Operation&>(self).stream;
    if (stream.state_ == State::closing) {
        stream.close_when_quiet();
        return;
    }
    if (done.result == 0) {
        stream.set_state(State::open);
    }
    stream.owner_.on_connected(-done.result);
}

// --- receiving -----------------------------------------------------------------------------------

void Stream::receive(BufferGroup group) {
    POSTERN_ASSERT(open() && !receiving(), "a stream receives when open, once at a time");
    group_ = group;
    ring_.receive(receive_, descriptor_, group, rest_);
}

void Stream::on_receive(Completion& self, Done done) {
    Stream& stream = static_cast<Operation&>(self).stream;
    stream.rest_ = done.rest;
    if (stream.state_ == State::closing) {
        stream.close_when_quiet();
    } else if (done.result == -ENOBUFS) {
        stream.ring_.when_buffer_returns(stream.group_, stream.waiter_);
    } else if (again(done.result)) {
        stream.ring_.receive(stream.receive_, stream.descriptor_, stream.group_, true);
    } else if (stream.state_ == State::ending) {
        stream.throw_away(done);
    } else if (done.result > 0) {
        const std::string_view bytes(done.buffer->data(), static_cast<std::size_t>(done.result));
        stream.owner_.on_received(std::move(done.buffer), bytes, 0);
    } else {
        stream.owner_.on_received({}, {}, -done.result);
    }
}

void Stream::on_buffer(BufferWaiter& self) {
    Stream& stream = static_cast<Waiter&>(self).stream;
    stream.ring_.receive(stream.receive_, stream.descriptor_, stream.group_, true);
}

// --- sending -------------------------------------------------------------------------------------

void Stream::send(std::string_view bytes) {
    single_ = of(bytes);
    send({&single_, 1});
}

void Stream::send(std::span<iovec> pieces) {
    POSTERN_ASSERT(open() && !sending(), "a stream sends when open, once at a time");
    send_all(pieces);
}

void Stream::send_all(std::span<iovec> pieces) {
    message_.msg_iov = pieces.data();
    message_.msg_iovlen = pieces.size();
    send_rest();
}

void Stream::send_rest() {
    constexpr std::size_t pieces_max = 1024;  // UIO_MAXIOV
    POSTERN_ASSERT(
        message_.msg_iovlen > 0 && message_.msg_iovlen <= pieces_max,
        "a send has 1 to 1024 pieces");
    POSTERN_ASSERT(message_.msg_iov->iov_len > 0, "a piece to send is empty");
    ring_.send(send_, descriptor_, message_, state_ == State::ending);
}

void Stream::on_send(Completion& self, Done done) {
    Stream& stream = static_cast<Operation&>(self).stream;
    if (stream.state_ == State::closing) {
        stream.close_when_quiet();
        return;
    }
    if (done.result < 0 && !again(done.result)) {
        stream.sending_ends(-done.result);
        return;
    }
    auto sent = static_cast<std::size_t>(std::max(done.result, 0));
    msghdr& rest = stream.message_;
    while (rest.msg_iovlen > 0 && sent >= rest.msg_iov->iov_len) {
        sent -= rest.msg_iov->iov_len;
        ++rest.msg_iov;
        --rest.msg_iovlen;
    }
    if (rest.msg_iovlen == 0) {
        stream.sending_ends(0);
        return;
    }
    rest.msg_iov->iov_base = static_cast<char*>(rest.msg_iov->iov_base) + sent;
    rest.msg_iov->iov_len -= sent;
    stream.send_rest();
}

void Stream::sending_ends(int error) {
    if (state_ != State::ending) {
        owner_.on_sent(error);
        return;
    }
    // Closing on octets that wait unread throws away what is held back, and resets; they have come
    // since the owner last read.
    ring_.shut_down_sending(descriptor_);
    char octet = 0;
    if (ring_.peek(descriptor_, {&octet, 1}) > 0) {
        ring_.receive(receive_, descriptor_, group_, true);
    } else {
        close();
    }
}

// --- the closing sequence ------------------------------------------------------------------------

void Stream::finish(std::string_view bytes, std::uint64_t octets_max) {
    POSTERN_ASSERT(!sending() && !receiving(), "a stream is quiet when it finishes");
    if (bytes.empty()) {
        close();
        return;
    }
    set_state(State::ending);
    thrown_away_max_ = octets_max;
    single_ = of(bytes);
    send_all({&single_, 1});
}

void Stream::end(std::uint64_t octets_max) {
    POSTERN_ASSERT(!sending(), "a stream cannot end while something is being sent");
    set_state(State::ending);
    ring_.shut_down_sending(descriptor_);
    thrown_away_max_ = octets_max;
    if (!receiving()) {
        ring_.receive(receive_, descriptor_, group_, rest_);
    }
}

void Stream::throw_away(const Done& done) {
    const auto count = static_cast<std::uint64_t>(std::max(done.result, 0));
    if (count == 0 || count > thrown_away_max_) {
        close();
        return;
    }
    thrown_away_max_ -= count;
    ring_.receive(receive_, descriptor_, group_, rest_);
}

void Stream::close() {
    if (state_ == State::closing || state_ == State::closed) {
        return;
    }
    set_state(State::closing);
    waiter_.unlink();
    if (connect_.armed() || receive_.armed() || send_.armed()) {
        ring_.shut_down(descriptor_);  // a send ends by this
        ring_.cancel(close_, connect_.armed() ? connect_ : receive_);
    } else if (descriptor_ >= 0) {
        ring_.close(close_, std::exchange(descriptor_, -1));
    } else {
        // There is nothing to cancel: on_closed never comes from inside this call.
        ring_.cancel(close_, connect_);
    }
}

void Stream::on_close(Completion& self, Done) {
    static_cast<Operation&>(self).stream.close_when_quiet();
}

void Stream::close_when_quiet() {
    if (connect_.armed() || receive_.armed() || send_.armed() || close_.armed()) {
        return;
    }
    if (descriptor_ >= 0) {
        ring_.close(close_, std::exchange(descriptor_, -1));
        return;
    }
    set_state(State::closed);
    owner_.on_closed();
}

}  // namespace postern::io

#include "postern/io/listener.h"

#include <utility>

namespace postern::io {

Listener::Listener(Ring& ring, Timers& timers, ListenerOwner& owner)
    : ring_(ring),
      timers_(timers),
      owner_(owner),
      accept_(on_accept, *this),
      cancel_(on_cancel, *this),
      pause_(on_pause_over, *this) {}

Listener::~Listener() {
    POSTERN_ASSERT(descriptor_ < 0, "a listener was destroyed before it was closed");
}

void Listener::open(int descriptor) {
    POSTERN_ASSERT(descriptor_ < 0 && !closing_ && descriptor >= 0, "a listener is opened once");
    descriptor_ = descriptor;
    ring_.accept(accept_, descriptor_);
}

void Listener::on_accept(Completion& self, Done done) {
    Listener& listener = static_cast<Operation&>(self).listener;
    if (listener.closing_) {
        if (done.result >= 0 && listener.draining_) {
            listener.owner_.on_accepted(done.result);
        } else if (done.result >= 0) {
            listener.ring_.close(done.result);
        }
        listener.close_when_quiet();
        return;
    }
    // Armed again before the owner is told, who may close the listener from there.
    if (done.result < 0) {
        listener.timers_.set(listener.pause_, listener.ring_.now() + pause);
        listener.owner_.on_accept_paused(-done.result);
        return;
    }
    if (!done.more) {
        listener.ring_.accept(listener.accept_, listener.descriptor_);
    }
    listener.owner_.on_accepted(done.result);
}

void Listener::on_pause_over(Timer& self) {
    Listener& listener = static_cast<Pause&>(self).listener;
    listener.ring_.accept(listener.accept_, listener.descriptor_);
}

void Listener::close() {
    if (closing_) {
        draining_ = false;
        return;
    }
    ring_.shut_down(descriptor_);
    stop_accepting();
}

void Listener::drain() {
    if (!closing_) {
        draining_ = true;
        stop_accepting();
    }
}

void Listener::stop_accepting() {
    POSTERN_ASSERT(descriptor_ >= 0, "a listener that was never opened cannot be closed");
    closing_ = true;
    pause_.cancel();
    ring_.cancel(cancel_, accept_);
}

void Listener::on_cancel(Completion& self, Done) {
    static_cast<Operation&>(self).listener.close_when_quiet();
}

void Listener::close_when_quiet() {
    if (accept_.armed() || cancel_.armed()) {
        return;
    }
    // The kernel resets what it has connected and nobody has accepted.
    while (draining_) {
        const int accepted = ring_.accept_waiting(descriptor_);
        if (accepted < 0) {
            break;
        }
        owner_.on_accepted(accepted);
    }
    ring_.close(std::exchange(descriptor_, -1));
    owner_.on_listener_closed();
}

}  // namespace postern::io

#pragma once

#include "postern/io/ring.h"
#include "postern/io/timer.h"

namespace postern::io {

/// What a listener tells its owner. Called from Ring::turn or Timers::run, never from inside a call
/// to the listener.
class ListenerOwner {
   public:
    /// A new connection; the descriptor is the owner's.
    virtual void on_accepted(int descriptor) = 0;
    /// Accepting has stopped for a moment, for want of descriptors or memory.
    virtual void on_accept_paused(int error) = 0;
    /// The listener is closed: it may be freed. The last call.
    virtual void on_listener_closed() = 0;

   protected:
    ~ListenerOwner() = default;
};

/// A listening socket that accepts as long as it is open. Embedded in its owner; one thread, the
/// ring's.
class Listener {
   public:
    /// After an error (EMFILE, ENFILE, ENOBUFS, ENOMEM: each would come back at once) nothing is
    /// accepted for so long.
    static constexpr base::Duration pause = std::chrono::milliseconds(100);

    Listener(Ring& ring, Timers& timers, ListenerOwner& owner);
    /// REQUIRES: never opened, or closed.
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Takes the descriptor of open_listener over and begins to accept. Once.
    void open(int descriptor);
    /// Ends in on_listener_closed. A connection that is accepted meanwhile is closed. REQUIRES:
    /// open; again does nothing.
    void close();
    /// The same, but every connection that waits is accepted first, and handed to the owner: for a
    /// listener that goes while the others go on. REQUIRES: open; again does nothing.
    void drain();

    int descriptor() const { return descriptor_; }

   private:
    struct Operation : Completion {
        Operation(Function on_done, Listener& owner) : Completion(on_done), listener(owner) {}

        Listener& listener;
    };

    struct Pause : Timer {
        Pause(Function on_due, Listener& owner) : Timer(on_due), listener(owner) {}

        Listener& listener;
    };

    static void on_accept(Completion& self, Done done);
    static void on_cancel(Completion& self, Done done);
    static void on_pause_over(Timer& self);
    void stop_accepting();
    void close_when_quiet();

    Ring& ring_;
    Timers& timers_;
    ListenerOwner& owner_;
    int descriptor_ = -1;
    bool closing_ = false;
    bool draining_ = false;
    Operation accept_;
    Operation cancel_;
    Pause pause_;
};

}  // namespace postern::io

#pragma once

#include <atomic>

#include "postern/io/ring.h"

namespace postern::io {

/// A message from another thread, owned by who posts it until `deliver` runs on the ring's thread.
class Letter {
   public:
    virtual void deliver() = 0;

   protected:
    ~Letter() = default;

   private:
    friend class Mailbox;
    Letter* next_ = nullptr;
};

/// How other threads reach a worker: letters are delivered in order, between two completions, and a sleeping ring is woken.
class Mailbox {
   public:
    explicit Mailbox(Ring& ring);
    ~Mailbox();
    /// Any thread. The letter must live until it has been delivered.
    void post(Letter& letter);
};

}  // namespace postern::io

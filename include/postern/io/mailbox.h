#pragma once

#include <atomic>

#include "postern/io/ring.h"

namespace postern::io {

/// A message from another thread, owned by who posts it until `deliver` runs on the ring's thread;
/// it may free itself there.
class Letter {
   public:
    virtual ~Letter() = default;
    virtual void deliver() = 0;

   private:
    friend class Mailbox;
    Letter* next_ = nullptr;
};

/// How other threads reach a worker: letters are delivered in order, between two completions, and a
/// sleeping ring is woken. One for a ring, made and destroyed by the ring's thread; by then nobody
/// posts any more, and what was not delivered never is.
class Mailbox {
   public:
    explicit Mailbox(Ring& ring);
    ~Mailbox();
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;
    /// Any thread. The letter must live until it has been delivered.
    void post(Letter& letter);

   private:
    void deliver_all();
    Ring& ring_;
    std::atomic<Letter*> newest_{nullptr};  // each leads to the one posted before it
};

}  // namespace postern::io

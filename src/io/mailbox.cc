#include "postern/io/mailbox.h"

#include <utility>

namespace postern::io {

Mailbox::Mailbox(Ring& ring) : ring_(ring) {
    ring_.set_on_wake([](void* self) { static_cast<Mailbox*>(self)->deliver_all(); }, this);
}

Mailbox::~Mailbox() {
    ring_.set_on_wake(nullptr, nullptr);
}

void Mailbox::post(Letter& letter) {
    Letter* before = newest_.load(std::memory_order_relaxed);
    do {
        letter.next_ = before;
    } while (!newest_.compare_exchange_weak(
        before, &letter, std::memory_order_release, std::memory_order_relaxed));
    // Where there was one before, its poster wakes the ring; all are delivered together.
    if (before == nullptr) {
        ring_.wake();
    }
}

void Mailbox::deliver_all() {
    Letter* newest = newest_.exchange(nullptr, std::memory_order_acquire);
    Letter* oldest = nullptr;
    while (newest != nullptr) {
        Letter* before = std::exchange(newest->next_, oldest);
        oldest = std::exchange(newest, before);
    }
    while (oldest != nullptr) {
        std::exchange(oldest, oldest->next_)->deliver();
    }
}

}  // namespace postern::io

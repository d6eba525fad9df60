#pragma once

#include <utility>

#include "postern/io/mailbox.h"

namespace postern::shard {

/// Work for the thread that a mailbox belongs to, to be done once.
template <class Work>
struct Errand final : io::Letter {
    explicit Errand(Work its_work) : work(std::move(its_work)) {}

    void deliver() override {
        work();
        delete this;
    }

    Work work;
};

template <class Work>
void post(io::Mailbox& mailbox, Work work) {
    mailbox.post(*new Errand<Work>(std::move(work)));
}

}  // namespace postern::shard

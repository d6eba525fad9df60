#include "corridor.h"

#include <algorithm>

#include "pool.h"

namespace postern::relay {

Transfer::Deadline::Deadline(Transfer& t)
    : io::Timer([](io::Timer& self) {
          Transfer& due = static_cast<Deadline&>(self).transfer;
          due.pool->is_due(due);
      }),
      transfer(t) {}

Transfer& Corridor::take(mail::Submission& submission, Pool& pool) {
    smtp::Transfer* free = free_.pop_front();
    if (free == nullptr) {
        transfers_.push_back(std::make_unique<Transfer>());
        free = transfers_.back().get();
    }
    auto& transfer = static_cast<Transfer&>(*free);
    transfer.submission = &submission;
    transfer.pool = &pool;
    transfer.connection = nullptr;
    transfer.attempts = 0;
    transfer.avoided = 0;
    transfer.goes_again = false;
    transfer.provoked = false;
    transfer.renew();
    submission.envelope.forget_answers();
    submission.relay_owner = &transfer;
    ++transfers_used;
    return transfer;
}

void Corridor::settle(Transfer& transfer, mail::Outcome& outcome) {
    transfer.deadline.cancel();
    outcome.provoked = transfer.provoked;
    world.settled(*transfer.submission, outcome);
}

void Corridor::give_up_unsent() {
    // A transfer's deadline is set until it is settled.
    std::vector<const Connection*> owing;
    for (const auto& transfer : transfers_) {
        if (transfer->connection != nullptr && transfer->deadline.set() && transfer->whole()) {
            owing.push_back(transfer->connection);
        }
    }
    std::sort(owing.begin(), owing.end());
    for (const auto& transfer : transfers_) {
        if (Connection* const connection = transfer->connection;
            connection != nullptr && !transfer->whole()) {
            if (transfer->deadline.set()) {
                connection->give_up(*transfer, mail::Outcome::Kind::unreachable);
            }
            if (!std::binary_search(owing.begin(), owing.end(), connection)) {
                connection->close();
            }
        }
    }
}

void Corridor::release(Transfer& transfer) {
    mail::Submission& submission = *transfer.submission;
    submission.relay_owner = nullptr;
    transfer.submission = nullptr;
    transfer.age.unlink();
    --transfers_used;
    free_.push_back(transfer);
    world.released(submission);
}

}  // namespace postern::relay

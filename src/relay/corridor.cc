#include "corridor.h"

#include "pool.h"

namespace postern::relay {

Transfer::Deadline::Deadline(Transfer& t)
    : io::Timer([](io::Timer& self) {
          Transfer& due = static_cast<Deadline&>(self).transfer;
          if (due.connection == nullptr) {
              due.pool->waited_too_long(due);
          } else {
              due.connection->give_up(due);
          }
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
    transfer.goes_again = false;
    submission.relay_owner = &transfer;
    ++transfers_used;
    return transfer;
}

void Corridor::settle(Transfer& transfer, const mail::Outcome& outcome) {
    transfer.deadline.cancel();
    world.settled(*transfer.submission, outcome);
}

void Corridor::release(Transfer& transfer) {
    mail::Submission& submission = *transfer.submission;
    submission.relay_owner = nullptr;
    transfer.submission = nullptr;
    --transfers_used;
    free_.push_back(transfer);
    world.released(submission);
}

}  // namespace postern::relay

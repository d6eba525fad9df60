#include "submissions.h"

#include "postern/shard/standing.h"

namespace postern::shard {

Submissions::Submissions(const WorkerBounds& bounds, std::uint64_t nonce)
    : arena(arena_block_octets, bounds.arena_blocks),
      tail(tail_block_octets, bounds.tail_blocks),
      chain(chain_block_octets, bounds.chain_blocks),
      submissions_(bounds.submissions),
      ids_(nonce) {}

mail::Submission* Submissions::make(const mail::Client& client, base::WallTime now) {
    mail::Submission* submission = submissions_.make(arena, tail, chain);
    if (submission == nullptr) {
        return nullptr;
    }
    const auto address = submission->arena.copy(client.address);
    const auto helo = submission->arena.copy(client.helo);
    const auto login = submission->arena.copy(client.login);
    submission->client = client;
    if (!address || !helo || !login || !copy_introduction(*submission)) {
        submissions_.destroy(submission);
        return nullptr;
    }
    submission->client.address = *address;
    submission->client.helo = *helo;
    submission->client.login = *login;
    submission->id_size = ids_.next(now, submission->id_text);
    return submission;
}

}  // namespace postern::shard

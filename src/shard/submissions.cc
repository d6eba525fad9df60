#include "submissions.h"

#include "postern/shard/standing.h"

namespace postern::shard {

Submissions::Submissions(const WorkerBounds& bounds, std::uint64_t nonce)
    : arena(arena_block_octets, bounds.arena_blocks),
      tail(tail_block_octets, bounds.tail_blocks),
      chain(chain_block_octets, bounds.chain_blocks),
      submissions_(bounds.submissions),
      parts_below_(bounds.submissions / 2),
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

mail::Submission* Submissions::make_part(const mail::Submission& whole) {
    mail::Submission* const part =
        used() < parts_below_ ? submissions_.make(arena, tail, chain) : nullptr;
    if (part == nullptr) {
        return nullptr;
    }
    part->envelope = whole.envelope;
    part->envelope.first_recipient = part->envelope.last_recipient = nullptr;
    part->envelope.recipient_count = 0;
    part->body.refer_to(whole.body);
    part->has_eight_bit = whole.has_eight_bit;
    part->has_utf8_header = whole.has_utf8_header;
    part->id_text = whole.id_text;
    part->id_size = whole.id_size;
    part->client = whole.client;
    part->began = whole.began;
    part->body_began = whole.body_began;
    part->completed = whole.completed;
    part->deadline = whole.deadline;
    part->generation = whole.generation;
    part->takes_recipients = false;
    part->mode = whole.mode;
    return part;
}

}  // namespace postern::shard

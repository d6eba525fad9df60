#pragma once

#include "postern/mail/submission.h"

/// `sync` delivery: the sender's final answer is the smart host's own, and all temporary trouble is the sender's (product.md,
/// section 3). Pure.
namespace postern::shard {

/// What the sender is told about a submission that ended so. The text lives as long as the outcome's.
mail::Reply sync_answer(const mail::Outcome& outcome);

/// The mode that a kept refusal is filed under: with the client's network, unless the answer is about the address itself
/// (X.1.x) or its mailbox (X.2.x), which holds for every client.
bool kept_for_every_client(const mail::Reply& answer);

}  // namespace postern::shard

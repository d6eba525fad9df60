#pragma once

#include "postern/mail/submission.h"

/// `sync` delivery: the sender's final answer is the smart host's own, and all temporary trouble is
/// the sender's (product.md, section 3). Pure.
namespace postern::shard {

/// What the sender is told about a submission that ended so. The text lives as long as the
/// outcome's.
mail::Reply sync_answer(const mail::Outcome& outcome);
/// `reply`: the host's, of one that was accepted or refused.
mail::Reply sync_answer(mail::Outcome::Kind kind, const mail::Reply& reply = {});

}  // namespace postern::shard

#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "postern/base/time.h"
#include "postern/mail/reply.h"
#include "postern/mail/submission.h"
#include "postern/shared/kept_answers.h"

namespace postern::shard {

/// One worker's hand on the answers that are kept for recipients of divided messages
/// (shared::KeptAnswers): what they are kept by. The worker's thread.
class KeptRefusals {
   public:
    explicit KeptRefusals(shared::KeptAnswers& answers) : answers_(answers) {}

    /// Keeps the refusals among the answers that the recipients have. `pool`: the message's.
    void keep(const mail::Submission& submission, std::string_view pool, base::Instant now);
    /// The answer that is kept for this recipient, which is told to one transaction only. Its text
    /// is valid until the next call.
    std::optional<mail::Reply> take(
        const mail::Submission& submission,
        const mail::Recipient& recipient,
        std::string_view pool,
        base::Instant now);

   private:
    shared::KeptAnswerKey key_of(
        const mail::Submission& submission,
        const mail::Recipient& recipient,
        std::string_view pool);

    shared::KeptAnswers& answers_;
    shared::KeptAnswer answer_{};
    // A reverse-path and a recipient, as long as the parser of paths lets them be.
    std::array<char, 2048> text_{};
};

}  // namespace postern::shard

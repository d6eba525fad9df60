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
    /// The answer that is kept for this recipient, which is told to one transaction only, but there
    /// each time that it is named: were it accepted then, the message would be divided again. Its
    /// text is valid until the next call.
    std::optional<mail::Reply> take(
        mail::Submission& submission,
        const mail::Recipient& recipient,
        std::string_view pool,
        base::Instant now);

   private:
    /// An answer that was given to a transaction.
    struct Given {
        std::array<char, 32> transaction{};  // its ID
        std::size_t recipient = 0;           // hash of what the answer was kept by
        shared::KeptAnswer answer{};
    };

    /// So many are remembered: a transaction that comes back to a recipient behind so many others
    /// is divided once more.
    static constexpr std::size_t given_max = 64;

    const shared::KeptAnswer* given(
        const mail::Submission& submission, const shared::KeptAnswerKey& key) const;
    shared::KeptAnswerKey key_of(
        const mail::Submission& submission,
        const mail::Recipient& recipient,
        std::string_view pool);

    shared::KeptAnswers& answers_;
    shared::KeptAnswer answer_{};
    std::array<Given, given_max> given_{};
    std::size_t next_given_ = 0;
    // A reverse-path and a recipient, as long as the parser of paths lets them be.
    std::array<char, 2048> text_{};
};

}  // namespace postern::shard

#include "kept_refusals.h"

#include <algorithm>
#include <functional>

#include "postern/mail/local_part.h"

namespace postern::shard {
namespace {

/// Within a transaction.
std::size_t hash_of(const shared::KeptAnswerKey& key) {
    const std::hash<std::string_view> hash;
    return hash(key.pool) * 31 + hash(key.recipient);
}

}  // namespace

void KeptRefusals::keep(
    const mail::Submission& submission, std::string_view pool, base::Instant now) {
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (r->answer.code >= 400) {
            const mail::EnhancedCode& enhanced = r->answer.enhanced;
            answer_.code = r->answer.code;
            answer_.enhanced = {enhanced.cls, enhanced.subject, enhanced.detail};
            answer_.set_text(r->answer.text);
            answers_.keep(key_of(submission, *r, pool), answer_, now);
        }
    }
}

std::optional<mail::Reply> KeptRefusals::take(
    mail::Submission& submission,
    const mail::Recipient& recipient,
    std::string_view pool,
    base::Instant now) {
    if (!submission.kept_refusal && !answers_.any(now)) {
        return std::nullopt;
    }
    const shared::KeptAnswerKey key = key_of(submission, recipient, pool);
    const shared::KeptAnswer* answer = given(submission, key);
    if (answer == nullptr) {
        Given& place = given_[next_given_];
        if (!answers_.take(key, now, place.answer)) {
            return std::nullopt;
        }
        place.transaction = submission.id_text;
        place.recipient = hash_of(key);
        next_given_ = (next_given_ + 1) % given_max;
        submission.kept_refusal = true;
        answer = &place.answer;
    }
    const auto& [cls, subject, detail] = answer->enhanced;
    return mail::Reply{answer->code, {cls, subject, detail}, answer->text()};
}

const shared::KeptAnswer* KeptRefusals::given(
    const mail::Submission& submission, const shared::KeptAnswerKey& key) const {
    if (!submission.kept_refusal) {
        return nullptr;
    }
    const std::size_t recipient = hash_of(key);
    const auto its = std::find_if(given_.begin(), given_.end(), [&](const Given& one) {
        return one.recipient == recipient && one.transaction == submission.id_text;
    });
    return its == given_.end() ? nullptr : &its->answer;
}

/// One key for all ways of writing the two addresses: the case of a domain and the quotes of a
/// local part say nothing. Valid until the next call.
shared::KeptAnswerKey KeptRefusals::key_of(
    const mail::Submission& submission, const mail::Recipient& recipient, std::string_view pool) {
    std::size_t used = 0;
    const auto put = [&](std::string_view part, auto as) {
        const std::size_t size = std::min(part.size(), text_.size() - used);
        std::transform(part.begin(), part.begin() + size, text_.begin() + used, as);
        used += size;
    };
    const auto same = [](char c) { return c; };
    const std::string_view path = submission.envelope.reverse_path;
    const std::size_t domain = path.rfind('@') + 1;  // 0: the null path
    put(path.substr(0, domain), same);
    put(path.substr(domain),
        [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    const std::size_t path_size = used;
    mail::LocalPartKey local_part;
    const bool short_enough = mail::make_local_part_key(recipient.local_part, local_part);
    put(short_enough ? local_part.view() : recipient.local_part, same);
    put("@", same);
    put(recipient.domain_key, same);
    const std::string_view text(text_.data(), used);
    return {pool, text.substr(0, path_size), text.substr(path_size), submission.client.network};
}

}  // namespace postern::shard

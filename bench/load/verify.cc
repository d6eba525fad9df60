#include "bench/load/verify.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace postern::bench {

void SentLog::add(const SentLog& other) {
    fates.insert(fates.end(), other.fates.begin(), other.fates.end());
    refused.insert(refused.end(), other.refused.begin(), other.refused.end());
}

namespace {

using Copies = std::unordered_map<std::uint64_t, std::uint64_t>;  // by recipient

/// One message: what became of each recipient against the copies that came. Takes its own out of
/// `copies`.
class MessageCheck {
   public:
    MessageCheck(const RecipientPlan& plan, Comparison& result) : plan_(plan), result_(result) {}

    void check(const SentLog::Fate& fate, const std::vector<bool>& refused, Copies& copies) {
        std::uint64_t missing = 0;
        for (unsigned i = 0; i < plan_.per_message(); ++i) {
            address_.clear();
            plan_.append(address_, fate.number, i);
            const auto at = copies.find(recipient_sum(address_));
            const std::uint64_t came = at == copies.end() ? 0 : at->second;
            if (at != copies.end()) {
                copies.erase(at);
            }
            if (fate.verdict == Sender::Verdict::accepted && !refused[i]) {
                ++result_.expected;
                result_.delivered += came > 0 ? 1 : 0;
                missing += came > 0 ? 0 : 1;
                result_.duplicate += came > 1 ? came - 1 : 0;
            } else if (fate.verdict == Sender::Verdict::unknown && !refused[i]) {
                result_.unknown_delivered += came > 0 ? 1 : 0;
                result_.duplicate += came > 1 ? came - 1 : 0;
            } else {
                result_.refused_delivered += came;
            }
        }
        std::uint64_t elsewhere = 0;
        for (const auto& [recipient, count] : copies) {
            elsewhere += count;
        }
        result_.wrong_recipient += elsewhere;
        result_.lost += missing > elsewhere ? missing - elsewhere : 0;
    }

   private:
    const RecipientPlan& plan_;
    Comparison& result_;
    std::string address_;
};

}  // namespace

Comparison compare(
    const SentLog& sent, const RecipientPlan& plan, const std::vector<Delivery>& deliveries) {
    Comparison result;
    std::unordered_multimap<std::uint64_t, const Delivery*> by_number;
    by_number.reserve(deliveries.size());
    for (const Delivery& delivery : deliveries) {
        result.header_changed += delivery.header_changed ? 1 : 0;
        result.body_changed += delivery.body_changed ? 1 : 0;
        if (delivery.answered) {
            by_number.emplace(delivery.number, &delivery);
        } else {
            ++result.unanswered;
        }
    }
    std::unordered_map<std::uint64_t, std::vector<bool>> refused;
    for (const SentLog::Refused& one : sent.refused) {
        auto& marks = refused[one.number];
        marks.resize(plan.per_message());
        marks[one.index] = true;
    }
    const std::vector<bool> none_refused(plan.per_message());
    MessageCheck message(plan, result);
    Copies copies;
    std::vector<std::uint64_t> taken_ms;
    for (const SentLog::Fate& fate : sent.fates) {
        copies.clear();
        taken_ms.clear();
        const auto [first, last] = by_number.equal_range(fate.number);
        for (auto at = first; at != last; ++at) {
            taken_ms.push_back(at->second->taken_ms);
            for (const std::uint64_t recipient : at->second->recipients) {
                ++copies[recipient];
            }
        }
        by_number.erase(first, last);
        const auto marks = refused.find(fate.number);
        const std::uint64_t duplicate = result.duplicate;
        message.check(fate, marks == refused.end() ? none_refused : marks->second, copies);
        if (result.duplicate > duplicate && result.repeats.size() < Comparison::repeats_max) {
            std::sort(taken_ms.begin(), taken_ms.end());
            result.repeats.push_back(taken_ms);
        }
    }
    result.unexpected = by_number.size();
    return result;
}

}  // namespace postern::bench

#include "postern/shard/queue_view.h"

#include <algorithm>
#include <string_view>

#include "address_key.h"
#include "postern/smtp/characters.h"

namespace postern::shard {
namespace {

bool is_sender(std::string_view reverse_path, const std::string& wanted) {
    const bool whole_domain = wanted.starts_with('@');
    const std::size_t at = reverse_path.rfind('@');
    if (whole_domain && at != std::string_view::npos) {
        reverse_path.remove_prefix(at);
    }
    return smtp::equal_ignoring_case(reverse_path, wanted);
}

bool waits(const spool::KeptRecipient& recipient) {
    return recipient.state == journal::State::waiting;
}

QueueRecipient copy_of(const spool::KeptRecipient& recipient) {
    QueueRecipient copy;
    copy.address = recipient.address;
    copy.original = recipient.original;
    if (recipient.reply != nullptr) {
        copy.reply = recipient.reply->text;
    }
    copy.next_try_ms = recipient.next_try_ms;
    copy.attempts = recipient.attempts;
    copy.state = recipient.state;
    copy.notify = recipient.notify;
    copy.delay_told = recipient.delay_told;
    return copy;
}

}  // namespace

journal::Id next_id(journal::Id id) {
    if (++id.low == 0) {
        ++id.high;
    }
    return id;
}

bool matches(const QueueFilter& filter, const spool::KeptRecipient& recipient) {
    if (!waits(recipient)) {
        return false;
    }
    if (filter.domain.empty()) {
        return true;
    }
    const AddressKey address(recipient.address);
    if (!address.has_key) {
        return false;
    }
    const std::string_view domain = address.domain_key();
    return domain == filter.domain ||
           (!filter.domain_alone && !address.key.is_literal() &&
            domain.size() > filter.domain.size() && domain.ends_with(filter.domain) &&
            domain[domain.size() - filter.domain.size() - 1] == '.');
}

bool matches(const QueueFilter& filter, const spool::Kept& kept) {
    if (kept.arrival_ms() >= filter.arrived_before_ms || (filter.held && !kept.held()) ||
        (!filter.ids.empty() &&
         !std::binary_search(filter.ids.begin(), filter.ids.end(), kept.id())) ||
        (filter.sender && !is_sender(kept.reverse_path(), *filter.sender))) {
        return false;
    }
    const auto recipients = kept.recipients();
    return std::any_of(recipients.begin(), recipients.end(), [&](const auto& recipient) {
        return matches(filter, recipient);
    });
}

QueueRow row_of(const spool::Kept& kept, bool whole, std::size_t recipients_max) {
    QueueRow row;
    const journal::Message message = kept.message();
    row.id = kept.id();
    row.arrival_ms = message.arrival_ms;
    row.expires_ms = message.expires_ms;
    row.size = kept.content_size();
    row.sender = message.reverse_path;
    row.envid = message.envid;
    row.client = message.client;
    row.mode = message.mode;
    row.body_type = message.body_type;
    row.ret = message.ret;
    row.smtputf8 = message.smtputf8;
    row.trusted = message.trusted;
    row.held = kept.held();
    row.notification = message.notification;
    for (const spool::KeptRecipient& recipient : kept.recipients()) {
        row.waiting += waits(recipient) ? 1 : 0;
        if (!whole && !waits(recipient)) {
            continue;
        }
        if (row.recipients.size() < recipients_max) {
            row.recipients.push_back(copy_of(recipient));
        } else {
            ++row.left;
        }
    }
    return row;
}

}  // namespace postern::shard

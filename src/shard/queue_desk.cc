#include "queue_desk.h"

#include <algorithm>

namespace postern::shard {
namespace {

/// What one turn gives to people who look: recipients and messages passed, some 200 ns each; octets
/// that are copied; messages that are changed, each of which is a record.
constexpr std::uint32_t looked_max = 2048;
constexpr std::size_t octets_max = 256 << 10;
constexpr std::uint32_t changed_max = 128;

/// The recipients that the filter means, of one message.
struct Meant {
    std::uint32_t waiting = 0;
    std::uint32_t meant = 0;
};

Meant meant_of(ManagedQueue& queue, const QueueFilter& filter, const spool::Kept& kept) {
    Meant meant;
    const auto recipients = kept.recipients();
    for (std::uint32_t i = 0; i < recipients.size(); ++i) {
        if (recipients[i].state != journal::State::waiting) {
            continue;
        }
        ++meant.waiting;
        if (matches(filter, recipients[i]) &&
            (filter.pool.empty() || queue.pool_of(kept, i) == filter.pool) &&
            (!filter.orphaned || queue.pool_of(kept, i).empty())) {
            ++meant.meant;
        }
    }
    return meant;
}

void add_row(ManagedQueue& queue, const spool::Kept& kept, bool whole, QueueAnswer& answer) {
    QueueRow row = row_of(kept, whole, whole ? whole_recipients_max : listed_recipients_max);
    // The row has its recipients in the message's order, some of them left out.
    std::size_t shown = 0;
    const auto recipients = kept.recipients();
    for (std::uint32_t i = 0; i < recipients.size(); ++i) {
        const bool waits = recipients[i].state == journal::State::waiting;
        if (waits) {
            const std::string_view pool = queue.pool_of(kept, i);
            row.orphaned = row.orphaned || pool.empty();
            if (shown < row.recipients.size()) {
                row.recipients[shown].pool = pool;
            }
        }
        shown += whole || waits ? 1 : 0;
    }
    answer.rows.push_back(std::move(row));
}

std::size_t octets_of(const QueueRow& row) {
    std::size_t octets = sizeof row + row.sender.size() + row.envid.size();
    for (const QueueRecipient& each : row.recipients) {
        octets += sizeof each + each.address.size() + each.original.size() + each.reply.size();
    }
    return octets;
}

/// False: it is left out.
bool change(ManagedQueue& queue, const QueueAsk& ask, const Meant& meant, spool::Kept& kept) {
    switch (ask.change) {
        case QueueChange::none:
            break;
        case QueueChange::retry:
            if (kept.held()) {
                return false;
            }
            queue.retry(kept);
            break;
        case QueueChange::hold:
        case QueueChange::release:
            if (kept.held() == (ask.change == QueueChange::hold)) {
                return false;
            }
            queue.hold(kept, ask.change == QueueChange::hold);
            break;
        case QueueChange::remove:
            if (meant.meant < meant.waiting) {
                return false;
            }
            queue.remove(kept, ask.notify);
            break;
    }
    return true;
}

/// The first ID from `from` on that may be meant; nullopt: none.
std::optional<journal::Id> next_meant(const QueueFilter& filter, const journal::Id& from) {
    if (filter.ids.empty()) {
        return from;
    }
    const auto found = std::lower_bound(filter.ids.begin(), filter.ids.end(), from);
    return found == filter.ids.end() ? std::nullopt : std::optional(*found);
}

}  // namespace

QueueAnswer ask_queue(ManagedQueue& queue, const QueueAsk& ask) {
    QueueAnswer answer;
    std::size_t octets = 0;
    std::size_t looked = 0;
    std::optional<journal::Id> from = ask.from;
    while ((from = next_meant(ask.filter, *from))) {
        spool::Kept* const kept = queue.at_or_after(*from);
        if (kept == nullptr) {
            return answer;
        }
        if (looked >= looked_max || octets >= octets_max || answer.changed >= changed_max ||
            answer.rows.size() >= ask.rows_max) {
            answer.next = from;
            return answer;
        }
        from = next_id(kept->id());
        looked += 1 + kept->recipients().size();
        if (!matches(ask.filter, *kept)) {
            continue;
        }
        const Meant meant = meant_of(queue, ask.filter, *kept);
        if (meant.meant == 0) {
            continue;
        }
        ++answer.matched;
        if (ask.change == QueueChange::none) {
            add_row(queue, *kept, ask.whole, answer);
            octets += octets_of(answer.rows.back());
        } else {
            ++(change(queue, ask, meant, *kept) ? answer.changed : answer.left_out);
        }
    }
    return answer;
}

}  // namespace postern::shard

#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "postern/journal/format.h"
#include "postern/journal/record.h"
#include "postern/spool/kept.h"

/// The mail that waits, as people see it and change it: plain values that cross from a thread of
/// the admin server to a worker and back. Also of a spool that no process has open.
namespace postern::shard {

/// Which messages are meant: those for which all of it holds.
struct QueueFilter {
    std::vector<journal::Id> ids{};  // sorted; empty: any
    /// Of a recipient that waits, in the form of mail::DomainKey: that domain and all below it;
    /// empty: any.
    std::string domain{};
    bool domain_alone = false;  // nothing below it
    std::string pool{};         // that a recipient waits for; empty: any
    /// Lower case: "user@example.com", "@example.com" for all of that domain, "" for the null
    /// sender.
    std::optional<std::string> sender{};
    std::int64_t arrived_before_ms = std::numeric_limits<std::int64_t>::max();  // wall clock
    bool orphaned = false;  // of a recipient that waits for no pool
    bool held = false;
};

struct QueueRecipient {
    std::string address;
    std::string original;  // ORCPT=, as it came
    std::string pool;      // that it waits for; empty: none, or not known
    std::string reply;     // what was said last of it
    std::int64_t next_try_ms = 0;
    std::uint32_t attempts = 0;
    journal::State state = journal::State::waiting;
    mail::NotifySet notify = 0;
    bool delay_told = false;
};

struct QueueRow {
    journal::Id id;
    std::int64_t arrival_ms = 0;
    std::int64_t expires_ms = 0;  // 0: as retry.expire says
    std::uint64_t size = 0;
    std::string sender;  // empty: the null sender
    std::string envid;
    std::string client;
    mail::Mode mode{};
    mail::BodyType body_type{};
    mail::Returned ret{};
    bool smtputf8 = false;
    bool trusted = false;
    bool held = false;
    bool notification = false;
    bool orphaned = false;
    std::vector<QueueRecipient> recipients;
    std::uint32_t waiting = 0;  // of all its recipients
    std::uint32_t left = 0;     // recipients that would be shown, but are too many
};

enum class QueueChange : std::uint8_t { none, retry, hold, release, remove };

/// What a worker is asked for at a time. What it comes to is bounded, and so is the time: the
/// answer says where to go on.
struct QueueAsk {
    QueueFilter filter{};
    journal::Id from{};  // messages with a lower ID are passed over
    std::uint32_t rows_max = 100;
    bool whole = false;  // all of a message; else only recipients that wait, and not many
    QueueChange change = QueueChange::none;
    bool notify = false;  // for `remove`: its sender is told
};

struct QueueAnswer {
    std::vector<QueueRow> rows;       // by ID; none where something is changed
    std::uint32_t matched = 0;        // messages
    std::uint32_t changed = 0;        // of them
    std::uint32_t left_out = 0;       // of them, see `ask_queue`
    std::optional<journal::Id> next;  // where to go on; nullopt: that is all
};

/// The ID behind it, in order.
journal::Id next_id(journal::Id id);

/// Whether the filter means it, as far as it is known without rules: pool and orphaned are not
/// looked at. One that waits for nothing is never meant.
bool matches(const QueueFilter& filter, const spool::Kept& kept);
/// Whether this recipient waits, and for the filter's domain.
bool matches(const QueueFilter& filter, const spool::KeptRecipient& recipient);

/// How many recipients a message is shown with: in a list, and whole.
constexpr std::size_t listed_recipients_max = 10;
constexpr std::size_t whole_recipients_max = 10'000;  // more would be long for one turn

/// As QueueAsk::whole, with so many recipients at most; no pools, nor whether it is orphaned.
QueueRow row_of(const spool::Kept& kept, bool whole, std::size_t recipients_max);

}  // namespace postern::shard

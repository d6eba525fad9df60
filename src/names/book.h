#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "message.h"
#include "postern/base/time.h"
#include "postern/names/answer.h"

/// What is known of the watched names, what is to be asked next, and what changed: all of the
/// resolver but its socket and its clock. Pure.
namespace postern::names {

/// How long a good reply is believed: its TTL, at least a second (a TTL of 0 would ask without
/// end) and at most a day; a "no" at most 5 minutes, so that a name that is put right is found.
base::Duration lifetime(const Reply& reply);
/// The pause behind the `failures`th failure in a row: 1 s, doubled up to 30 s.
base::Duration back_off(std::uint32_t failures);
/// How long the last good reply still serves when it cannot be renewed, from its end on.
inline constexpr base::Duration grace = std::chrono::hours(1);

class Book {
   public:
    struct Query {
        std::string name;
        RecordType type = RecordType::a;

        auto operator<=>(const Query&) const = default;
    };

    struct Change {
        Question question;
        std::shared_ptr<const Answer> answer;
    };

    Book() = default;
    Book(const Book&) = delete;
    Book& operator=(const Book&) = delete;

    /// Replaces the questions that are kept answered. What stays keeps what is known of it.
    void watch(const std::vector<Question>& questions, base::Instant now);
    /// The next query that is due. It is in flight until `answered`.
    std::optional<Query> next(base::Instant now);
    /// When the next one is.
    std::optional<base::Instant> next_due() const;
    /// What became of a query. One that nobody waits for any more is ignored.
    void answered(const Query& query, const Reply& reply, base::Instant now);
    /// The queries in flight are lost; they are due again.
    void ask_again(base::Instant now);

    /// New and changed answers since the last call. A question has its first one when everything
    /// that it takes was answered or has failed once.
    std::vector<Change> take_changes() { return std::exchange(changes_, {}); }

   private:
    struct Entry;

    struct Lookup {
        Query query;
        std::optional<Reply> known;  // the last good reply
        base::Instant good_until{};
        std::uint32_t failures = 0;  // in a row
        std::string trouble;         // the last failure's, while there are some
        base::Instant due{};
        bool in_flight = false;
        std::vector<Entry*> users;

        bool pending() const { return !known && failures == 0; }
    };

    struct Earlier {
        bool operator()(const Lookup* a, const Lookup* b) const {
            return std::tie(a->due, a->query) < std::tie(b->due, b->query);
        }
    };

    struct Entry {
        Question question;
        std::set<Lookup*> needs;
        std::shared_ptr<const Answer> answer;
    };

    /// Puts an answer together and notes what it takes.
    class Composer;

    Lookup& lookup(const Query& query, base::Instant now);
    void set_needs(Entry& entry, std::set<Lookup*> needs);
    void schedule(Lookup& lookup, base::Instant due);
    void settle(Entry& entry, base::Instant now);

    std::map<Question, Entry> entries_;
    std::map<Query, Lookup> lookups_;   // law: each has a user
    std::set<Lookup*, Earlier> queue_;  // law: those that are not in flight
    std::vector<Change> changes_;
};

}  // namespace postern::names

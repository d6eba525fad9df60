#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/mail/mode.h"
#include "postern/route/recipients.h"

/// The rules as one immutable value that answers "which rule takes this recipient". Built by load()
/// (rules.h) on the control thread, then only read, by any number of threads at once; a lookup
/// takes no lock, allocates and writes nothing.
///
/// All names (domains, the ancestors of domains that rules name, user@domain, address literals)
/// live in one block of 64-byte buckets, found by a keyed hash. A name's hash grows label by label
/// from the right, so one pass over the octets gives the hash of every suffix; each ancestor
/// carries a mark that names exist below it, so a miss ends at the first suffix that has none.
/// Suffixes with fewer labels than any rule are neither kept nor looked for. A lookup touches
/// memory once for each longer one that the rules know, and these loads do not wait for one
/// another.
///
/// Identity. A name on a hit is not compared with the rule's: that would be a second miss. Instead
/// the hash is 128 bits of a strongly universal family (below), all of them used: 32 choose the
/// bucket, 96 are kept in it. For any two different names, whoever chooses them, the chance over
/// the secrets that they share all of it is 2^-128. A probe compares with at most three names a
/// bucket that already agree in the bucket, so it passes a foreign name with 3 * 2^-96 or less: a
/// million lookups a second of four probes each, for a hundred years, 5e-13 in all. The machine's
/// memory errs more often.
///
/// The family is Multilinear (Lemire and Kaser, "Strongly universal string hashing is fast") over
/// the field GF(2^128), whose products need no carries: the name as right-aligned 64-bit words w_i,
/// the secrets as 128-bit numbers K_i, and K_0 + sum K_i * w_i is the hash. Where two names differ
/// in a word, one of all values of its K_i makes their sums meet. It needs two multiplications for
/// eight octets, none waiting for another.
namespace postern::route {

inline constexpr std::uint32_t none = 0xffffffff;

/// Random numbers for one build, from io's randomness; never shown, never used twice. One K_0, then
/// one K_i for each eight octets of the longest name: 64 of local part, "@", 253 of domain.
struct Secrets {
    static constexpr std::size_t words_max = 40;
    std::array<std::array<std::uint64_t, 2>, 1 + words_max> numbers;
};

enum class Pattern : std::uint8_t { domain, exact, subdomains, user, literal, everything };
enum class TargetKind : std::uint8_t { pool, address, host, mx, reject, defer };

/// Where recipients go.
struct Target {
    TargetKind kind = TargetKind::pool;
    std::string text;  // the pool's name; "192.0.2.1:25", "[2001:db8::1]:25"; of a host or mx the
                       // name and port, "mx1.internal:25"; what the sender is told, empty: the
                       // usual words
    bool operator==(const Target&) const = default;
};

/// All that a rule says but its pattern. Rules that say the same share one.
struct Action {
    std::uint32_t target = 0;            // index in Table::targets()
    std::optional<mail::Mode> delivery;  // none: the pool's or the listener's
    bool restricted = false;             // only for clients that [relay] trusts
    std::string rewrite;  // the domain, as A-labels, that the smart host is told; empty: the
                          // recipient's own
    bool operator==(const Action&) const = default;
};

/// A rule that was found, and what it says; both none: no rule.
struct Match {
    std::uint32_t rule = none;    // index, in the order of files and lines
    std::uint32_t action = none;  // index for Table::action()

    bool found() const { return rule != none; }

    bool operator==(const Match&) const = default;
};

/// A recipient as lookups want it.
struct Query {
    std::string_view domain_key;  // made by mail::make_domain_key
    std::string_view local_part;  // as written, quotes included
};

/// What stands in the files about one rule: for logs and explanations. Views into the table.
struct RuleText {
    Pattern kind;
    std::string_view
        name;  // without the kind's sign; user@domain for a user rule, its local part unquoted
    std::string_view file;
    std::uint32_t line;
};

class Table {
   public:
    ~Table();
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    Match look_up(const Query& query) const;
    /// The same for many, their memory fetched together. REQUIRES: as many matches as queries.
    void look_up(std::span<const Query> queries, std::span<Match> matches) const;

    /// What would match all subdomains of the domain `key`, were there no rule for any of them.
    Match covering_subdomains(std::string_view key) const;
    /// The rules whose pattern is `key` with the sign of Pattern::exact, subdomains, domain (in
    /// this order), or none.
    std::array<std::uint32_t, 3> rules_of_domain(std::string_view key) const;
    /// The rule of the user@domain or address literal `key`, or none.
    std::uint32_t rule_of_name(std::string_view key) const;

    std::uint32_t rule_count() const { return static_cast<std::uint32_t>(rows_.size()); }

    std::uint32_t action_of(std::uint32_t rule) const { return rows_[rule].action; }

    /// Whether always-relay or restricted stands in it.
    bool states_permission(std::uint32_t rule) const {
        return (rows_[rule].size_and_kind & 8) != 0;
    }

    RuleText text_of(std::uint32_t rule) const;
    /// "#example.com": the pattern in its canonical form.
    std::string pattern_of(std::uint32_t rule) const;

    const Match& everything() const { return everything_; }

    const Action& action(std::uint32_t index) const { return actions_[index]; }

    const std::vector<Action>& actions() const { return actions_; }

    const std::vector<Target>& targets() const { return targets_; }

    /// The list of the recipients that exist at targets()[target]; nullptr: all do.
    const Recipients* recipients_of(std::uint32_t target) const {
        return recipients_.empty() ? nullptr : recipients_[target].get();
    }

    const std::string& recipient_delimiter() const { return recipient_delimiter_; }

    /// Octets held, lists of recipients included: names apart, and names.
    std::size_t octets() const;

    std::size_t name_octets() const { return names_.size(); }

    /// Octets of the block of buckets: what random lookups touch.
    std::size_t bucket_octets() const;

   private:
    friend class Builder;
    struct Bucket;
    struct Slot;
    struct Hash;
    struct Step;
    class Suffixes;

    struct Row {
        std::uint32_t name;  // offset in names_
        std::uint32_t line;
        std::uint32_t action;
        std::uint16_t file;
        std::uint16_t size_and_kind;  // octets of the name, times 16; states_permission, times 8;
                                      // the pattern's kind
    };

    /// A domain that more than one rule names.
    struct Split {
        std::array<std::uint32_t, 3> rules{none, none, none};  // exact, subdomains, domain
        Match itself;                                          // what takes the domain
        Match below;                                           // what takes its subdomains
    };

    Table() = default;
    Hash hash_of(std::string_view name) const;
    Slot find(const Hash& hash) const;
    void prefetch(const Hash& hash) const;
    Step begin_step(Suffixes& suffixes) const;
    bool end_step(const Step& step, const Query& query, Match& best) const;
    Match look_up_literal(const Query& query) const;
    Match match_itself(Slot slot) const;
    Match match_below(Slot slot) const;
    void settle(Split& split) const;
    Match match_user(const Query& query, Match otherwise) const;
    std::uint32_t find_user(std::string_view local_part, std::string_view domain_key) const;

    Secrets secrets_;
    Bucket* buckets_ = nullptr;
    std::uint32_t bucket_count_ = 0;
    unsigned labels_min_ =
        1;  // fewest of any rule's domain: shorter suffixes hold nothing, and are not looked for
    Match everything_;
    std::vector<Row> rows_;
    std::vector<Split> splits_;
    std::vector<Action> actions_;
    std::vector<Target> targets_;
    std::vector<std::shared_ptr<const Recipients>> recipients_;  // by target; empty: none has a
                                                                 // list
    std::vector<std::string> files_;
    std::string names_;
    std::string recipient_delimiter_;
};

}  // namespace postern::route

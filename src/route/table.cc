#include "postern/route/table.h"

#include <sys/mman.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "bucket.h"
#include "postern/mail/local_part.h"

namespace postern::route {

Table::~Table() {
    if (buckets_ != nullptr) {
        munmap(buckets_, bucket_octets());
    }
}

std::size_t Table::bucket_octets() const {
    return sizeof(Bucket) * bucket_count_;
}

std::size_t Table::octets() const {
    std::size_t lists = 0;
    for (const auto& list : recipients_) {
        lists += list == nullptr ? 0 : list->octets();
    }
    return lists + bucket_octets() + rows_.capacity() * sizeof(Row) +
           splits_.capacity() * sizeof(Split) + actions_.capacity() * sizeof(Action) +
           targets_.capacity() * sizeof(Target);
}

std::uint32_t Table::find_user(std::string_view local_part, std::string_view domain_key) const {
    char name[8 * Secrets::words_max];
    std::size_t size = local_part.copy(name, local_part.size());
    name[size++] = '@';
    size += domain_key.copy(name + size, domain_key.size());
    return rule_of_name({name, size});
}

Match Table::match_user(const Query& query, Match otherwise) const {
    mail::LocalPartKey key;
    const bool nameable = mail::make_local_part_key(query.local_part, key);
    std::uint32_t rule = nameable ? find_user(key.view(), query.domain_key) : none;
    if (rule == none) {
        const std::string_view front = mail::before_delimiter(key.view(), recipient_delimiter_);
        if (!front.empty()) {
            rule = find_user(front, query.domain_key);
        }
    }
    return rule == none ? otherwise : Match{rule, action_of(rule)};
}

/// Some of a name's suffixes, shortest first, their memory asked for.
struct Table::Step {
    // The shortest suffix that may have a rule is most often the longest that has one: all but it
    // is a guess.
    static constexpr unsigned ahead = 2;
    std::array<Hash, ahead> hashes;
    unsigned count = 0;
    bool ends_in_whole = false;  // the last is the whole name
};

inline Table::Step Table::begin_step(Suffixes& suffixes) const {
    Step step;
    do {
        Hash& hash = step.hashes[step.count++];
        hash = suffixes.next();
        prefetch(hash);
    } while (step.count < Step::ahead && !suffixes.done());
    step.ends_in_whole = suffixes.done();
    return step;
}

/// True: the lookup ends here, with `best`.
inline bool Table::end_step(const Step& step, const Query& query, Match& best) const {
    for (unsigned i = 0; i < step.count; ++i) {
        Slot slot = find(step.hashes[i]);
        if (!slot) {
            return true;
        }
        bool whole = step.ends_in_whole && i + 1 == step.count;
        Match own = whole ? match_itself(slot) : match_below(slot);
        best = own.found() ? own : best;
        if (whole && slot.has(Bucket::users)) [[unlikely]] {
            best = match_user(query, best);
        }
        if (!slot.has(Bucket::children)) {
            return true;
        }
    }
    return step.ends_in_whole;
}

Match Table::look_up_literal(const Query& query) const {
    Match best = everything_;
    if (Slot slot = find(hash_of(query.domain_key))) {
        Match own = match_itself(slot);
        best = own.found() ? own : best;
        best = slot.has(Bucket::users) ? match_user(query, best) : best;
    }
    return best;
}

Match Table::look_up(const Query& query) const {
    Suffixes suffixes(secrets_, query.domain_key, labels_min_);
    if (query.domain_key.front() == '[') [[unlikely]] {
        return look_up_literal(query);
    }
    Match best = everything_;
    while (!end_step(begin_step(suffixes), query, best)) {
    }
    return best;
}

void Table::look_up(std::span<const Query> queries, std::span<Match> matches) const {
    POSTERN_ASSERT(queries.size() == matches.size(), "each query has its match");
    // One fetch that is under way hides behind the others; more than this many at once no memory
    // answers.
    constexpr std::size_t together = 64;

    struct Search {
        std::optional<Suffixes> suffixes;
        Step step;
        std::size_t number;
    };

    std::array<Search, together> searches;
    for (std::size_t begin = 0; begin < queries.size(); begin += together) {
        const std::size_t end = std::min(begin + together, queries.size());
        std::size_t going_on = 0;
        for (std::size_t i = begin; i < end; ++i) {
            if (queries[i].domain_key.front() == '[') [[unlikely]] {
                matches[i] = look_up_literal(queries[i]);
                continue;
            }
            Search& search = searches[going_on++];
            search.suffixes.emplace(secrets_, queries[i].domain_key, labels_min_);
            search.step = begin_step(*search.suffixes);
            search.number = i;
            matches[i] = everything_;
        }
        while (going_on > 0) {
            const std::size_t count = std::exchange(going_on, 0);
            for (std::size_t i = 0; i < count; ++i) {
                Search& search = searches[i];
                if (end_step(search.step, queries[search.number], matches[search.number])) {
                    continue;
                }
                search.step = begin_step(*search.suffixes);
                if (going_on != i) {
                    searches[going_on] = search;
                }
                ++going_on;
            }
        }
    }
}

Match Table::covering_subdomains(std::string_view key) const {
    Match best = everything_;
    Suffixes suffixes(secrets_, key, labels_min_);
    while (!suffixes.done()) {
        Slot slot = find(suffixes.next());
        if (!slot) {
            break;
        }
        Match own = match_below(slot);
        best = own.found() ? own : best;
    }
    return best;
}

std::array<std::uint32_t, 3> Table::rules_of_domain(std::string_view key) const {
    Slot slot = find(hash_of(key));
    if (slot && slot.has(Bucket::split)) {
        return splits_[slot.match().rule].rules;
    }
    std::array<std::uint32_t, 3> rules{none, none, none};
    if (slot && slot.has(Bucket::itself | Bucket::below)) {
        bool itself = slot.has(Bucket::itself);
        bool below = slot.has(Bucket::below);
        rules[itself && below ? 2 : itself ? 0 : 1] = slot.match().rule;
    }
    return rules;
}

std::uint32_t Table::rule_of_name(std::string_view key) const {
    Slot slot = find(hash_of(key));
    return slot && slot.has(Bucket::itself) ? slot.match().rule : none;
}

RuleText Table::text_of(std::uint32_t rule) const {
    const Row& row = rows_[rule];
    return {
        static_cast<Pattern>(row.size_and_kind & 7),
        std::string_view(names_).substr(row.name, row.size_and_kind >> 4),
        files_[row.file],
        row.line};
}

std::string Table::pattern_of(std::uint32_t rule) const {
    RuleText text = text_of(rule);
    std::string sign = text.kind == Pattern::exact        ? "#"
                       : text.kind == Pattern::subdomains ? "."
                                                          : "";
    return sign.append(text.name);
}

}  // namespace postern::route

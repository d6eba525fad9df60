#include "postern/route/table.h"

#include <sys/mman.h>

#include <algorithm>

#include "bucket.h"
#include "postern/mail/local_part.h"

namespace postern::route {

namespace {

// As many suffixes as are hashed, and fetched, before the first is looked at: names have two to four labels, and what the rules
// know of longer ones is found by looking at these.
constexpr unsigned ahead = 4;

}  // namespace

Table::~Table() {
    if (buckets_ != nullptr) {
        munmap(buckets_, bucket_octets());
    }
}

std::size_t Table::bucket_octets() const { return sizeof(Bucket) * bucket_count_; }

std::size_t Table::octets() const {
    return bucket_octets() + rows_.capacity() * sizeof(Row) + splits_.capacity() * sizeof(Split) +
           actions_.capacity() * sizeof(Action) + targets_.capacity() * sizeof(Target);
}

Match Table::match_itself(Slot slot) const {
    if (slot.has(Bucket::split)) {
        return splits_[slot.match().rule].itself;
    }
    return slot.has(Bucket::itself) ? slot.match() : Match{};
}

Match Table::match_below(Slot slot) const {
    if (slot.has(Bucket::split)) {
        return splits_[slot.match().rule].below;
    }
    return slot.has(Bucket::below) ? slot.match() : Match{};
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
    if (!mail::make_local_part_key(query.local_part, key)) {
        return otherwise;
    }
    std::uint32_t rule = find_user(key.view(), query.domain_key);
    if (rule == none) {
        std::size_t end = key.view().find_first_of(recipient_delimiter_);
        if (end != std::string_view::npos && end > 0) {
            rule = find_user(key.view().substr(0, end), query.domain_key);
        }
    }
    return rule == none ? otherwise : Match{rule, action_of(rule)};
}

/// Looks at the suffixes from the shortest on, until one is unknown or has no longer ones.
Match Table::walk(Suffixes& suffixes, const Query& query) const {
    Match best = everything_;
    while (!suffixes.done()) {
        Hash hashes[ahead];
        unsigned count = 0;
        do {
            hashes[count] = suffixes.next();
            prefetch(hashes[count++]);
        } while (count < ahead && !suffixes.done());
        for (unsigned i = 0; i < count; ++i) {
            Slot slot = find(hashes[i]);
            if (!slot) {
                return best;
            }
            if (i + 1 == count && suffixes.done()) {
                Match own = match_itself(slot);
                best = own.found() ? own : best;
                return slot.has(Bucket::users) ? match_user(query, best) : best;
            }
            Match own = match_below(slot);
            best = own.found() ? own : best;
            if (!slot.has(Bucket::children)) {
                return best;
            }
        }
    }
    return best;
}

Match Table::look_up(const Query& query) const {
    if (query.domain_key.front() == '[') {
        Slot slot = find(hash_of(query.domain_key));
        Match own = slot ? match_itself(slot) : Match{};
        Match best = own.found() ? own : everything_;
        return slot && slot.has(Bucket::users) ? match_user(query, best) : best;
    }
    Suffixes suffixes(secrets_, query.domain_key);
    return walk(suffixes, query);
}

void Table::look_up(std::span<const Query> queries, std::span<Match> matches) const {
    POSTERN_ASSERT(queries.size() == matches.size(), "each query has its match");
    // One fetch that is under way hides behind the others; more than this many at once no memory answers.
    constexpr std::size_t together = 16;
    for (std::size_t begin = 0; begin < queries.size(); begin += together) {
        std::size_t count = std::min(together, queries.size() - begin);
        for (std::size_t i = begin; i < begin + count; ++i) {
            Suffixes suffixes(secrets_, queries[i].domain_key);
            for (unsigned n = 0; n < ahead && !suffixes.done(); ++n) {
                prefetch(suffixes.next());
            }
        }
        for (std::size_t i = begin; i < begin + count; ++i) {
            matches[i] = look_up(queries[i]);
        }
    }
}

Match Table::covering_subdomains(std::string_view key) const {
    Match best = everything_;
    Suffixes suffixes(secrets_, key);
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
        std::string_view(names_).substr(row.name, row.size_and_kind >> 3),
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

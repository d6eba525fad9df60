#include "builder.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>

#include "words.h"

namespace postern::route {

namespace {

/// Names for each place in the block: fuller costs probes, emptier costs memory.
constexpr double load_max = 0.62;

/// Rules whose places are fetched before the first is put in.
constexpr std::size_t together = 16;

}  // namespace

Builder::Builder(
    std::span<const Source> sources,
    const RuleSettings& settings,
    const Secrets& secrets,
    Parsed parsed)
    : sources_(sources), settings_(settings), parsed_(std::move(parsed)), table_(new Table) {
    table_->secrets_ = secrets;
    table_->recipient_delimiter_ = settings.recipient_delimiter;
}

Loaded Builder::build() {
    table_->targets_ = std::move(parsed_.targets);
    set_recipients();
    table_->names_ = std::move(parsed_.names);
    for (const Source& source : sources_) {
        table_->files_.emplace_back(source.name);
    }
    set_actions();
    size_block();
    errors_before_ = parsed_.errors.size();
    while (!fill_block()) {
        nodes_max_ += nodes_max_ / 4 + 16;
    }
    resolve_as();
    check_open_relay();
    if (!parsed_.errors.empty()) {
        return {nullptr, std::move(parsed_.errors)};
    }
    return {std::move(table_), {}};
}

void Builder::set_recipients() {
    if (settings_.recipients.empty()) {
        return;
    }
    for (const Target& target : table_->targets_) {
        const auto list = target.kind == TargetKind::pool ? settings_.recipients.find(target.text)
                                                          : settings_.recipients.end();
        table_->recipients_.push_back(list == settings_.recipients.end() ? nullptr : list->second);
    }
}

const Statement& Builder::statement_of(std::uint32_t rule) const {
    return parsed_.statements[parsed_.rules[rule].statement];
}

std::string_view Builder::name_of(const ParsedRule& rule) const {
    return std::string_view(table_->names_).substr(rule.name, rule.size);
}

/// The domain of a user rule's name, and any other name whole.
std::string_view Builder::domain_of(const ParsedRule& rule) const {
    std::string_view name = name_of(rule);
    return rule.kind == Pattern::user ? name.substr(name.rfind('@') + 1) : name;
}

std::uint32_t Builder::action_index(const Action& action) {
    std::string key = fmt::format(
        "{} {} {} {}",
        action.target,
        action.delivery ? mail::name_of(*action.delivery) : "",
        action.restricted,
        action.rewrite);
    auto [place, is_new] =
        actions_.try_emplace(std::move(key), static_cast<std::uint32_t>(table_->actions_.size()));
    if (is_new) {
        table_->actions_.push_back(action);
    }
    return place->second;
}

std::uint32_t Builder::action_of(const ParsedRule& rule) {
    bool everything = rule.kind == Pattern::everything;
    std::uint32_t& known = statement_actions_[rule.statement][everything ? 1 : 0];
    const Statement& statement = parsed_.statements[rule.statement];
    if (known == none && statement.as.empty()) {
        bool restricted = statement.permission == Statement::Permission::unstated
                              ? everything
                              : statement.permission == Statement::Permission::restricted;
        known = action_index({statement.target, statement.delivery, restricted, statement.rewrite});
    }
    return known;
}

void Builder::set_actions() {
    statement_actions_.assign(parsed_.statements.size(), {none, none});
    table_->rows_.reserve(parsed_.rules.size());
    for (const ParsedRule& rule : parsed_.rules) {
        const Statement& statement = parsed_.statements[rule.statement];
        bool states_permission = statement.permission != Statement::Permission::unstated;
        unsigned kind = static_cast<unsigned>(rule.kind);
        table_->rows_.push_back(
            {rule.name,
             rule.line,
             action_of(rule),
             rule.file,
             static_cast<std::uint16_t>(rule.size << 4 | (states_permission ? 8u : 0u) | kind)});
    }
}

/// How many names there will be is not known before they are put in, since rules share ancestors.
/// Linear counting (Whang et al., 1990) tells it to a fraction of a percent: each ancestor's hash
/// sets a bit of a map, and the zeros that are left tell how many different ones there were.
void Builder::size_block() {
    std::size_t rules = parsed_.rules.size();
    std::size_t bits = std::bit_ceil(std::max<std::size_t>(4096, rules));
    std::vector<std::uint64_t> map(bits / 64);
    unsigned& labels_min = table_->labels_min_;
    labels_min = mail::domain_octets_max;
    for (const ParsedRule& rule : parsed_.rules) {
        labels_min = rule.labels > 0 ? std::min<unsigned>(labels_min, rule.labels) : labels_min;
    }
    for (const ParsedRule& rule : parsed_.rules) {
        unsigned ancestors = rule.labels - std::min<unsigned>(rule.labels, labels_min) +
                             (rule.kind == Pattern::user ? 1 : 0);
        if (ancestors == 0) {
            continue;
        }
        Table::Suffixes suffixes(table_->secrets_, domain_of(rule), labels_min);
        for (unsigned i = 0; i < ancestors; ++i) {
            std::size_t bit = suffixes.next().tag & (bits - 1);
            map[bit / 64] |= std::uint64_t{1} << bit % 64;
        }
    }
    std::size_t set = 0;
    for (std::uint64_t word : map) {
        set += static_cast<std::size_t>(std::popcount(word));
    }
    double zeros = std::max(0.5, static_cast<double>(bits - set)) / static_cast<double>(bits);
    double ancestors = -static_cast<double>(bits) * std::log(zeros);
    nodes_max_ = static_cast<std::uint32_t>(static_cast<double>(rules) + 1.01 * ancestors) + 16;
}

/// False: the names did not fit, and nodes_max_ was too low.
bool Builder::fill_block() {
    Table& table = *table_;
    if (table.buckets_ != nullptr) {
        munmap(table.buckets_, table.bucket_octets());
    }
    table.bucket_count_ =
        static_cast<std::uint32_t>(std::ceil(nodes_max_ / load_max / Table::Bucket::slots));
    table.splits_.clear();
    parsed_.errors.resize(errors_before_);
    table.everything_ = {};
    nodes_ = 0;
    void* block = mmap(
        nullptr, table.bucket_octets(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    POSTERN_ASSERT(block != MAP_FAILED, "no memory for the table of rules");
    table.buckets_ = static_cast<Table::Bucket*>(block);
    madvise(block, table.bucket_octets(), MADV_HUGEPAGE);  // a refusal costs speed only

    constexpr std::size_t labels_max = 128;
    static_assert(labels_max > mail::domain_octets_max / 2);
    std::vector<Table::Hash> hashes;
    hashes.reserve(together * labels_max);
    std::size_t rules = parsed_.rules.size();
    for (std::size_t begin = 0; begin < rules; begin += together) {
        std::size_t end = std::min(rules, begin + together);
        hashes.clear();
        std::array<std::size_t, together + 1> ends{};
        for (std::size_t i = begin; i < end; ++i) {
            const ParsedRule& rule = parsed_.rules[i];
            std::size_t first = hashes.size();
            if (rule.labels == 0) {
                hashes.push_back(table.hash_of(domain_of(rule)));
            } else {
                Table::Suffixes suffixes(table.secrets_, domain_of(rule), table.labels_min_);
                while (!suffixes.done()) {
                    hashes.push_back(suffixes.next());
                }
            }
            if (rule.kind == Pattern::user) {
                hashes.push_back(table.hash_of(name_of(rule)));
            }
            for (std::size_t n = first; n < hashes.size(); ++n) {
                table.prefetch(hashes[n]);
            }
            ends[i - begin + 1] = hashes.size();
        }
        for (std::size_t i = begin; i < end; ++i) {
            std::size_t first = ends[i - begin];
            std::span<const Table::Hash> suffixes(
                hashes.data() + first, ends[i - begin + 1] - first);
            if (!insert(static_cast<std::uint32_t>(i), suffixes)) {
                return false;
            }
        }
    }
    return true;
}

/// `suffixes`: of the rule's domain, shortest first, then of a user rule the whole name's.
bool Builder::insert(std::uint32_t rule, std::span<const Table::Hash> suffixes) {
    Pattern kind = parsed_.rules[rule].kind;
    if (kind == Pattern::everything) {
        if (table_->everything_.found()) {
            duplicate(rule, table_->everything_.rule);
        } else {
            table_->everything_ = {rule, table_->action_of(rule)};
        }
        return true;
    }
    if (nodes_ + suffixes.size() > nodes_max_) {
        return false;
    }
    std::size_t domain = suffixes.size() - (kind == Pattern::user ? 2 : 1);
    for (std::size_t i = 0; i < domain; ++i) {
        put(suffixes[i], Table::Bucket::children);
    }
    if (kind == Pattern::user) {
        put(suffixes[domain], Table::Bucket::users);
    }
    set_rule(put(suffixes.back(), 0), rule);
    return true;
}

/// The name's slot, a new one if need be, with `mark` set.
Table::Slot Builder::put(const Table::Hash& hash, std::uint8_t mark) {
    Table::Slot slot = table_->find(hash);
    if (!slot) {
        auto at = static_cast<std::uint32_t>(
            static_cast<std::uint64_t>(hash.place) * table_->bucket_count_ >> 32);
        while (!slot) {
            Table::Bucket& bucket = table_->buckets_[at];
            for (unsigned i = 0; i < Table::Bucket::slots && !slot; ++i) {
                if ((bucket.marks[i] & Table::Bucket::used) == 0) {
                    slot = {&bucket, i};
                }
            }
            bucket.overflowed = slot ? bucket.overflowed : 1;
            at = at + 1 == table_->bucket_count_ ? 0 : at + 1;
        }
        slot.bucket->tag[slot.index] = hash.tag;
        slot.bucket->more_tag[slot.index] = hash.more_tag;
        slot.bucket->rule[slot.index] = none;
        slot.bucket->action[slot.index] = none;
        ++nodes_;
    }
    slot.marks() |= Table::Bucket::used | mark;
    return slot;
}

void Builder::set_rule(Table::Slot slot, std::uint32_t rule) {
    using Bucket = Table::Bucket;
    if (slot.has(Bucket::itself | Bucket::below | Bucket::split)) {
        split(slot, rule);
        return;
    }
    Pattern kind = parsed_.rules[rule].kind;
    slot.bucket->rule[slot.index] = rule;
    slot.bucket->action[slot.index] = table_->action_of(rule);
    slot.marks() |= kind == Pattern::subdomains ? Bucket::below
                    : kind == Pattern::domain   ? Bucket::itself | Bucket::below
                                                : Bucket::itself;
}

/// A second or third rule for one name.
void Builder::split(Table::Slot slot, std::uint32_t rule) {
    using Bucket = Table::Bucket;
    auto place = [&](std::uint32_t r) {
        Pattern kind = parsed_.rules[r].kind;
        return kind == Pattern::subdomains ? 1u : kind == Pattern::domain ? 2u : 0u;
    };
    std::uint32_t first = slot.bucket->rule[slot.index];
    if (!slot.has(Bucket::split)) {
        if (place(first) == place(rule)) {
            duplicate(rule, first);
            return;
        }
        slot.bucket->rule[slot.index] = static_cast<std::uint32_t>(table_->splits_.size());
        slot.marks() |= Bucket::split;
        slot.marks() &= static_cast<std::uint8_t>(~(Bucket::itself | Bucket::below));
        table_->splits_.emplace_back().rules[place(first)] = first;
    }
    Table::Split& split = table_->splits_[slot.bucket->rule[slot.index]];
    if (split.rules[place(rule)] != none) {
        duplicate(rule, split.rules[place(rule)]);
        return;
    }
    split.rules[place(rule)] = rule;
    table_->settle(split);
}

void Builder::duplicate(std::uint32_t rule, std::uint32_t first) {
    const ParsedRule& earlier = parsed_.rules[first];
    std::string_view text = sources_[earlier.file].text;
    error(
        rule,
        word_at(rule, 0),
        fmt::format(
            "the same pattern stands at {}; allowed: one rule for each",
            place(
                sources_[earlier.file].name,
                earlier.line,
                line_at(text, earlier.text),
                word_at(first, 0))));
}

/// `#` goes before the plain pattern for the domain itself, `.` for its subdomains.
void Table::settle(Split& split) const {
    auto match = [&](std::uint32_t rule, std::uint32_t otherwise) {
        std::uint32_t taken = rule != none ? rule : otherwise;
        return taken == none ? Match{} : Match{taken, action_of(taken)};
    };
    split.itself = match(split.rules[0], split.rules[2]);
    split.below = match(split.rules[1], split.rules[2]);
}

void Builder::error(std::uint32_t rule, std::size_t at, std::string_view what) {
    const ParsedRule& parsed = parsed_.rules[rule];
    const Source& source = sources_[parsed.file];
    parsed_.errors.push_back(fmt::format(
        "{}: {}", place(source.name, parsed.line, line_at(source.text, parsed.text), at), what));
}

std::size_t Builder::word_at(std::uint32_t rule, unsigned word) const {
    const ParsedRule& parsed = parsed_.rules[rule];
    return split_words(line_at(sources_[parsed.file].text, parsed.text)).words[word].begin;
}

/// Gives each as: rule the action of the rule that it names, following chains of them.
void Builder::resolve_as() {
    enum class State : std::uint8_t { untouched, on_path, failed };
    std::vector<State> states(parsed_.rules.size());
    std::vector<std::uint32_t> path;
    for (std::uint32_t rule = 0; rule < parsed_.rules.size(); ++rule) {
        std::uint32_t at = rule;
        while (is_as(at) && table_->action_of(at) == none && states[at] == State::untouched) {
            states[at] = State::on_path;
            path.push_back(at);
            at = table_->look_up({statement_of(at).as, {}}).rule;
            if (at == none) {
                break;
            }
        }
        if (path.empty()) {
            continue;
        }
        if (at == none) {
            error(
                path.back(),
                word_at(path.back(), 1),
                fmt::format(
                    "as:{}: no rule matches that name; allowed: a name that one does",
                    statement_of(path.back()).as));
        } else if (states[at] == State::on_path) {
            std::string circle;
            for (auto i = std::find(path.begin(), path.end(), at); i != path.end(); ++i) {
                circle += fmt::format("{} as:{}, ", table_->pattern_of(*i), statement_of(*i).as);
            }
            circle.resize(circle.size() - 2);
            error(
                path.back(),
                word_at(path.back(), 1),
                fmt::format(
                    "as: goes round in a circle ({}); allowed: names whose rules end in a target",
                    circle));
        }
        bool good = at != none && table_->action_of(at) != none;
        while (!path.empty()) {
            if (good) {
                take_over(path.back(), at);
                at = path.back();
            }
            states[path.back()] = good ? State::untouched : State::failed;
            path.pop_back();
        }
    }
}

void Builder::take_over(std::uint32_t rule, std::uint32_t from) {
    const Statement& statement = statement_of(rule);
    Action action = table_->action(table_->action_of(from));
    action.rewrite = statement.rewrite;
    action.delivery = statement.delivery ? statement.delivery : action.delivery;
    if (statement.permission != Statement::Permission::unstated) {
        action.restricted = statement.permission == Statement::Permission::restricted;
    }
    std::uint32_t index = action_index(action);
    table_->rows_[rule].action = index;
    if (parsed_.rules[rule].kind == Pattern::everything) {
        table_->everything_.action = index;
        return;
    }
    Table::Slot slot = table_->find(table_->hash_of(name_of(parsed_.rules[rule])));
    if (slot.has(Table::Bucket::split)) {
        table_->settle(table_->splits_[slot.match().rule]);
    } else if (slot.match().rule == rule) {
        slot.bucket->action[slot.index] = index;
    }
}

void Builder::check_open_relay() {
    const Match& match = table_->everything_;
    if (!match.found() || match.action == none || settings_.allow_open_relay) {
        return;
    }
    const Action& action = table_->action(match.action);
    TargetKind kind = table_->targets_[action.target].kind;
    if (!action.restricted && kind != TargetKind::reject && kind != TargetKind::defer) {
        error(
            match.rule,
            word_at(match.rule, 0),
            "'*' with always-relay is an open relay, anyone could send to everyone; allowed: "
            "restricted (its default), "
            "or always-relay with relay.allow_open_relay = true");
    }
}

Loaded load(std::span<const Source> sources, const RuleSettings& settings, const Secrets& secrets) {
    return Builder(sources, settings, secrets, parse(sources, settings)).build();
}

}  // namespace postern::route

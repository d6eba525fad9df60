#include "postern/route/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "loading.h"
#include "postern/mail/domain.h"

namespace postern::route {
namespace {

/// The pattern that takes a recipient, or "-".
std::string taken_by(
    const Table& table, std::string_view domain, std::string_view local_part = "user") {
    mail::DomainKey key;
    if (!mail::make_domain_key(domain, key)) {
        return "impossible";
    }
    Match match = table.look_up({key.view(), local_part});
    EXPECT_EQ(match.found(), match.action != none);
    return match.found() ? table.pattern_of(match.rule) : "-";
}

std::unique_ptr<const Table> table_of(std::string_view text, RuleSettings settings = two_pools()) {
    Loaded loaded = load_text(text, settings);
    EXPECT_TRUE(loaded.errors.empty()) << loaded.errors.front();
    return std::move(loaded.table);
}

TEST(Table, TellsTheKindsOfPatternApart) {
    auto table = table_of(
        "plain.com one\n#exact.com one\n=equal.com one\n.below.com one\n[192.0.2.7] one\n"
        "[IPv6:2001:DB8:0::7] one\n* two\n");
    EXPECT_EQ(taken_by(*table, "plain.com"), "plain.com");
    EXPECT_EQ(taken_by(*table, "a.plain.com"), "plain.com");
    EXPECT_EQ(taken_by(*table, "c.b.a.plain.com"), "plain.com");
    EXPECT_EQ(taken_by(*table, "notplain.com"), "*");
    EXPECT_EQ(taken_by(*table, "com"), "*");
    EXPECT_EQ(taken_by(*table, "exact.com"), "#exact.com");
    EXPECT_EQ(taken_by(*table, "a.exact.com"), "*");
    EXPECT_EQ(taken_by(*table, "Equal.COM."), "#equal.com");
    EXPECT_EQ(taken_by(*table, "below.com"), "*");
    EXPECT_EQ(taken_by(*table, "a.below.com"), ".below.com");
    EXPECT_EQ(taken_by(*table, "b.a.below.com"), ".below.com");
    EXPECT_EQ(taken_by(*table, "[192.0.2.7]"), "[192.0.2.7]");
    EXPECT_EQ(taken_by(*table, "[192.0.2.8]"), "*");
    EXPECT_EQ(taken_by(*table, "[IPv6:2001:db8::7]"), "[ipv6:2001:db8::7]");
}

TEST(Table, PutsTheMoreExactRuleOfOneDomainFirst) {
    const char* const lines[] = {"example.com one\n", "#example.com one\n", ".example.com one\n"};
    int order[] = {0, 1, 2};
    do {
        std::string text;
        for (int i : order) {
            text += lines[i];
        }
        auto table = table_of(text);
        EXPECT_EQ(taken_by(*table, "example.com"), "#example.com");
        EXPECT_EQ(taken_by(*table, "a.example.com"), ".example.com");
    } while (std::next_permutation(std::begin(order), std::end(order)));
    auto with_exact = table_of("example.com one\n#example.com two\n");
    EXPECT_EQ(taken_by(*with_exact, "example.com"), "#example.com");
    EXPECT_EQ(taken_by(*with_exact, "a.example.com"), "example.com");
    auto with_below = table_of(".example.com two\nexample.com one\n");
    EXPECT_EQ(taken_by(*with_below, "example.com"), "example.com");
    EXPECT_EQ(taken_by(*with_below, "a.example.com"), ".example.com");
}

// architecture.md, "Snapshots": holes that other programs' matchers have.
TEST(Table, HasNotTheKnownHoles) {
    auto table = table_of(".example.com one\n#a.www.example.com two\n.d.org one\n");
    EXPECT_EQ(taken_by(*table, "b.www.example.com"), ".example.com");
    EXPECT_EQ(taken_by(*table, "www.example.com"), ".example.com");
    EXPECT_EQ(taken_by(*table, "a.www.example.com"), "#a.www.example.com");
    EXPECT_EQ(taken_by(*table, "x.a.www.example.com"), ".example.com");
    EXPECT_EQ(taken_by(*table, "a.b.d.org"), ".d.org");
    EXPECT_EQ(taken_by(*table, "ad.org"), "-");
    EXPECT_EQ(taken_by(*table, "a.ad.org"), "-");
}

TEST(Table, PutsARuleForOneRecipientAboveAll) {
    auto table = table_of(
        "example.com one\n#example.com one\nBob@example.com two\n\"john doe@example.com\" two\n"
        "\"a@b\"@example.com two\nx+tag@example.com two\nx@example.com one\n"
        "carol@other.org one\ndave@[192.0.2.7] one\n");
    EXPECT_EQ(taken_by(*table, "example.com", "bob"), "bob@example.com");
    EXPECT_EQ(taken_by(*table, "EXAMPLE.com", "BOB"), "bob@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "\"b\\ob\""), "bob@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "bob+lists+x"), "bob@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "bobby"), "#example.com");
    EXPECT_EQ(taken_by(*table, "a.example.com", "bob"), "example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "\"John Doe\""), "john doe@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "\"a@b\""), "a@b@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "x+TAG"), "x+tag@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "x+tag+more"), "x@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "+x"), "#example.com");
    EXPECT_EQ(taken_by(*table, "other.org", "carol"), "carol@other.org");
    EXPECT_EQ(taken_by(*table, "other.org", "dave"), "-");
    EXPECT_EQ(taken_by(*table, "[192.0.2.7]", "dave"), "dave@[192.0.2.7]");
    EXPECT_EQ(taken_by(*table, "[192.0.2.7]", "carol"), "-");
    EXPECT_EQ(taken_by(*table, "example.com", std::string(2000, 'x')), "#example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "bob+" + std::string(200, 'x')), "bob@example.com");
    EXPECT_EQ(
        taken_by(*table, "example.com", "\"BOB+" + std::string(200, 'x') + "\""),
        "bob@example.com");
    EXPECT_EQ(taken_by(*table, "example.com", "bo+" + std::string(200, 'x')), "#example.com");

    const std::string longest(64, 'y');
    auto longest_table = table_of(longest + "@example.com one\n");
    EXPECT_EQ(taken_by(*longest_table, "example.com", longest + "+tag"), longest + "@example.com");
    EXPECT_EQ(taken_by(*longest_table, "example.com", longest + "y+tag"), "-");

    RuleSettings off = two_pools();
    off.recipient_delimiter = "";
    EXPECT_EQ(taken_by(*table_of("bob@example.com one\n", off), "example.com", "bob+x"), "-");
    off.recipient_delimiter = "-+";
    EXPECT_EQ(
        taken_by(*table_of("bob@example.com one\n", off), "example.com", "bob-x+y"),
        "bob@example.com");
}

TEST(Table, KnowsWhereARuleStands) {
    Source sources[] = {{"a.rules", "a.com one\n\n  #b.com two\n"}, {"b.rules", "* two\n"}};
    Loaded loaded = load(sources, two_pools(), secrets_of(1));
    ASSERT_TRUE(loaded.table != nullptr);
    EXPECT_EQ(loaded.table->rule_count(), 3u);
    RuleText text = loaded.table->text_of(1);
    EXPECT_EQ(text.file, "a.rules");
    EXPECT_EQ(text.line, 3u);
    EXPECT_EQ(text.kind, Pattern::exact);
    EXPECT_EQ(loaded.table->text_of(2).file, "b.rules");
    EXPECT_EQ(loaded.table->targets().size(), 2u);
}

// ---- the obvious algorithm, in a few lines ----

struct Obvious {
    std::map<std::string, std::uint32_t> rules;  // by pattern

    std::optional<std::uint32_t> find(const std::string& pattern) const {
        auto rule = rules.find(pattern);
        return rule == rules.end() ? std::nullopt : std::optional(rule->second);
    }

    std::uint32_t look_up(const std::string& local_part, const std::string& domain) const {
        std::string detail = local_part.substr(0, local_part.find('+'));
        for (const std::string& user : {local_part, detail}) {
            if (auto rule = find(user + "@" + domain)) {
                return *rule;
            }
        }
        if (auto rule = find("#" + domain)) {
            return *rule;
        }
        if (auto rule = find(domain)) {
            return *rule;
        }
        for (std::size_t dot = domain.find('.'); dot != std::string::npos;
             dot = domain.find('.', dot + 1)) {
            if (auto rule = find(domain.substr(dot))) {
                return *rule;
            }
            if (auto rule = find(domain.substr(dot + 1))) {
                return *rule;
            }
        }
        return find("*").value_or(none);
    }
};

class RandomNames {
   public:
    explicit RandomNames(std::uint64_t seed) : random_(seed) {}

    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

    /// Few different labels, of lengths about the hash's words of eight octets, so that names share
    /// ancestors.
    std::string domain() {
        static const char* const labels[] = {
            "a",
            "b",
            "ab",
            "com",
            "sevenxx",
            "eightxxx",
            "ninexxxxx",
            "sixteenletters1x",
            "a-label-that-is-longer-than-any-block-of-thirtytwo-octets-1234"};
        std::string name;
        for (std::uint64_t count = 1 + below(6); count > 0; --count) {
            name += labels[below(std::size(labels) - (below(8) > 0 ? 1 : 0))];
            name += count > 1 ? "." : "";
        }
        return name.size() <= mail::domain_octets_max ? name : "com";
    }

    std::string local_part() {
        static const char* const names[] = {
            "a", "bob", "bob+x", "a+b+c", "+z", "looooooooong.name"};
        return names[below(std::size(names))];
    }

   private:
    std::mt19937_64 random_;
};

TEST(Table, AgreesWithTheObviousAlgorithm) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        RandomNames names(seed);
        std::set<std::string> patterns;
        std::uint64_t wanted = 1 + names.below(seed % 10 == 0 ? 3000 : 60);
        bool only_long =
            names.below(2) == 0;  // no rule of a single label: the shortest suffixes are skipped
        for (std::uint64_t i = 0; i < wanted; ++i) {
            std::string domain = names.domain();
            if (only_long && domain.find('.') == std::string::npos) {
                continue;
            }
            switch (names.below(5)) {
                case 0:
                    patterns.insert("#" + domain);
                    break;
                case 1:
                    patterns.insert("." + domain);
                    break;
                case 2:
                    patterns.insert(names.local_part() + "@" + domain);
                    break;
                default:
                    patterns.insert(domain);
                    break;
            }
        }
        if (names.below(2) == 0 || patterns.empty()) {
            patterns.insert("*");
        }
        std::vector<std::string> lines(patterns.begin(), patterns.end());
        for (std::size_t i = lines.size(); i > 1; --i) {
            std::swap(lines[i - 1], lines[names.below(i)]);
        }
        Obvious obvious;
        std::string text;
        for (std::uint32_t i = 0; i < lines.size(); ++i) {
            obvious.rules[lines[i]] = i;
            text += lines[i] + (names.below(2) == 0 ? " one" : " two") + " restricted\n";
        }
        Loaded loaded = load_text(text, two_pools(), seed);
        ASSERT_TRUE(loaded.errors.empty()) << loaded.errors.front();
        const Table& table = *loaded.table;

        std::vector<std::string> domains, local_parts;
        for (int i = 0; i < 400; ++i) {
            domains.push_back(names.domain());
            local_parts.push_back(names.local_part());
        }
        for (const std::string& line : lines) {
            std::string domain = line.substr(line.find('@') + 1);
            domain.erase(0, domain.front() == '#' || domain.front() == '.' ? 1 : 0);
            if (domain != "*" && domain.size() + 2 <= mail::domain_octets_max) {
                domains.push_back(domain);
                domains.push_back("x." + domain);
                domains.push_back("x" + domain);
                local_parts.resize(domains.size(), "bob+x");
            }
        }
        std::vector<Query> queries;
        for (std::size_t i = 0; i < domains.size(); ++i) {
            queries.push_back({domains[i], local_parts[i]});
        }
        std::vector<Match> together(queries.size());
        table.look_up(queries, together);
        for (std::size_t i = 0; i < queries.size(); ++i) {
            std::uint32_t expected = obvious.look_up(local_parts[i], domains[i]);
            Match match = table.look_up(queries[i]);
            ASSERT_EQ(match.rule, expected) << local_parts[i] << "@" << domains[i];
            ASSERT_EQ(together[i], match) << local_parts[i] << "@" << domains[i];
            if (match.found()) {
                ASSERT_EQ(match.action, table.action_of(match.rule));
            }
        }
    }
}

// Names of every length, so that each way in which a name and its dots lie in the hash's words is
// met.
TEST(Table, FindsNamesOfEveryLength) {
    std::set<std::string> domains;
    for (std::size_t size = 1; size <= mail::domain_octets_max; ++size) {
        for (std::size_t label : {1, 7, 8, 15, 31, 32, 63}) {
            std::string name;
            while (name.size() < size) {
                name += name.size() % (label + 1) == label && size - name.size() > 1 ? '.' : 'x';
            }
            if (mail::DomainKey key; mail::make_domain_key(name, key)) {
                domains.insert(name);
            }
        }
    }
    ASSERT_GT(domains.size(), 1000u);
    std::string text;
    for (const std::string& domain : domains) {
        text += "#" + domain + " one restricted\n";
    }
    auto table = table_of(text);
    for (const std::string& domain : domains) {
        ASSERT_EQ(taken_by(*table, domain), "#" + domain);
        bool has_room = std::min(domain.find('.'), domain.size()) < mail::label_octets_max;
        if (has_room && domain.size() < mail::domain_octets_max) {
            ASSERT_EQ(taken_by(*table, "y" + domain), "-");
        }
    }
}

TEST(Table, IsTheSameWhateverTheSecrets) {
    std::string text =
        "example.com one\n.example.com two\n#a.example.com two\nbob@example.com one\n";
    for (std::uint64_t seed = 1; seed < 50; ++seed) {
        Loaded loaded = load_text(text, two_pools(), seed);
        ASSERT_TRUE(loaded.table != nullptr);
        EXPECT_EQ(taken_by(*loaded.table, "example.com"), "example.com");
        EXPECT_EQ(taken_by(*loaded.table, "b.example.com"), ".example.com");
        EXPECT_EQ(taken_by(*loaded.table, "a.example.com"), "#a.example.com");
        EXPECT_EQ(taken_by(*loaded.table, "example.com", "bob"), "bob@example.com");
        EXPECT_EQ(taken_by(*loaded.table, "example.net"), "-");
    }
}

// Numbers under which all names share the first 64 of the 96 bits that a slot holds of each hash,
// and want the same bucket, as no two names in a table's life are to be expected to.
TEST(Table, TellsNamesApartThatShareMostOfTheirHash) {
    Secrets secrets = secrets_of(1);
    secrets.numbers[0] = {0, 12345};
    secrets.numbers[1] = {1, 0};  // a name's last eight octets are the lower half of its hash
    std::string text;
    std::vector<std::string> here, elsewhere;
    for (char first = 'a'; first <= 'z'; ++first) {
        for (char last = 'a'; last <= 'j'; ++last) {
            const std::string name = std::string("d.") + first + "xy" + last;
            (last < 'f' ? here : elsewhere).push_back(name);
        }
    }
    for (const std::string& name : here) {
        text += "#" + name + " one\n";
    }
    const Source source{"a.rules", text};
    const Loaded loaded = load({&source, 1}, two_pools(), secrets);
    ASSERT_TRUE(loaded.table != nullptr);
    for (const std::string& name : here) {
        EXPECT_EQ(taken_by(*loaded.table, name), "#" + name);
    }
    for (const std::string& name : elsewhere) {
        EXPECT_EQ(taken_by(*loaded.table, name), "-");
    }
}

// Real names: Debian's list of public suffixes, as rules, looked up as themselves, below, and
// misspelt.
TEST(Table, HoldsTheListOfPublicSuffixes) {
    std::ifstream file("/usr/share/publicsuffix/public_suffix_list.dat");
    ASSERT_TRUE(file.good()) << "the Debian package publicsuffix is missing";
    std::string text;
    std::vector<std::string> patterns;
    Obvious obvious;
    std::set<std::string> known;
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line.starts_with("//") || line.front() == '!') {
            continue;
        }
        bool below = line.starts_with("*.");
        mail::DomainKey key;
        ASSERT_TRUE(mail::make_domain_key(below ? line.substr(2) : line, key)) << line;
        std::string pattern = (below ? "." : "") + std::string(key.view());
        if (known.insert(pattern).second) {
            obvious.rules[pattern] = static_cast<std::uint32_t>(patterns.size());
            patterns.push_back(pattern);
            text += (below ? line.substr(1) : line) + "  one  always-relay\n";
        }
    }
    ASSERT_GT(patterns.size(), 9000u);
    auto table = table_of(text);
    for (const std::string& pattern : patterns) {
        std::string name = pattern.substr(pattern.front() == '.' ? 1 : 0);
        for (const std::string& domain : {name, "a." + name, "a.b.c." + name, "x" + name}) {
            ASSERT_EQ(table->look_up({domain, "u"}).rule, obvious.look_up("u", domain)) << domain;
        }
    }
    // The memory that issue 2 allows for a rule, beside the names.
    EXPECT_LT(table->octets() / table->rule_count(), 80u);
}

}  // namespace
}  // namespace postern::route

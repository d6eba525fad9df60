#include "postern/route/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loading.h"

namespace postern::route {
namespace {

using mail::Mode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// The one error of a text, after the file's name.
std::string error_of(std::string_view text, const RuleSettings& settings = two_pools()) {
    Loaded loaded = load_text(text, settings);
    EXPECT_EQ(loaded.table == nullptr, !loaded.errors.empty());
    if (loaded.errors.size() != 1) {
        std::string all = std::to_string(loaded.errors.size()) + " errors:";
        for (const std::string& error : loaded.errors) {
            all += "\n" + error;
        }
        return all;
    }
    EXPECT_THAT(loaded.errors[0], StartsWith("a.rules:"));
    return loaded.errors[0].substr(8);
}

Action action_of(std::string_view text, std::uint32_t rule = 0) {
    Loaded loaded = load_text(text);
    EXPECT_THAT(loaded.errors, IsEmpty()) << text;
    return loaded.errors.empty() ? loaded.table->action(loaded.table->action_of(rule)) : Action{};
}

Target target_of(std::string_view word) {
    Loaded loaded = load_text("example.com " + std::string(word) + "\n");
    EXPECT_THAT(loaded.errors, IsEmpty()) << word;
    return loaded.errors.empty() ? loaded.table->targets()[0] : Target{};
}

std::string file_of(std::size_t lines) {
    std::string text;
    for (std::size_t i = 0; i < lines; ++i) {
        text += "d" + std::to_string(i) + ".com one\n";
    }
    return text;
}

TEST(Rules, ReadsMarksLineEndsBlanksAndComments) {
    Loaded loaded = load_text(
        "\xef\xbb\xbf"
        "a.com one\r\n"
        "\t b.com\t \ttwo \t\r\n"
        "\r\n"
        "# a comment\n"
        "## another\n"
        "#\n"
        "; a third\n"
        "c.com one # behind a rule\n"
        "d.com one;behind a rule\n"
        "e.com one ## so is this\n"
        "f.com one #\n"
        "#g.com one\n"
        "h.com reject:\"a ; b # c\"\n"
        "\"i.com\" \"one\"\n");
    ASSERT_THAT(loaded.errors, IsEmpty());
    EXPECT_EQ(loaded.table->rule_count(), 9u);
    EXPECT_EQ(loaded.table->pattern_of(6), "#g.com");
    EXPECT_EQ(loaded.table->text_of(1).line, 2u);
    EXPECT_EQ(loaded.table->text_of(8).line, 14u);
    bool found = false;
    for (const Target& target : loaded.table->targets()) {
        found |= target == Target{TargetKind::reject, "a ; b # c"};
    }
    EXPECT_TRUE(found);
}

TEST(Rules, NeedsWholeFiles) {
    EXPECT_EQ(
        error_of("a.com one\nb.com one"),
        "2:10: the file does not end in a newline, so it may be cut short; allowed: whole lines");
    EXPECT_EQ(
        error_of(""),
        "1:1: no rule in any of the rules files; a rule is PATTERN TARGET [OPTION ...]");
    EXPECT_EQ(
        error_of("# nothing\n"),
        "1:1: no rule in any of the rules files; a rule is PATTERN TARGET [OPTION ...]");
    EXPECT_THAT(
        load({}, two_pools(), secrets_of(1)).errors,
        ElementsAre("rules.files:1:1: no rule in any of the rules files; a rule is PATTERN TARGET "
                    "[OPTION ...]"));
}

TEST(Rules, BoundsItsLines) {
    std::string longest = "a.com one ;" + std::string(4096 - 11, 'x');
    EXPECT_THAT(load_text(longest + "\n").errors, IsEmpty());
    EXPECT_THAT(load_text(longest + "\r\n").errors, IsEmpty());
    EXPECT_EQ(
        error_of("b.com one\n" + longest + "x\n"),
        "2:4097: the line has 4097 octets; allowed: 4096");
}

TEST(Rules, IsUtf8Text) {
    EXPECT_EQ(
        error_of("a.com one # caf\xe9\n"), "1:16: octets that are not UTF-8; allowed: UTF-8 text");
    EXPECT_EQ(
        error_of("a.com one # \xc3\xa9\xed\xa0\x80\n"),
        "1:14: octets that are not UTF-8; allowed: UTF-8 text");
    for (const char* bad :
         {"\xc0\x80", "\xf5\x80\x80\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xc3"}) {
        EXPECT_EQ(
            error_of("a.com one ; " + std::string(bad) + "\n"),
            "1:13: octets that are not UTF-8; allowed: UTF-8 text");
    }
    EXPECT_THAT(
        load_text("a.com one ; \xc3\xa9 \xe2\x82\xac \xf0\x9f\x93\xac\n").errors, IsEmpty());
    EXPECT_EQ(
        error_of(std::string("a.com one ; 0123\0\n", 18)),
        "1:17: a control character; allowed: UTF-8 text");
    EXPECT_EQ(error_of("a.com one\x7f\n"), "1:10: a control character; allowed: UTF-8 text");
    EXPECT_EQ(error_of("a.com\rone\n"), "1:6: a control character; allowed: UTF-8 text");
}

TEST(Rules, QuotesValues) {
    EXPECT_EQ(target_of("reject:\"no \\\"such\\\" \\\\ user\"").text, "no \"such\" \\ user");
    EXPECT_EQ(target_of("\"reject:no such user\"").text, "no such user");
    EXPECT_EQ(
        error_of("a.com \"reject:no\n"),
        "1:7: a quote is not closed; a value with blanks stands in double quotes");
    EXPECT_EQ(
        error_of("a.com \"reject:\\n\"\n"),
        "1:15: inside quotes a backslash stands before '\"' or '\\' only");
    EXPECT_EQ(error_of("a.com one 3 4 5 6 7 8 9\n"), "1:23: too many words");
}

TEST(Rules, TellsAllErrorsInOneGoAndColumnsInCharacters) {
    Source sources[] = {
        {"a.rules", "a..com one\nb.com nosuch restricted restricted bogus\nok.com one\n"},
        {"b.rules", "bücher.example\tone\tdelivery=fast\nok.com two\n"}};
    Loaded loaded = load(sources, two_pools(), secrets_of(1));
    EXPECT_TRUE(loaded.table == nullptr);
    EXPECT_THAT(
        loaded.errors,
        ElementsAre(
            "a.rules:1:3: 'a..com' is no domain: a label is empty",
            StartsWith(
                "a.rules:2:7: no pool 'nosuch'; the configuration has one, two; a target is"),
            "a.rules:2:25: a rule has one of always-relay and restricted, once",
            StartsWith("a.rules:2:36: 'bogus' is no option; allowed: always-relay, restricted, "),
            "b.rules:1:29: delivery=fast is unknown; allowed: sync, hybrid, queue",
            "b.rules:2:1: the same pattern stands at a.rules:3:1; allowed: one rule for each"));
}

TEST(Rules, RefusesTheSamePatternTwiceInAnyWriting) {
    const char* const pairs[][2] = {
        {"example.com", "EXAMPLE.com."},
        {"#example.com", "=example.com"},
        {".example.com", ".Example.com"},
        {"bücher.example", "xn--bcher-kva.example"},
        {"[IPv6:2001:db8::7]", "[ipv6:2001:DB8:0:0::7]"},
        {"[192.0.2.7]", "[192.0.2.07]"},
        {"bob@example.com", "\"\\\"BOB\\\"@example.com\""},
        {"*", "*"}};
    for (auto [first, second] : pairs) {
        EXPECT_EQ(
            error_of(" " + std::string(first) + " one\n  " + second + " two\n"),
            "2:3: the same pattern stands at a.rules:1:2; allowed: one rule for each")
            << first;
    }
    // The third rule for a domain that '#' and '.' rules hide is found out all the same.
    EXPECT_EQ(
        error_of("#a.com one\n.a.com one\na.com one\na.com two\n"),
        "4:1: the same pattern stands at a.rules:3:1; allowed: one rule for each");
    EXPECT_THAT(load_text("a.com one\n#a.com one\n.a.com one\n").errors, IsEmpty());
    std::string many = file_of(1000);
    EXPECT_EQ(load_text(many + many).errors.size(), 1000u);
}

TEST(Rules, NamesTheRightFormOfForeignPatterns) {
    const char* const rows[][2] = {
        {"*.example.com", "1:1: '*.example.com' is written '.example.com' here"},
        {"@example.com", "1:1: '@example.com' is written '#example.com' here"},
        {"*@example.com", "1:1: '*@example.com' is written '#example.com' here"},
        {"/^example\\.com$/", "there are no regular expressions here"},
        {"/.*@example\\.com/i", "there are no regular expressions here"},
        {"^example.com", "there are no regular expressions here"},
        {"~example.com", "there are no regular expressions here"},
        {"!example.com", "there are no exceptions here; 'example.com' gets a rule of its own"},
        {"<example.com>", "'<example.com>' is written 'example.com' here"},
        {"example.*", "'*' stands alone here"},
        {"#*", "'*' stands alone here"},
        {"hash:/etc/postfix/transport", "is another program's map"},
        {"192.0.2.0/24", "a network is no pattern"},
        {"example.com:", "'example.com:' is written 'example.com' here, without the colon"},
        {"192.0.2.7", "1:1: an address stands in brackets: '[192.0.2.7]'"},
        {"2001:db8::7", "1:1: an address stands in brackets: '[IPv6:2001:db8::7]'"}};
    for (auto [pattern, expected] : rows) {
        EXPECT_THAT(error_of(std::string(pattern) + " one\n"), HasSubstr(expected)) << pattern;
    }
}

TEST(Rules, RefusesPatternsThatAreNone) {
    std::string label64(64, 'a');
    const std::pair<std::string, const char*> rows[] = {
        {"a..com", "1:3: 'a..com' is no domain: a label is empty"},
        {"#a..com", "1:4: 'a..com' is no domain: a label is empty"},
        {"..a.com", "1:2: '.a.com' is no domain: a label is empty"},
        {"-a.com", "1:1: '-a.com' is no domain: a label begins with a hyphen"},
        {label64 + ".com", "a label is longer than 63 octets"},
        {"a$b.com",
         "1:2: 'a$b.com' is no domain: a domain has letters, digits, hyphens and dots only"},
        {"[192.0.2.256]", "an address literal is [192.0.2.7] or [IPv6:2001:db8::7]"},
        {"[2001:db8::7]", "an address literal is [192.0.2.7] or [IPv6:2001:db8::7]"},
        {"#[192.0.2.7]", "1:1: an address literal has no subdomains"},
        {"\"\"", "1:1: the pattern is empty"},
        {"bob@", "1:5: '' is no domain: the domain is empty"},
        {"bob@a..com", "1:7: 'a..com' is no domain: a label is empty"},
        {label64 + "x@a.com", "a local part has 1 to 64 octets (RFC 5321, 4.5.3.1.1)"},
        {"#bob@a.com", "1:1: '#bob@a.com': the '#' of a comment stands before a blank"}};
    for (const auto& [pattern, expected] : rows) {
        EXPECT_THAT(error_of(pattern + " one\n"), HasSubstr(expected)) << pattern;
    }
    EXPECT_THAT(load_text("\"#bob@a.com\" one\n").errors, IsEmpty());
}

TEST(Rules, ReadsTargets) {
    using K = TargetKind;
    EXPECT_EQ(target_of("one"), (Target{K::pool, "one"}));
    EXPECT_EQ(target_of("192.0.2.1"), (Target{K::address, "192.0.2.1:25"}));
    EXPECT_EQ(target_of("192.0.2.1:2525"), (Target{K::address, "192.0.2.1:2525"}));
    EXPECT_EQ(target_of("[192.0.2.1]"), (Target{K::address, "192.0.2.1:25"}));
    EXPECT_EQ(target_of("[192.0.2.1]:26"), (Target{K::address, "192.0.2.1:26"}));
    EXPECT_EQ(target_of("[2001:DB8:0::1]"), (Target{K::address, "[2001:db8::1]:25"}));
    EXPECT_EQ(target_of("[2001:db8::1]:26"), (Target{K::address, "[2001:db8::1]:26"}));
    EXPECT_EQ(target_of("[IPv6:2001:db8::1]:26"), (Target{K::address, "[2001:db8::1]:26"}));
    EXPECT_EQ(target_of("mx1.internal"), (Target{K::host, "mx1.internal:25"}));
    EXPECT_EQ(target_of("MX1.Internal.:2525"), (Target{K::host, "mx1.internal:2525"}));
    EXPECT_EQ(target_of("localhost:26"), (Target{K::host, "localhost:26"}));
    EXPECT_EQ(
        target_of("b\xc3\xbc"
                  "cher.example"),
        (Target{K::host, "xn--bcher-kva.example:25"}));
    EXPECT_EQ(target_of("mx:example.net"), (Target{K::mx, "example.net:25"}));
    EXPECT_EQ(target_of("mx:Example.net:26"), (Target{K::mx, "example.net:26"}));
    EXPECT_EQ(target_of("reject"), (Target{K::reject, ""}));
    EXPECT_EQ(target_of("reject:gone"), (Target{K::reject, "gone"}));
    EXPECT_EQ(target_of("defer:\"try: later\""), (Target{K::defer, "try: later"}));
    EXPECT_EQ(target_of("reject:" + std::string(500, 'x')).text.size(), 500u);
}

TEST(Rules, RefusesTargetsThatAreNone) {
    const std::pair<std::string, const char*> rows[] = {
        {"", "1:7: the rule has no target; a rule is PATTERN TARGET [OPTION ...]"},
        {"\"\"", "1:7: the target is empty; a target is a pool's name, "},
        {"One", "1:7: no pool 'One'; the configuration has one, two; a target is a pool's name, "},
        {"192.0.2.1:0", "1:17: '0' is no port; allowed: 1 to 65535"},
        {"192.0.2.1:65536", "1:17: '65536' is no port"},
        {"192.0.2.1:", "1:17: '' is no port"},
        {"[192.0.2.1]25", "1:18: behind an address stands nothing, or a colon and a port"},
        {"[192.0.2.1]:x", "1:19: 'x' is no port"},
        {"[192.0.2.1", "1:7: the bracket is not closed"},
        {"[mx1.internal]", "'[mx1.internal]' is written 'mx1.internal' here"},
        {"[mx1.internal]:26", "'[mx1.internal]:26' is written 'mx1.internal:26' here"},
        {"reject:", "1:13: behind the colon stands a text"},
        {"reject:\"\"", "behind the colon stands a text"},
        {"reject:caf\xc3\xa9", "the text of an answer is printable ASCII"},
        {"reject:" + std::string(501, 'x'), "the text has 501 octets; allowed: 500"},
        {"mx:[192.0.2.1]", "1:10: '[192.0.2.1]' is no host name: an address stands there without"},
        {"mx:a..b", "1:12: 'a..b' is no host name: a label is empty"},
        {"mx:", "1:10: '' is no host name: the domain is empty"},
        {"mx1.internal:99999", "1:20: '99999' is no port"},
        {"256.1.1.1", "'256.1.1.1' is no IPv4 address; allowed: 192.0.2.1[:port]"},
        {"as:", "1:10: as: stands before a domain; '' is none: the domain is empty"},
        {"as:a..b", "1:12: as: stands before a domain; 'a..b' is none: a label is empty"}};
    for (const auto& [target, expected] : rows) {
        EXPECT_THAT(error_of("a.com " + target + "\n"), HasSubstr(expected)) << target;
    }
    RuleSettings no_pools;
    EXPECT_THAT(
        error_of("a.com one\n", no_pools), HasSubstr("no pool 'one'; the configuration has none;"));
}

TEST(Rules, NamesTheRightFormOfForeignTargets) {
    const char* const rows[][2] = {
        {"smtp:[mx1.internal]", "1:7: 'smtp:[mx1.internal]' is written 'mx1.internal' here"},
        {"smtp:[mx1.internal]:26", "is written 'mx1.internal:26' here"},
        {"smtp:mx1.internal", "is written 'mx1.internal' here"},
        {"relay:mx1.internal", "'relay:mx1.internal' is written 'mx1.internal' here"},
        {"relay:[192.0.2.1]", "is written '[192.0.2.1]' here"},
        {"smtp://mx1.internal:26", "is written 'mx1.internal:26' here"},
        {"lmtp:mx1.internal", "is written 'mx1.internal' here"},
        {":mx1.internal", "':mx1.internal' is written 'mx1.internal' here, without the colon"},
        {":[mx1.internal]", "is written 'mx1.internal' here"},
        {"error:gone", "'error:gone' is written 'reject:gone' here"},
        {"retry:later", "'retry:later' is written 'defer:later' here"},
        {"discard:", "mail is never dropped silently"},
        {"REJECT", "'REJECT' is written 'reject' here"},
        {"DEFER", "'DEFER' is written 'defer' here"},
        {"mx1.internal,mx2.internal", "several hosts make a pool"},
        {"example.net/mx", "'example.net/mx' is written 'mx:example.net' here"},
        {"2001:db8::1", "an IPv6 address stands in brackets, and without a zone: '[2001:db8::1]'"},
        {"::1", "'::1': an IPv6 address stands in brackets, and without a zone: '[::1]'"},
        {"fe80::1%eth0", "and without a zone: '[fe80::1]'"},
        {"lmtp:unix:/run/x", "a smart host is reached by SMTP over TCP alone, as HOST:PORT"},
        {"1.2.3.400", "'1.2.3.400' is no IPv4 address"},
        {"mx1.internal::26", "'mx1.internal::26' is written 'mx1.internal:26' here"},
        {"bob@example.net", "a target is no mail address"},
        {"#comment", "behind the '#' of a comment stands a blank"}};
    for (auto [target, expected] : rows) {
        EXPECT_THAT(error_of("a.com " + std::string(target) + "\n"), HasSubstr(expected)) << target;
    }
}

TEST(Rules, ReadsOptions) {
    EXPECT_FALSE(action_of("a.com one\n").restricted);
    EXPECT_TRUE(action_of("a.com one restricted\n").restricted);
    EXPECT_TRUE(action_of("* one\n").restricted);
    EXPECT_FALSE(action_of("bob@a.com one\n").restricted);
    EXPECT_FALSE(action_of("[192.0.2.7] one\n").restricted);
    EXPECT_EQ(action_of("a.com one\n").delivery, std::nullopt);
    EXPECT_EQ(action_of("a.com one delivery=sync\n").delivery, Mode::sync);
    EXPECT_EQ(action_of("a.com one delivery=hybrid\n").delivery, Mode::hybrid);
    EXPECT_EQ(action_of("a.com one delivery=queue\n").delivery, Mode::queue);
    EXPECT_EQ(action_of("a.com one rewrite=Bücher.Example.\n").rewrite, "xn--bcher-kva.example");
    const char* const rows[][2] = {
        {"restricted restricted", "1:22: a rule has one of always-relay and restricted, once"},
        {"always-relay restricted", "1:24: a rule has one of always-relay and restricted, once"},
        {"delivery=sync delivery=sync", "1:25: delivery= stands here a second time"},
        {"rewrite=a.b rewrite=a.b", "1:23: rewrite= stands here a second time"},
        {"delivery=queue delivery=sync", "1:26: delivery= stands here a second time"},
        {"delivery=Queue", "1:20: delivery=Queue is unknown; allowed: sync, hybrid, queue"},
        {"delivery=", "1:20: delivery= is unknown; allowed: sync, hybrid, queue"},
        {"rewrite=a..b", "1:21: rewrite= needs a domain; 'a..b' is none: a label is empty"},
        {"rewrite=[192.0.2.7]",
         "1:19: rewrite= needs a domain; '[192.0.2.7]' is none: it is an address literal"},
        {"always_relay",
         "1:11: 'always_relay' is no option; allowed: always-relay, restricted, delivery=MODE, "
         "rewrite=DOMAIN"},
        {"restricted=yes", "1:11: 'restricted=yes' is no option"}};
    for (auto [options, expected] : rows) {
        EXPECT_THAT(error_of("a.com one " + std::string(options) + "\n"), StartsWith(expected))
            << options;
    }
    EXPECT_EQ(
        error_of("a.com reject rewrite=b.com\n"),
        "1:14: rewrite= means nothing beside reject and defer");
    EXPECT_EQ(
        error_of("a.com defer:x delivery=sync\n"),
        "1:15: delivery= means nothing beside reject and defer");
}

TEST(Rules, SingleLabelsMustSay) {
    for (const char* pattern : {"com", "#com", ".com"}) {
        EXPECT_EQ(
            error_of(std::string(pattern) + " one\n"),
            "1:1: a pattern of a single label must state who may send to it; allowed: always-relay "
            "or "
            "restricted");
        EXPECT_THAT(load_text(std::string(pattern) + " one restricted\n").errors, IsEmpty());
        EXPECT_THAT(load_text(std::string(pattern) + " one always-relay\n").errors, IsEmpty());
    }
    EXPECT_THAT(load_text("bob@localhost one\n").errors, IsEmpty());
}

TEST(Rules, RefusesAnOpenRelay) {
    constexpr const char* expected =
        "1:1: '*' with always-relay is an open relay, anyone could send to everyone; allowed: "
        "restricted (its default), or "
        "always-relay with relay.allow_open_relay = true";
    EXPECT_EQ(error_of("* one always-relay\n"), expected);
    EXPECT_EQ(error_of("* 192.0.2.1 always-relay\n"), expected);
    EXPECT_EQ(error_of("* mx1.internal always-relay\n"), expected);
    EXPECT_EQ(error_of("* mx:example.net always-relay\n"), expected);
    EXPECT_EQ(error_of("* as:a.com\na.com one\n"), expected);
    EXPECT_THAT(load_text("* reject always-relay\n").errors, IsEmpty());
    EXPECT_THAT(load_text("* as:a.com restricted\na.com one\n").errors, IsEmpty());
    RuleSettings open = two_pools();
    open.allow_open_relay = true;
    EXPECT_THAT(load_text("* one always-relay\n", open).errors, IsEmpty());
}

TEST(Rules, TakesOverWhatOtherNamesHave) {
    constexpr const char* text =
        "a.com as:b.com\nb.com as:www.c.com restricted\nc.com two delivery=sync rewrite=x.com\n"
        "d.com as:c.com delivery=queue always-relay rewrite=y.com\n.e.com as:f.com\n#e.com one\n"
        "f.com two restricted\nbob@g.com as:[192.0.2.7]\n[192.0.2.7] two\nh.com as:zzz.org\n* "
        "two\n";
    Loaded loaded = load_text(text);
    ASSERT_THAT(loaded.errors, IsEmpty());
    const Table& table = *loaded.table;
    auto action = [&](std::uint32_t rule) { return table.action(table.action_of(rule)); };
    std::uint32_t two = action(2).target;
    EXPECT_EQ(table.targets()[two].text, "two");
    EXPECT_EQ(action(0), (Action{two, Mode::sync, true, ""}));
    EXPECT_EQ(action(1), (Action{two, Mode::sync, true, ""}));
    EXPECT_EQ(action(3), (Action{two, Mode::queue, false, "y.com"}));
    EXPECT_EQ(action(4), (Action{two, std::nullopt, true, ""}));
    EXPECT_EQ(action(7), (Action{two, std::nullopt, false, ""}));
    EXPECT_EQ(action(9), (Action{two, std::nullopt, true, ""}));
    // What a lookup gives is what the rule got.
    for (auto [domain, rule] : {std::pair("a.com", 0u), {"x.e.com", 4u}, {"h.com", 9u}}) {
        Match match = table.look_up({domain, "u"});
        EXPECT_EQ(match, (Match{rule, table.action_of(rule)})) << domain;
    }
    EXPECT_EQ(table.look_up({"g.com", "bob"}).action, table.action_of(7));

    // A chain that meets one which is followed already.
    EXPECT_THAT(load_text("a.com as:b.com\nb.com one\nc.com as:a.com\n").errors, IsEmpty());

    EXPECT_EQ(
        error_of("a.com as:b.com\n"),
        "1:7: as:b.com: no rule matches that name; allowed: a name that one does");
    EXPECT_EQ(
        error_of("a.com as:b.com\nb.com as:c.com\nc.com as:a.com\nd.com as:a.com\n"),
        "3:7: as: goes round in a circle (a.com as:b.com, b.com as:c.com, c.com as:a.com); "
        "allowed: "
        "names whose rules end in a target");
    EXPECT_THAT(
        error_of("a.com as:x.a.com\n"), HasSubstr("goes round in a circle (a.com as:x.a.com)"));
    EXPECT_THAT(error_of("* as:x.com\n"), HasSubstr("goes round in a circle (* as:x.com)"));
    std::string chain = "z.com one\nd0.com as:z.com\n";
    for (int i = 1; i < 20000; ++i) {
        chain = "d" + std::to_string(i) + ".com as:d" + std::to_string(i - 1) + ".com\n" + chain;
    }
    EXPECT_THAT(load_text(chain).errors, IsEmpty());
}

// Wherever a good file is cut, it is either good still or every error names a place in it.
TEST(Rules, SurvivesEveryCut) {
    std::string text =
        "\xef\xbb\xbf"
        "bücher.example one restricted # c\r\n\"john doe\"@a.com reject:\"a \\\" b\"\n"
        "[IPv6:2001:db8::7] [2001:db8::1]:26 rewrite=x.com\n* as:a.com restricted\na.com two\n";
    ASSERT_THAT(load_text(text).errors, IsEmpty());
    for (std::size_t size = 0; size < text.size(); ++size) {
        Loaded loaded = load_text(std::string_view(text).substr(0, size));
        bool whole_lines = size > 0 && text[size - 1] == '\n';
        if (!whole_lines) {
            EXPECT_THAT(loaded.errors, testing::Not(IsEmpty())) << size;
        }
        for (const std::string& error : loaded.errors) {
            EXPECT_THAT(error, testing::MatchesRegex("a\\.rules:[0-9]+:[0-9]+: .*")) << size;
        }
    }
}

}  // namespace
}  // namespace postern::route

#include "postern/route/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "loading.h"

namespace postern::route {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<PoolHosts> pools = {
    {"one", {"192.0.2.1:25", "192.0.2.2:25"}}, {"two", {"[2001:db8::1]:25"}}};

std::unique_ptr<const Table> table_of(std::string_view text) {
    Loaded loaded = load_text(text);
    EXPECT_THAT(loaded.errors, IsEmpty());
    return std::move(loaded.table);
}

TEST(Explain, SaysWhatDecidesAndWhatLost) {
    auto table = table_of(
        "example.com one\n#www.example.com two restricted\n.www.example.com two\n"
        "bob@www.example.com two\nwww.example.com one delivery=sync\ncom one restricted\n* one\n");
    Explanation explanation = explain(*table, {}, "<u@www.example.com>", {});
    EXPECT_EQ(
        to_text(explanation, *table, pools),
        "u@www.example.com\n"
        "  rule      #www.example.com (a.rules:2)\n"
        "  target    pool two: [2001:db8::1]:25\n"
        "  who       clients that [relay] trusts (restricted)\n"
        "  lost      .www.example.com (a.rules:3): it is for the subdomains, not for the domain "
        "itself\n"
        "  lost      www.example.com (a.rules:5): '#www.example.com' is longer, or for the same "
        "domain goes before it\n"
        "  lost      example.com (a.rules:1): '#www.example.com' is longer, or for the same domain "
        "goes before it\n"
        "  lost      com (a.rules:6): '#www.example.com' is longer, or for the same domain goes "
        "before it\n"
        "  lost      * (a.rules:7): it is for what no other rule matches\n"
        "  answer    to anyone: 550 5.7.1 <u@www.example.com>: relaying denied\n"
        "            to trusted clients: accepted\n");

    explanation = explain(*table, {}, "Bob+x@www.example.com", From{"192.0.2.9", true});
    EXPECT_EQ(table->pattern_of(explanation.match.rule), "bob@www.example.com");
    EXPECT_THAT(
        to_text(explanation, *table, pools),
        testing::HasSubstr("  from      192.0.2.9 (trusted): accepted\n"));
    EXPECT_EQ(explanation.lost.size(), 6u);
    EXPECT_EQ(explanation.lost[0].why, "a rule for one recipient goes before those for domains");

    explanation = explain(*table, {}, "u@x.www.example.com", {});
    EXPECT_EQ(table->pattern_of(explanation.match.rule), ".www.example.com");
    EXPECT_EQ(explanation.lost[0].why, "it is for that domain alone, not for its subdomains");
}

TEST(Explain, SaysWhoAnswersForTheMailAndWhatSaysSo) {
    const auto table = table_of("a.com one\n");
    Explanation explanation = explain(*table, {}, "u@a.com", {});
    explanation.delivery = DeliveryMode{mail::Mode::queue, DeliveryMode::By::rule, {}};
    EXPECT_THAT(
        to_text(explanation, *table, pools),
        testing::HasSubstr("(always-relay)\n  delivery  queue, by the rule\n  answer"));
    explanation.delivery = DeliveryMode{
        mail::Mode::hybrid, DeliveryMode::By::general, {{"0.0.0.0:587", mail::Mode::sync}}};
    EXPECT_THAT(
        to_text(explanation, *table, pools),
        testing::HasSubstr("  delivery  hybrid, by delivery.mode\n"
                           "            sync at the listener 0.0.0.0:587\n  answer"));
    const auto json = nlohmann::json::parse(to_json(explanation, *table, pools));
    EXPECT_EQ(json["delivery"], nlohmann::json::parse(R"({"mode": "hybrid", "by": "delivery.mode",
                                  "listeners": {"0.0.0.0:587": "sync"}})"));
}

TEST(Explain, NamesTheListThatDoesNotHaveIt) {
    const Source source{"one.list", "jane@example.com\n"};
    RuleSettings settings = two_pools();
    settings.recipients["one"] = load_recipients({&source, 1}, "+", {1, 2}).list;
    const auto table = load_text("example.com one\nb.com two\n", settings).table;
    const auto text = [&](std::string_view address) {
        return to_text(explain(*table, {}, address, {}), *table, pools);
    };
    EXPECT_EQ(
        text("joe@example.com"),
        "joe@example.com\n"
        "  rule      example.com (a.rules:1)\n"
        "  target    pool one: 192.0.2.1:25, 192.0.2.2:25\n"
        "  who       anyone (always-relay)\n"
        "  listed    no: recipient is not in one.list\n"
        "  answer    to anyone: 550 5.1.1 no such recipient here\n"
        "            to trusted clients: 550 5.1.1 no such recipient here\n");
    EXPECT_THAT(text("jane@example.com"), testing::HasSubstr("  listed    yes, in one.list\n"));
    EXPECT_THAT(text("joe@b.com"), testing::Not(testing::HasSubstr("listed")));
    const auto json = [&](std::string_view address) {
        return nlohmann::json::parse(to_json(explain(*table, {}, address, {}), *table, pools));
    };
    EXPECT_EQ(json("joe@example.com")["recipients"]["listed"], false);
    EXPECT_EQ(json("joe@example.com")["recipients"]["files"][0], "one.list");
    EXPECT_EQ(json("jane@example.com")["recipients"]["listed"], true);
    EXPECT_TRUE(json("joe@b.com")["recipients"].is_null());
}

TEST(Explain, SaysWhenThereIsNothing) {
    auto table = table_of("example.com one rewrite=x.org\n");
    EXPECT_EQ(
        to_text(explain(*table, {}, "u@example.net", {}), *table, pools),
        "u@example.net\n"
        "  rule      none\n"
        "  answer    to anyone: 550 5.7.1 <u@example.net>: relaying denied\n"
        "            to trusted clients: 550 5.7.1 <u@example.net>: relaying denied\n");
    EXPECT_EQ(
        to_text(explain(*table, {}, "u@a..b", {}), *table, pools),
        "u@a..b\n  answer    553 5.1.3: a label is empty\n");
    EXPECT_EQ(explain(*table, {}, "@a.b", {}).impossible, "the local part is empty");
    Explanation routed = explain(*table, {}, "a%b@example.com", {});
    EXPECT_EQ(table->pattern_of(routed.match.rule), "example.com");
    EXPECT_EQ(routed.answer.substr(0, 9), "553 5.1.3");
    EXPECT_EQ(routed.answer_to_trusted, "");
}

TEST(Explain, FindsTheRuleInFrontOfALongTag) {
    auto table = table_of("example.com one\nanna@example.com two\n");
    const std::string address = "anna+" + std::string(70, 'x') + "@example.com";
    Explanation explanation = explain(*table, {}, address, {});
    EXPECT_EQ(table->pattern_of(explanation.match.rule), "anna@example.com");
    EXPECT_EQ(explanation.lost.size(), 1U);
}

TEST(Explain, NamesHostsAndMxDomains) {
    auto table = table_of("a.com mx1.internal:26\nb.com mx:example.net\n");
    const auto text = [&](const char* address) {
        return to_text(explain(*table, {}, address, {}), *table, pools);
    };
    EXPECT_THAT(text("u@a.com"), testing::HasSubstr("target    the host mx1.internal:26\n"));
    EXPECT_THAT(text("u@b.com"), testing::HasSubstr("target    the MX hosts of example.net:25\n"));
    const auto json =
        nlohmann::json::parse(to_json(explain(*table, {}, "u@b.com", {}), *table, pools));
    EXPECT_EQ(json["target"]["kind"], "mx");
    EXPECT_EQ(json["target"]["text"], "example.net:25");
}

TEST(Explain, IsJsonForPrograms) {
    auto table = table_of("example.com one rewrite=x.org\n* two\n");
    auto json = nlohmann::json::parse(
        to_json(explain(*table, {}, "u@example.com", From{"192.0.2.9"}), *table, pools));
    EXPECT_EQ(json["address"], "u@example.com");
    EXPECT_EQ(json["outgoing"], "u@x.org");
    EXPECT_EQ(json["rule"]["pattern"], "example.com");
    EXPECT_EQ(json["rule"]["file"], "a.rules");
    EXPECT_EQ(json["rule"]["line"], 1);
    EXPECT_EQ(json["target"]["kind"], "pool");
    EXPECT_EQ(json["target"]["hosts"], (std::vector<std::string>{"192.0.2.1:25", "192.0.2.2:25"}));
    EXPECT_EQ(json["restricted"], false);
    EXPECT_EQ(json["lost"][0]["pattern"], "*");
    EXPECT_EQ(json["from"]["accepted"], true);
    EXPECT_EQ(json["from"]["trusted"], false);

    json =
        nlohmann::json::parse(to_json(explain(*table, {}, "\xff@example.org", {}), *table, pools));
    EXPECT_EQ(json["rule"]["pattern"], "*");
    EXPECT_EQ(json["to_anyone"]["accepted"], false);
    EXPECT_EQ(json["to_trusted"]["accepted"], true);
    json = nlohmann::json::parse(to_json(explain(*table, {}, "u@-", {}), *table, pools));
    EXPECT_TRUE(json.contains("impossible"));
}

TEST(Check, CountsRulesByKind) {
    auto table = table_of(
        "a.com one\n#b.com one\n#c.com one\n.d.com one\nu@e.com one\n[192.0.2.7] one\n* two\n");
    Report report = check(*table, pools, {});
    EXPECT_THAT(report.rules_of_kind, ElementsAre(1, 2, 1, 1, 1, 1));
    EXPECT_THAT(report.warnings, IsEmpty());
}

TEST(Check, WarnsOfRulesThatChangeNothing) {
    auto table = table_of(
        "example.com one\n"
        "a.example.com one\n"  // the same as above
        "b.example.com two\n"
        "c.b.example.com one\n"                // not: b.example.com is between
        "#d.example.com one\n"                 // the same
        ".e.example.com one restricted\n"      // not: restricted
        "u@example.com one\n"                  // the same
        "u@b.example.com one\n"                // not
        "f.org two\n#f.org two\n.f.org one\n"  // line 9 hidden, 10 the same as 9
        "g.org reject\nu@g.org reject\n"       // not: another code
        "[192.0.2.7] two restricted\n* two\n"  // the same
        "u+x@b.example.com two\n"              // not: u@b.example.com goes before its domain
        "u+y@b.example.com one\n");            // the same as that
    Report report = check(*table, pools, {});
    EXPECT_THAT(
        report.warnings,
        ElementsAre(
            "a.rules:2:1: \'a.example.com' changes nothing: 'example.com' (a.rules:1) says the "
            "same",
            "a.rules:5:1: \'#d.example.com' changes nothing: 'example.com' (a.rules:1) says the "
            "same",
            "a.rules:7:1: \'u@example.com' changes nothing: 'example.com' (a.rules:1) says the "
            "same",
            "a.rules:9:1: \'f.org' changes nothing: '#' and '.' rules for its domain go before it",
            "a.rules:10:1: \'#f.org' changes nothing: 'f.org' (a.rules:9) says the same",
            "a.rules:14:1: \'[192.0.2.7]' changes nothing: '*' (a.rules:15) says the same",
            "a.rules:17:1: \'u+y@b.example.com' changes nothing: 'u@b.example.com' (a.rules:8) "
            "says the same"));
}

TEST(Check, WarnsOfPublicSuffixesWhereNothingIsStated) {
    auto table =
        table_of("co.uk one\n#com.br two\nac.uk one restricted\nexample.co.uk two\n* two\n");
    constexpr std::uint32_t all[] = {0, 1, 2, 3, 4};
    EXPECT_EQ(public_suffix_warnings(*table, std::span(all).last(4)).size(), 1u);
    EXPECT_THAT(
        public_suffix_warnings(*table, all),
        ElementsAre(
            "a.rules:1:1: \'co.uk' is a public suffix, under which anyone may register: it should "
            "state "
            "always-relay or restricted",
            "a.rules:2:1: \'#com.br' is a public suffix, under which anyone may register: it "
            "should "
            "state "
            "always-relay or restricted"));
}

TEST(Check, WarnsOfIdlePoolsAndOfOurselves) {
    auto table = table_of("example.com one\nexample.net 127.0.0.1:2525\nexample.org [::1]:2525\n");
    EXPECT_THAT(
        check(*table, pools, std::vector<std::string>{"0.0.0.0:2525", "192.0.2.2:25"}).warnings,
        ElementsAre(
            "pool.one: the smart host 192.0.2.2:25 is our own listener 192.0.2.2:25",
            "pool.two: no rule uses it",
            "rules: the smart host 127.0.0.1:2525 is our own listener 0.0.0.0:2525"));
    EXPECT_THAT(
        check(*table, pools, std::vector<std::string>{"[::]:2525"}).warnings,
        ElementsAre(
            "pool.two: no rule uses it",
            "rules: the smart host 127.0.0.1:2525 is our own listener [::]:2525",
            "rules: the smart host [::1]:2525 is our own listener [::]:2525"));
}

}  // namespace
}  // namespace postern::route

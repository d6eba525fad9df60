#include "postern/route/decide.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "loading.h"
#include "postern/mail/domain.h"

namespace postern::route {
namespace {

class Decide : public testing::Test {
   protected:
    void load(std::string_view text, const RuleSettings& settings = two_pools()) {
        Loaded loaded = load_text(text, settings);
        ASSERT_TRUE(loaded.errors.empty()) << loaded.errors.front();
        table_ = std::move(loaded.table);
    }

    /// "one" or "one as ADDRESS": accepted for that target; else the answer.
    std::string decide_for(std::string address, bool trusted = false) {
        RecipientParts parts{address, address, {}};
        mail::DomainKey key;
        std::size_t at = address.rfind('@');
        if (at != std::string::npos) {
            parts.local_part = parts.address.substr(0, at);
            EXPECT_TRUE(mail::make_domain_key(parts.address.substr(at + 1), key));
            parts.domain_key = key.view();
        }
        DecisionText text;
        Decision decision = decide(*table_, settings_, parts, trusted, text);
        if (!decision.accepted()) {
            const mail::Reply& r = decision.reply;
            return fmt::format(
                "{} {}.{}.{} {}",
                r.code,
                r.enhanced.cls,
                r.enhanced.subject,
                r.enhanced.detail,
                r.text);
        }
        std::string target = table_->targets()[table_->action(decision.match.action).target].text;
        return decision.outgoing.empty() ? target
                                         : fmt::format("{} as {}", target, decision.outgoing);
    }

    std::unique_ptr<const Table> table_;
    RelaySettings settings_;
};

TEST_F(Decide, RelaysByRuleAndTrust) {
    load("open.com one\nclosed.com two restricted\n* one\n");
    EXPECT_EQ(decide_for("u@open.com"), "one");
    EXPECT_EQ(decide_for("u@closed.com"), "550 5.7.1 <u@closed.com>: relaying denied");
    EXPECT_EQ(decide_for("u@closed.com", true), "two");
    EXPECT_EQ(decide_for("u@else.com"), "550 5.7.1 <u@else.com>: relaying denied");
    EXPECT_EQ(decide_for("u@else.com", true), "one");
    settings_.soft_reject = true;
    EXPECT_EQ(decide_for("u@else.com"), "450 4.7.1 <u@else.com>: relaying denied");
}

TEST_F(Decide, DeniesWhatNoRuleMatchesToAll) {
    load("open.com one\n");
    EXPECT_EQ(decide_for("u@else.com", true), "550 5.7.1 <u@else.com>: relaying denied");
    EXPECT_EQ(decide_for("\xc3\xbc@else.com"), "550 5.7.1 <??@else.com>: relaying denied");
}

TEST_F(Decide, AnswersAsRulesSay) {
    load(
        "a.com reject\nb.com reject:\"gone away\"\nbob@c.com reject\neve@c.com reject:never\n"
        "d.com defer\ne.com defer:later\nbob@e.com defer\nf.com reject:closed restricted\n");
    EXPECT_EQ(decide_for("u@a.com"), "550 5.1.2 mail is not taken here");
    EXPECT_EQ(decide_for("u@b.com"), "550 5.1.2 gone away");
    EXPECT_EQ(decide_for("bob@c.com"), "550 5.1.1 mail is not taken here");
    EXPECT_EQ(decide_for("eve@c.com"), "550 5.1.1 never");
    EXPECT_EQ(decide_for("u@d.com"), "450 4.1.2 mail is not taken at this time");
    EXPECT_EQ(decide_for("u@e.com"), "450 4.1.2 later");
    EXPECT_EQ(decide_for("bob@e.com"), "450 4.1.2 mail is not taken at this time");
    EXPECT_EQ(decide_for("u@f.com"), "550 5.7.1 <u@f.com>: relaying denied");
    EXPECT_EQ(decide_for("u@f.com", true), "550 5.1.2 closed");
}

TEST_F(Decide, RefusesWhomThePoolsListDoesNotHave) {
    const Source source{"one.list", "jane@a.com\njoe@inner.net\nroot@inner.net\n@all.com\n"};
    RuleSettings settings = two_pools();
    settings.recipients["one"] = load_recipients({&source, 1}, "+", {1, 2}).list;
    load(
        "a.com one\nall.com one\nb.com two\nold.com one rewrite=inner.net\nc.com one restricted\n",
        settings);
    constexpr const char* unlisted = "550 5.1.1 no such recipient here";
    EXPECT_EQ(decide_for("Jane+x@A.com"), "one");
    EXPECT_EQ(decide_for("joe@a.com"), unlisted);
    EXPECT_EQ(decide_for("joe@a.com", true), unlisted);
    EXPECT_EQ(decide_for("anyone@all.com"), "one");
    EXPECT_EQ(decide_for("anyone@b.com"), "two") << "that pool has no list";
    EXPECT_EQ(decide_for("joe@old.com"), "one as joe@inner.net");
    EXPECT_EQ(decide_for("jane@old.com"), unlisted);
    EXPECT_EQ(decide_for("jane@c.com"), "550 5.7.1 <jane@c.com>: relaying denied")
        << "who may not send does not hear who exists";
    settings_.postmaster = "root@old.com";
    settings_.postmaster_key = "old.com";
    EXPECT_EQ(decide_for("postmaster"), "one as root@inner.net");
}

TEST_F(Decide, RewritesTheDomainAndNothingElse) {
    load("a.com one rewrite=b.com\n");
    EXPECT_EQ(decide_for("\"J Doe\"+x@A.com"), "one as \"J Doe\"+x@b.com");
    EXPECT_EQ(decide_for("u@sub.a.com"), "one as u@b.com");
}

TEST_F(Decide, TakesNoRoutedLocalPartsFromStrangers) {
    load("a.com one\n");
    constexpr const char* refused =
        "553 5.1.3 a local part may not hold a route (@ % ! : or a leading / or |)";
    for (const char* address :
         {"u%b.org@a.com", "b!u@a.com", "\"u@b.org\"@a.com", "/etc@a.com", "|x@a.com"}) {
        EXPECT_EQ(decide_for(address), refused) << address;
        EXPECT_EQ(decide_for(address, true), "one") << address;
    }
    settings_.routed_local_parts = true;
    EXPECT_EQ(decide_for("u%b.org@a.com"), "one");
}

TEST_F(Decide, KnowsThePostmaster) {
    load("home.net two restricted rewrite=inner.net\na.com one\n");
    settings_.own_keys = {"gw1.example.net", "[192.0.2.25]"};
    EXPECT_EQ(decide_for("postmaster"), "550 5.1.1 no postmaster here");
    EXPECT_EQ(decide_for("other"), "550 5.1.1 no postmaster here");
    EXPECT_EQ(decide_for("postmaster@gw1.example.net"), "550 5.1.1 no postmaster here");
    EXPECT_EQ(decide_for("u@gw1.example.net"), "550 5.7.1 <u@gw1.example.net>: relaying denied");
    settings_.postmaster = "root@home.net";
    settings_.postmaster_key = "home.net";
    for (const char* address :
         {"postmaster",
          "POSTmaster",
          "Postmaster@GW1.example.net",
          "\"postmaster\"@[192.0.2.25]"}) {
        EXPECT_EQ(decide_for(address), "two as root@inner.net") << address;
    }
    EXPECT_EQ(decide_for("postmaster@a.com"), "one");
    EXPECT_EQ(
        decide_for("postmaster@sub.gw1.example.net"),
        "550 5.7.1 <postmaster@sub.gw1.example.net>: relaying denied");
    EXPECT_EQ(decide_for("other"), "550 5.1.1 no postmaster here");
    settings_.postmaster = "root@a.com";
    settings_.postmaster_key = "a.com";
    EXPECT_EQ(decide_for("postmaster"), "one as root@a.com");
    settings_.postmaster = "root@nowhere.org";
    settings_.postmaster_key = "nowhere.org";
    EXPECT_EQ(decide_for("postmaster"), "550 5.1.1 no postmaster here");
}

TEST_F(Decide, FollowsNobodyWhoseDomainCanNotBe) {
    load("* one\n");
    DecisionText text;
    EXPECT_FALSE(follow(*table_, settings_, {"u@1.2.3.4", "u", {}}, text).accepted());
    EXPECT_FALSE(follow(*table_, settings_, {"postmaster", "postmaster", {}}, text).accepted());
    EXPECT_TRUE(follow(*table_, settings_, {"u@a.com", "u", "a.com"}, text).accepted());
    settings_.postmaster = "root@a.com";
    settings_.postmaster_key = "a.com";
    EXPECT_TRUE(follow(*table_, settings_, {"postmaster", "postmaster", {}}, text).accepted());
}

TEST_F(Decide, RulesTakeThePostmasterOfOurHostnameWhereNoneIsNamed) {
    load("gw1.example.net one\n");
    settings_.own_keys = {"gw1.example.net"};
    EXPECT_EQ(decide_for("postmaster@gw1.example.net"), "one");
}

TEST_F(Decide, RestrictedRulesAreNoWayForAPostmasterWhoIsNotNamed) {
    load("* one\n");
    settings_.own_keys = {"gw1.example.net"};
    EXPECT_EQ(decide_for("postmaster@gw1.example.net"), "550 5.1.1 no postmaster here");
    EXPECT_EQ(decide_for("postmaster@gw1.example.net", true), "one");
}

TEST_F(Decide, CutsItsTextsAtTheirMemory) {
    load("a.com one\n");
    std::string address = std::string(3000, 'x') + "@b.com";
    EXPECT_EQ(decide_for(address).size(), std::string("550 5.7.1 ").size() + DecisionText().size());
}

}  // namespace
}  // namespace postern::route

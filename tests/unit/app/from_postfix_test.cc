#include "from_postfix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/route/loading.h"

namespace postern::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PostfixRules translate(std::vector<PostfixFile> files) {
    return rules_from_postfix(files, route::secrets_of(1));
}

PostfixRules transport(std::string text) {
    return translate({{"transport", std::move(text)}});
}

TEST(FromPostfix, ANameExcludesItsSubdomainsAndADotTheNameItself) {
    const PostfixRules result = transport(
        "example.com smtp:[10.0.0.1]:2525\n"
        ".example.com relay:[10.0.0.2]\n"
        "Anna@Example.COM :[10.0.0.3]\n"
        "[192.0.2.7] smtp:[10.0.0.4]\n"
        "* smtp:[ipv6:2001:db8::1]:26\n");
    EXPECT_THAT(result.errors, IsEmpty());
    EXPECT_THAT(
        result.rules,
        ElementsAre(
            "#example.com 10.0.0.1:2525",
            ".example.com 10.0.0.2",
            "anna@example.com 10.0.0.3",
            "[192.0.2.7] 10.0.0.4",
            "* [2001:db8::1]:26"));
}

TEST(FromPostfix, LogicalLinesGoOverCommentsAndEmptyLines) {
    const PostfixRules result = transport(
        "  # a comment\n"
        "\n"
        "a.test\n"
        "#b.test smtp:[10.0.0.2]\n"
        "\n"
        "\tsmtp:[10.0.0.1]   \r\n"
        "c.test\t \tsmtp:[10.0.0.3]");
    EXPECT_THAT(result.errors, IsEmpty());
    EXPECT_THAT(result.rules, ElementsAre("#a.test 10.0.0.1", "#c.test 10.0.0.3"));
}

TEST(FromPostfix, AnErrorIsARefusalAndARetryADeferral) {
    const PostfixRules result = transport(
        "a.test error:mail for *.a.test is not \"deliverable\"\n"
        "b.test error:5.1.2 gone\n"
        "c.test error:4.3.0 later\n"
        "d.test retry:5.0.0 never\n"
        "e.test retry:\n");
    EXPECT_THAT(result.errors, IsEmpty());
    EXPECT_THAT(
        result.rules,
        ElementsAre(
            "#a.test reject:\"mail for *.a.test is not \\\"deliverable\\\"\"",
            "#b.test reject:\"gone\"",
            "#c.test defer:\"later\"",
            "#d.test reject:\"never\"",
            "#e.test defer"));
}

TEST(FromPostfix, WhatHasNoEqualIsAnErrorWithItsPlaceAndTheRestStands) {
    const struct {
        const char* entry;
        const char* why;
    } cases[] = {
        {"a.test :", "as if there were no table"},
        {".a.test smtp:", "each recipient's own domain"},
        {"* relay:", "each recipient's own domain"},
        {"a.test local:", "mailboxes"},
        {"a.test virtual:", "mailboxes"},
        {"a.test discard:silently", "drops mail"},
        {"a.test lmtp:unix:/run/lmtp", "LMTP"},
        {"a.test uucp:example", "master.cf"},
        {"a.test smtp:10.0.0.1", "without brackets"},
        {"a.test smtp:[10.0.0.1", "bracket is not closed"},
        {"a.test smtp:[10.0.0.1]25", "behind a bracket"},
        {"a.test smtp:[10.0.0.1]:submission", "no number"},
        {"a.test smtp:[10.0.0.1]:99999", "no port"},
        {"a.test smtp:[10.0.0.1], [10.0.0.2]", "make a pool"},
        {"a.test smtp:[10.0.0.1] # comment", "make a pool"},
        {"a.test. smtp:[10.0.0.1]", "a dot at its end"},
        {"a..test smtp:[10.0.0.1]", "a label is empty"},
        {"@a.test smtp:[10.0.0.1]", "the whole domain"},
        {"\"a\\ b\"@a.test smtp:[10.0.0.1]", "quoted local part"},
        {"/regex/ smtp:[10.0.0.1]", "is no domain"},
        {"a.test", "no value"},
        {"ok.test smtp:[10.0.0.1]", "stands in line 1 already"},
    };

    for (const auto& one : cases) {
        SCOPED_TRACE(one.entry);
        const PostfixRules result =
            transport("OK.test smtp:[10.0.0.9]\n# comment\n" + std::string(one.entry) + "\n");
        EXPECT_THAT(result.rules, ElementsAre("#ok.test 10.0.0.9"));
        ASSERT_EQ(result.errors.size(), 1);
        EXPECT_TRUE(result.errors[0].starts_with("transport:3: ")) << result.errors[0];
        EXPECT_THAT(result.errors[0], HasSubstr(one.why));
    }
    EXPECT_THAT(
        transport("  smtp:[10.0.0.1]\n").errors,
        ElementsAre(HasSubstr("transport:1: the line begins with a blank")));
}

TEST(FromPostfix, WithRelayDomainsWhatIsNotInThemIsRestricted) {
    const PostfixRules result = translate(
        {{"transport",
          "in.test smtp:[10.0.0.1]\n"
          ".in.test smtp:[10.0.0.2]\n"
          "a.in.test smtp:[10.0.0.3]\n"
          "anna@in.test smtp:[10.0.0.4]\n"
          "out.test smtp:[10.0.0.5]\n"
          "single smtp:[10.0.0.6]\n"
          "* smtp:[10.0.0.9]\n"},
         {"relay", "in.test OK\n"}});
    EXPECT_TRUE(result.relay_domains_known);
    EXPECT_THAT(result.errors, IsEmpty());
    EXPECT_THAT(
        result.rules,
        ElementsAre(
            "#in.test 10.0.0.1",
            ".in.test 10.0.0.2",
            "#a.in.test 10.0.0.3",
            "anna@in.test 10.0.0.4",
            "#out.test 10.0.0.5 restricted",
            "#single 10.0.0.6 restricted",
            "* 10.0.0.9"));
}

TEST(FromPostfix, RelayDomainsGoWhereTheTransportMapSendsThem) {
    const PostfixRules result = translate(
        {{"relay", "a.test x\nb.up.test\nc.test x\nsingle x\n"},
         {"transport",
          "c.test smtp:[10.0.0.1]\n"
          ".up.test smtp:[10.0.0.2]\n"
          "* smtp:[10.0.0.9]\n"}});
    EXPECT_THAT(result.errors, IsEmpty());
    EXPECT_THAT(
        result.rules,
        ElementsAre(
            "#c.test 10.0.0.1",
            ".up.test 10.0.0.2 restricted",
            "* 10.0.0.9",
            "a.test 10.0.0.9",
            "b.up.test 10.0.0.2",
            ".c.test 10.0.0.9",
            "single 10.0.0.9 always-relay"));
}

TEST(FromPostfix, SubdomainsThatNothingNamesAreOneErrorForAll) {
    const PostfixRules result = translate(
        {{"transport", "a.test smtp:[10.0.0.1]\nb.test smtp:[10.0.0.2]\n"},
         {"relay", "# ours\na.test OK\nb.test OK\n"}});
    EXPECT_THAT(result.rules, ElementsAre("#a.test 10.0.0.1", "#b.test 10.0.0.2"));
    ASSERT_EQ(result.errors.size(), 1);
    EXPECT_TRUE(result.errors[0].starts_with("relay:2: ")) << result.errors[0];
    EXPECT_THAT(result.errors[0], HasSubstr("and of 1 more here"));
}

}  // namespace
}  // namespace postern::app

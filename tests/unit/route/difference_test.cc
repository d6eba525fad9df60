#include "postern/route/difference.h"

#include <gtest/gtest.h>

#include "loading.h"

namespace postern::route {
namespace {

Difference between(std::string_view before, std::string_view after) {
    const Loaded old = load_text(before);
    const Loaded now = load_text(after, two_pools(), 2);
    EXPECT_TRUE(old.errors.empty() && now.errors.empty());
    return compare(*old.table, *now.table);
}

struct Counts {
    std::uint32_t added, removed, changed, moved;
    bool operator==(const Counts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Counts& c) {
    return out << '+' << c.added << " -" << c.removed << " ~" << c.changed << " moved " << c.moved;
}

Counts counts(std::string_view before, std::string_view after) {
    const Difference difference = between(before, after);
    return {difference.added, difference.removed, difference.changed, difference.domains_moved};
}

TEST(Difference, TheSameInAnotherOrderIsNone) {
    constexpr std::string_view rules =
        "a.test one\n#b.test two\n.b.test one\nu@a.test two\n[192.0.2.1] one\n* reject\n";
    constexpr std::string_view turned =
        "* reject\n[192.0.2.1] one\nu@a.test two\n.b.test one\n=b.test two # x\nA.test. one\n";
    EXPECT_EQ(counts(rules, turned), (Counts{0, 0, 0, 0}));
    EXPECT_EQ(between(rules, turned).after, 6u);
}

TEST(Difference, EachKindOfPatternIsMatchedWithItself) {
    EXPECT_EQ(counts("a.test one\n", "a.test one\nb.test one\n"), (Counts{1, 0, 0, 0}));
    EXPECT_EQ(counts("a.test one\nu@a.test one\n", "a.test one\n"), (Counts{0, 1, 0, 0}));
    EXPECT_EQ(counts("a.test one\n* one\n", "a.test one\n* two\n"), (Counts{0, 0, 1, 0}));
    EXPECT_EQ(
        counts("a.test one\n[192.0.2.1] one\n", "a.test one\n[192.0.2.1] two\n"),
        (Counts{0, 0, 1, 0}));
    EXPECT_EQ(
        counts("a.test one\n#a.test two\n", "a.test one\n.a.test two\n"), (Counts{1, 1, 0, 1}));
}

TEST(Difference, WhatARuleSaysCounts) {
    EXPECT_EQ(counts("a.test one\n", "a.test two\n"), (Counts{0, 0, 1, 1}));
    EXPECT_EQ(counts("a.test one\n", "a.test one restricted\n"), (Counts{0, 0, 1, 0}));
    EXPECT_EQ(counts("a.test one\n", "a.test one rewrite=b.test\n"), (Counts{0, 0, 1, 0}));
    EXPECT_EQ(counts("a.test reject\n", "a.test reject:no\n"), (Counts{0, 0, 1, 0}));
    EXPECT_EQ(counts("a.test 192.0.2.1\n", "a.test 192.0.2.2\n"), (Counts{0, 0, 1, 1}));
    // The same written otherwise is no change.
    EXPECT_EQ(counts("a.test 192.0.2.1\n", "a.test [192.0.2.1]:25\n"), (Counts{0, 0, 0, 0}));
}

TEST(Difference, DomainsThatChangeTheirSmartHost) {
    // Without its rule it has that of the domain above, or of *, or none.
    EXPECT_EQ(
        counts("test one restricted\na.test two\n", "test one restricted\n"), (Counts{0, 1, 0, 1}));
    EXPECT_EQ(counts("* one\na.test two\n", "* one\n"), (Counts{0, 1, 0, 1}));
    EXPECT_EQ(counts("b.test one\na.test two\n", "b.test one\n"), (Counts{0, 1, 0, 0}));
    EXPECT_EQ(counts("* one\n", "* one\na.test two\n"), (Counts{1, 0, 0, 1}));
    EXPECT_EQ(counts("* reject\n", "* reject\na.test two\n"), (Counts{1, 0, 0, 0}));
    // Once, however many of its rules differ.
    EXPECT_EQ(
        counts("#a.test one\n.a.test one\n", "#a.test two\n.a.test two\n"), (Counts{0, 0, 2, 1}));
    EXPECT_EQ(counts("#a.test one\n.a.test one\n", "a.test two\n"), (Counts{1, 2, 0, 1}));
    EXPECT_EQ(
        counts("* one\n#a.test two\n.a.test two\n", "* one\n#a.test one\n"), (Counts{0, 1, 1, 1}));
    // Only what is below it.
    EXPECT_EQ(
        counts("* one\na.test one\n", "* one\na.test one\n.a.test two\n"), (Counts{1, 0, 0, 1}));
}

TEST(Difference, ARuleThatWasMeantToBeACommentIsWarnedOf) {
    const Difference difference =
        between("b.test two\nx.test one\n", "b.test two\n\n#x.test one\n");
    ASSERT_EQ(difference.warnings.size(), 1u);
    EXPECT_TRUE(difference.warnings[0].starts_with("a.rules:3:1: '#x.test' is the rule for that"))
        << difference.warnings[0];
    EXPECT_TRUE(between("x.test one\n", "#x.test two\n").warnings.empty());
    EXPECT_TRUE(between("x.test one\n", "#x.test one\nx.test two\n").warnings.empty());
    EXPECT_TRUE(between("#x.test one\n", "#x.test one\n").warnings.empty());
    EXPECT_TRUE(between("x.test one\nb.test one\n", "# x.test one\nb.test one\n").warnings.empty());
}

TEST(Difference, ShrinksByMoreThanAPartAndAHundred) {
    Difference difference;
    difference.before = 1000;
    difference.removed = 200;
    EXPECT_FALSE(difference.shrinks(20));
    difference.removed = 201;
    EXPECT_TRUE(difference.shrinks(20));
    EXPECT_FALSE(difference.shrinks(100));
    difference.before = difference.removed = 100;
    EXPECT_FALSE(difference.shrinks(20));
    difference.before = difference.removed = 101;
    EXPECT_TRUE(difference.shrinks(20));
}

}  // namespace
}  // namespace postern::route

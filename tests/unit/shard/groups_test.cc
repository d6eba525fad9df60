#include "groups.h"

#include <gtest/gtest.h>

#include <list>

namespace postern::shard {
namespace {

using Kind = mail::Outcome::Kind;

constexpr mail::Reply yes{250, {2, 1, 5}, "ok"};
constexpr mail::Reply later{450, {4, 2, 1}, "later"};
constexpr mail::Reply never{550, {5, 1, 1}, "never"};
constexpr mail::Reply none{};

class GroupsTest : public testing::Test {
   protected:
    /// A group with these answers to its RCPTs; it is held, unless `end` follows.
    Group& add(std::initializer_list<mail::Reply> answers, std::uint32_t pool = 0) {
        mail::Submission& part = parts_.emplace_back(arena_, tail_, chain_);
        for (const mail::Reply& answer : answers) {
            auto* const recipient = part.arena.make<mail::Recipient>();
            recipient->answer = answer;
            recipient->number = static_cast<std::uint32_t>(message.group_numbers.size());
            part.envelope.add(*recipient);
            message.group_numbers.push_back(static_cast<std::uint32_t>(message.groups.size()));
        }
        Group& group = message.groups.emplace_back();
        group.submission = &part;
        group.pool = pool;
        return group;
    }

    static void end(Group& group, Kind kind, const mail::Reply& reply = {}) {
        mail::Outcome outcome;
        outcome.kind = kind;
        outcome.reply = reply;
        group.remember(outcome);
    }

    Sum all() { return sum_of(message); }

   private:
    base::BlockPool arena_{2048, 100};
    base::BlockPool tail_{2048, 100};
    base::BlockPool chain_{1024, 100};
    std::list<mail::Submission> parts_;
    mail::Submission whole_{arena_, tail_, chain_};

   protected:
    Grouped message{whole_};
};

TEST_F(GroupsTest, WhatIsSaidOutlivesItsCall) {
    std::string text = "taken";
    std::string host = "192.0.2.1:25";
    Said said;
    said.pool = 3;
    mail::Outcome outcome;
    outcome.kind = Kind::accepted;
    outcome.reply = {250, {2, 0, 0}, text};
    outcome.host = host;
    outcome.host_has_dsn = true;
    said.remember(outcome);
    text = host = "#####";
    EXPECT_TRUE(said.has_outcome);
    EXPECT_EQ(said.outcome().kind, Kind::accepted);
    EXPECT_EQ(said.outcome().reply.text, "taken");
    EXPECT_EQ(said.outcome().host, "192.0.2.1:25");
    EXPECT_TRUE(said.outcome().host_has_dsn);
    EXPECT_EQ(said.pool, 3U);
}

TEST_F(GroupsTest, ARecipientsPart) {
    Group& group = add({yes, later});
    const mail::Recipient& first = *group.submission->envelope.first_recipient;
    const mail::Recipient& second = *group.submission->envelope.last_recipient;
    EXPECT_EQ(answer_about(group, first).code, 250);
    EXPECT_EQ(answer_about(group, second).code, 450);
    end(group, Kind::accepted, {250, {2, 0, 0}, "taken"});
    EXPECT_EQ(answer_about(group, first).text, "taken");
    EXPECT_EQ(answer_about(group, second).code, 450);
    end(group, Kind::refused, {554, {5, 7, 1}, "spam"});
    EXPECT_EQ(answer_about(group, first).code, 554);
    EXPECT_EQ(answer_about(group, second).code, 450);
    end(group, Kind::divided);
    EXPECT_EQ(answer_about(group, first).code, 250);
    end(group, Kind::unknown);
    EXPECT_EQ(answer_about(group, first).code, 451);
    EXPECT_EQ(answer_about(group, first).enhanced, (mail::EnhancedCode{4, 4, 2}));
    end(group, Kind::busy);
    EXPECT_EQ(answer_about(group, second).enhanced, (mail::EnhancedCode{4, 4, 5}));
}

TEST_F(GroupsTest, AllAccepted) {
    add({yes, yes});
    add({yes});
    EXPECT_EQ(all().accepted, 3U);
    EXPECT_FALSE(all().divided());
    for (const bool trusted : {false, true}) {
        EXPECT_TRUE(may_go(all(), trusted, true));
        EXPECT_TRUE(may_go(all(), trusted, false));
    }
}

TEST_F(GroupsTest, A4xxAmongThem) {
    add({yes, later});
    add({yes});
    EXPECT_EQ(all().temporary, 1U);
    for (const bool trusted : {false, true}) {
        EXPECT_TRUE(may_go(all(), trusted, true));
        EXPECT_FALSE(may_go(all(), trusted, false)) << "nothing is lost";
    }
}

TEST_F(GroupsTest, A5xxAmongThem) {
    add({yes});
    end(add({never}), Kind::refused, never);
    EXPECT_EQ(all().permanent, 1U);
    EXPECT_FALSE(may_go(all(), false, true));
    EXPECT_TRUE(may_go(all(), true, true));
    EXPECT_FALSE(may_go(all(), true, false));
}

TEST_F(GroupsTest, AHostThatIsAwayIsAsA4xx) {
    for (const Kind kind : {Kind::unreachable, Kind::unresolved, Kind::busy, Kind::untrusted}) {
        message.groups.clear();
        message.group_numbers.clear();
        add({yes});
        end(add({none, none}), kind);
        EXPECT_EQ(all().temporary, 2U);
        EXPECT_EQ(all().unknown, 0U);
        EXPECT_TRUE(all().trouble);
        EXPECT_TRUE(may_go(all(), false, true));
    }
}

TEST_F(GroupsTest, WhatTheSenderIsToldWhereNobodyHasIt) {
    Group& first = add({never, never});
    end(first, Kind::refused, {550, {5, 1, 1}, "first"});
    Group& second = add({none});
    end(second, Kind::refused, {554, {5, 7, 1}, "second"});
    EXPECT_EQ(all().telling.text, "never");
    EXPECT_EQ(all().of, &first);
    end(second, Kind::refused, {450, {4, 7, 1}, "second"});
    EXPECT_EQ(all().telling.text, "second");
    EXPECT_EQ(all().of, &second);
    end(add({none}), Kind::unreachable);
    EXPECT_EQ(all().telling.text, "second") << "the first that is not 5xx";
    EXPECT_EQ(all().accepted, 0U);
}

TEST_F(GroupsTest, BodiesThatAreAnsweredDifferently) {
    end(add({yes, later}), Kind::accepted, {250, {2, 0, 0}, "taken"});
    end(add({yes}), Kind::refused, {554, {5, 7, 1}, "spam"});
    end(add({yes}), Kind::unknown);
    EXPECT_EQ(all().accepted, 1U);
    EXPECT_EQ(all().temporary, 2U);
    EXPECT_EQ(all().permanent, 1U);
    EXPECT_EQ(all().unknown, 1U);
}

TEST_F(GroupsTest, TransactionsThatRecipientsTake) {
    mail::Submission& part = *add({yes, yes, yes, yes}).submission;
    std::uint32_t pool = 7;
    for (mail::Recipient* r = part.envelope.first_recipient; r != nullptr; r = r->next) {
        r->pool = pool;
        pool = 8;  // 7, 8, 8, 8
    }
    EXPECT_EQ(transactions_to(part.envelope, 7, "new.test", {2, 0}), 1U);
    EXPECT_EQ(transactions_to(part.envelope, 8, "new.test", {2, 0}), 2U);
    EXPECT_EQ(transactions_to(part.envelope, 8, "new.test", {4, 0}), 1U);
    EXPECT_EQ(transactions_to(part.envelope, 9, "new.test", {1, 0}), 1U);
    // Three recipients of two domains, and one of another.
    part.envelope.first_recipient->domain_key = "x.test";
    part.envelope.first_recipient->next->domain_key = "y.test";
    part.envelope.last_recipient->domain_key = "z.test";
    EXPECT_EQ(transactions_to(part.envelope, 8, "new.test", {9, 2}), 2U);
    EXPECT_EQ(transactions_to(part.envelope, 8, "new.test", {9, 4}), 1U);
    EXPECT_EQ(transactions_to(part.envelope, 8, "z.test", {9, 2}), 2U) << "y, z and none";
    EXPECT_EQ(transactions_to(part.envelope, 8, "z.test", {3, 3}), 2U)
        << "full, and no domain more";
    EXPECT_EQ(transactions_to(part.envelope, 8, "new.test", {3, 3}), 4U) << "at most";
    EXPECT_EQ(transactions_to(part.envelope, 7, "new.test", {9, 1}), 2U);
    EXPECT_EQ(transactions_to(part.envelope, 7, "x.test", {9, 1}), 1U);
}

TEST_F(GroupsTest, WhatATransactionTakes) {
    mail::Submission& part = *add({yes, yes, yes}).submission;
    part.envelope.first_recipient->domain_key = "x.test";
    part.envelope.first_recipient->next->domain_key = "y.test";
    part.envelope.last_recipient->domain_key = "z.test";
    for (mail::Recipient* r = part.envelope.first_recipient; r != nullptr; r = r->next) {
        r->pool = 7;
    }
    EXPECT_FALSE(takes_one_more(part.envelope, 7, "x.test", {3, 0}));
    EXPECT_TRUE(takes_one_more(part.envelope, 7, "new.test", {4, 0}));
    EXPECT_TRUE(takes_one_more(part.envelope, 7, "new.test", {4, 4}));
    EXPECT_FALSE(takes_one_more(part.envelope, 7, "new.test", {4, 3}));
    EXPECT_TRUE(takes_one_more(part.envelope, 7, "y.test", {4, 3}));
    EXPECT_TRUE(takes_one_more(part.envelope, 8, "new.test", {4, 1})) << "the others are another's";
    EXPECT_TRUE(part.envelope.fits(3, 0));
    EXPECT_TRUE(part.envelope.fits(3, 3));
    EXPECT_FALSE(part.envelope.fits(2, 0));
    EXPECT_FALSE(part.envelope.fits(3, 2));
}

TEST_F(GroupsTest, PoolsBesideTheFirst) {
    mail::Submission& part = *add({yes, yes, yes, yes, yes}).submission;
    const std::vector<std::uint32_t> pools = {7, 8, 8, 7, 9};
    std::size_t i = 0;
    for (mail::Recipient* r = part.envelope.first_recipient; r != nullptr; r = r->next) {
        r->pool = pools[i++];
    }
    part.pool = 7;
    std::vector<std::uint32_t> held;
    for_each_other_pool(part, [&](std::uint32_t pool) { held.push_back(pool); });
    EXPECT_EQ(held, (std::vector<std::uint32_t>{8, 9}));
}

}  // namespace
}  // namespace postern::shard

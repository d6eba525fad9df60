#include "bench/load/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::bench {
namespace {

using testing::ElementsAre;

using Verdict = Sender::Verdict;

class Verify : public testing::Test {
   protected:
    Verify() { plan_options.per_message = 2; }

    Delivery delivery(std::uint64_t number, std::vector<unsigned> indices) {
        Delivery made;
        made.run = 7;
        made.number = number;
        for (const unsigned index : indices) {
            std::string address;
            RecipientPlan(plan_options).append(address, number, index);
            made.recipients.push_back(recipient_sum(address));
        }
        return made;
    }

    Comparison compared() { return compare(sent, RecipientPlan(plan_options), deliveries); }

    RecipientOptions plan_options;
    SentLog sent;
    std::vector<Delivery> deliveries;
};

TEST_F(Verify, AllIsWellHoweverItWasSplit) {
    sent.fates = {
        {0, Verdict::accepted},
        {1, Verdict::accepted},
        {2, Verdict::refused},
        {3, Verdict::unsent}};
    deliveries = {delivery(1, {0}), delivery(0, {1, 0}), delivery(1, {1})};
    const Comparison result = compared();
    EXPECT_TRUE(result.good());
    EXPECT_EQ(result.expected, 4U);
    EXPECT_EQ(result.delivered, 4U);
}

TEST_F(Verify, LostAndDoubledAreCountedByRecipient) {
    sent.fates = {{0, Verdict::accepted}, {1, Verdict::accepted}};
    deliveries = {delivery(0, {0, 1}), delivery(0, {1}), delivery(0, {1})};
    deliveries[0].taken_ms = 30;
    deliveries[1].taken_ms = 10;
    deliveries[2].taken_ms = 20;
    const Comparison result = compared();
    EXPECT_THAT(result.repeats, ElementsAre(ElementsAre(10, 20, 30)));
    EXPECT_EQ(result.lost, 2U);
    EXPECT_EQ(result.duplicate, 2U);
    EXPECT_EQ(result.wrong_recipient, 0U);
    EXPECT_FALSE(result.good());
}

TEST_F(Verify, MisroutedIsNotLostAsWell) {
    sent.fates = {{0, Verdict::accepted}, {1, Verdict::accepted}};
    deliveries = {delivery(0, {0, 1}), delivery(1, {0})};
    deliveries[0].recipients[0] = 12345;
    const Comparison result = compared();
    EXPECT_EQ(result.wrong_recipient, 1U);
    EXPECT_EQ(result.lost, 1U);  // of message 1
}

TEST_F(Verify, AnotherMessagesRecipientIsWrong) {
    sent.fates = {{0, Verdict::accepted}, {1, Verdict::accepted}};
    deliveries = {delivery(0, {0, 1}), delivery(1, {0, 1})};
    std::swap(deliveries[0].recipients[0], deliveries[1].recipients[0]);
    const Comparison result = compared();
    EXPECT_EQ(result.wrong_recipient, 2U);
    EXPECT_EQ(result.lost, 0U);
}

TEST_F(Verify, RefusedMayNotCome) {
    sent.fates = {{0, Verdict::refused}, {1, Verdict::accepted}, {2, Verdict::unsent}};
    sent.refused = {{1, 1}};
    deliveries = {delivery(0, {0}), delivery(1, {0, 1}), delivery(2, {1})};
    const Comparison result = compared();
    EXPECT_EQ(result.refused_delivered, 3U);
    EXPECT_EQ(result.expected, 1U);
    EXPECT_EQ(result.lost + result.duplicate + result.wrong_recipient, 0U);
}

TEST_F(Verify, UnknownMayComeOnce) {
    sent.fates = {{0, Verdict::unknown}, {1, Verdict::unknown}, {2, Verdict::unknown}};
    deliveries = {delivery(0, {0, 1}), delivery(1, {0})};
    EXPECT_TRUE(compared().good());
    EXPECT_EQ(compared().unknown_delivered, 3U);
    deliveries.push_back(delivery(1, {0}));
    EXPECT_EQ(compared().duplicate, 1U);
}

TEST_F(Verify, DamagedAndUnexpectedAreCountedByMessage) {
    sent.fates = {{0, Verdict::accepted}};
    deliveries = {delivery(0, {0, 1}), delivery(99, {0, 1})};
    deliveries[0].header_changed = true;
    deliveries[0].body_changed = true;
    const Comparison result = compared();
    EXPECT_EQ(result.header_changed, 1U);
    EXPECT_EQ(result.body_changed, 1U);
    EXPECT_EQ(result.unexpected, 1U);
    EXPECT_EQ(result.delivered, 2U);
}

TEST_F(Verify, WhatASinkDidNotAnswerCountsForNothingElse) {
    sent.fates = {{0, Verdict::accepted}, {1, Verdict::accepted}};
    deliveries = {delivery(0, {0, 1}), delivery(0, {0, 1}), delivery(1, {0, 1})};
    deliveries[0].answered = false;
    deliveries[2].answered = false;
    const Comparison result = compared();
    EXPECT_EQ(result.unanswered, 2U);
    EXPECT_EQ(result.duplicate, 0U);
    EXPECT_EQ(result.lost, 2U);
}

TEST(DeliveryLog, GivesBackWhatWentIn) {
    DeliveryLog log;
    std::vector<Delivery> expected;
    for (std::uint64_t number = 0; number < 40000; ++number) {
        Delivery one;
        one.run = number % 3 == 0 ? 1 : 0xffffffff;
        one.number = number << 20;
        one.taken_ms = number + 5;
        one.header_changed = number % 5 == 0;
        one.body_changed = number % 7 == 0;
        one.answered = number % 11 != 0;
        one.recipients.assign(number == 5 ? 200000 : number % 4, number);
        log.append(one);
        if (one.run == 0xffffffff) {
            expected.push_back(one);
        }
    }
    std::vector<Delivery> got;
    ASSERT_TRUE(read_deliveries(log.of_run(0xffffffff), got));
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].number, expected[i].number);
        EXPECT_EQ(got[i].taken_ms, expected[i].taken_ms);
        EXPECT_EQ(got[i].header_changed, expected[i].header_changed);
        EXPECT_EQ(got[i].body_changed, expected[i].body_changed);
        EXPECT_EQ(got[i].answered, expected[i].answered);
        EXPECT_EQ(got[i].recipients, expected[i].recipients);
    }
    std::vector<std::uint64_t> cut = log.of_run(0xffffffff);
    cut.pop_back();
    got.clear();
    EXPECT_FALSE(read_deliveries(cut, got));
}

}  // namespace
}  // namespace postern::bench

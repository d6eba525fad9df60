#include "postern/spool/spool.h"

#include <gtest/gtest.h>

#include "tests/unit/spool/life.h"

namespace postern::spool {
namespace {

using test::Hand;
using test::Life;
using test::text_of_size;

TEST(Spool, KeepsAndLoadsAndFinishes) {
    sim::Disk disk;
    Life life(1);
    Hand& hand = life.hand();
    EXPECT_TRUE(hand.spool.takes());
    hand.keep(1, text_of_size(1, 4000));
    hand.keep(2, text_of_size(2, 100));
    hand.keep(3, text_of_size(3, 70000));
    hand.keep(4, "");
    EXPECT_FALSE(hand.spool.idle());
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(hand.safe_.size(), 4u);
    EXPECT_EQ(hand.spool.kept(), 4u);
    for (std::uint64_t number = 1; number <= 4; ++number) {
        hand.load(number);
    }
    ASSERT_TRUE(life.settle());
    for (const auto& [number, size] : {std::pair(1, 4000), {2, 100}, {3, 70000}, {4, 0}}) {
        EXPECT_EQ(hand.loads[number].error, "");
        EXPECT_TRUE(hand.loads[number].content == text_of_size(number, size)) << number;
    }
    hand.messages[1]->recipients()[0].attempts = 1;
    hand.spool.note(*hand.messages[1]);
    ASSERT_TRUE(life.settle());
    for (std::uint64_t number = 1; number <= 4; ++number) {
        hand.spool.finish(*hand.messages[number]);
    }
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(hand.over.size(), 4u);
    EXPECT_EQ(hand.spool.kept(), 0u);
    EXPECT_TRUE(life.sentences.empty());
    EXPECT_EQ(hand.ring->buffers(io::BufferGroup::body).used(), 0u);
}

TEST(Spool, OneWriteTakesAllOfATurn) {
    sim::Disk disk;
    Life life(1);
    Hand& hand = life.hand();
    hand.keep(1, "a");
    ASSERT_TRUE(life.settle());
    const std::uint64_t before = disk.writes();
    for (std::uint64_t number = 2; number < 22; ++number) {
        hand.keep(number, text_of_size(number, 500));
    }
    hand.spool.finish(*hand.messages[1]);
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(disk.writes() - before, 1u);
    EXPECT_EQ(hand.safe_.size(), 21u);
    EXPECT_EQ(hand.over.size(), 1u);
}

TEST(Spool, WhatWasKeptIsRecovered) {
    sim::Disk disk;
    {
        Life life(1);
        Hand& hand = life.hand();
        for (std::uint64_t number = 1; number <= 60; ++number) {
            hand.keep(number, text_of_size(number, 300 * number), number % 3 + 1);
        }
        ASSERT_TRUE(life.settle());
        for (std::uint64_t number = 1; number <= 60; number += 4) {
            hand.spool.finish(*hand.messages[number]);
        }
        KeptRecipient& recipient = hand.messages[2]->recipients()[1];
        recipient.state = journal::State::delivered;
        recipient.attempts = 2;
        recipient.reply = hand.spool.shared_text("250 2.0.0 ok");
        hand.messages[2]->set_held(true);
        hand.spool.note(*hand.messages[2]);
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(hand.over.size(), 15u);
    }
    Life life(2, {}, 2);
    ASSERT_TRUE(life.recover());
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    EXPECT_EQ(life.segments->state().recovered, 45u);
    EXPECT_EQ(life.hand(0).messages.size() + life.hand(1).messages.size(), 45u);
    for (const auto& hand : life.hands) {
        EXPECT_GT(hand->messages.size(), 10u);
        for (const auto& [number, kept] : hand->messages) {
            EXPECT_NE(number % 4, 1u);
            EXPECT_EQ(kept->arrival_ms(), static_cast<std::int64_t>(number));
            EXPECT_EQ(kept->recipients().size(), number % 3 + 1);
            EXPECT_EQ(kept->message().has_dot_line, number % 2 == 0);
            EXPECT_EQ(kept->held(), number == 2);
            hand->load(number);
        }
        if (hand->messages.contains(2)) {
            const KeptRecipient& recipient = hand->messages[2]->recipients()[1];
            EXPECT_EQ(recipient.state, journal::State::delivered);
            EXPECT_EQ(recipient.attempts, 2u);
            ASSERT_NE(recipient.reply, nullptr);
            EXPECT_EQ(*recipient.reply, "250 2.0.0 ok");
        }
    }
    ASSERT_TRUE(life.settle());
    for (const auto& hand : life.hands) {
        for (const auto& [number, loading] : hand->loads) {
            EXPECT_EQ(loading.error, "");
            EXPECT_TRUE(loading.content == text_of_size(number, 300 * number)) << number;
        }
    }
}

}  // namespace
}  // namespace postern::spool

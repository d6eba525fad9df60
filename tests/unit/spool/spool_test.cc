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
        recipient.reply = hand.spool.shared_reply("250 2.0.0 ok", "192.0.2.1:25");
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
            EXPECT_EQ(recipient.reply->text, "250 2.0.0 ok");
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

TEST(Spool, LargeMessagesGoInPartsAndSmallOnesBesideThem) {
    sim::Disk disk;
    Life life(1, {}, 1, std::uint64_t{128} << 10);
    Hand& hand = life.hand();
    std::vector<std::uint64_t> order;
    hand.on_stored = [&](std::uint64_t number, bool safe) {
        EXPECT_TRUE(safe);
        order.push_back(number);
    };
    hand.keep(1, text_of_size(1, 3'000'000));
    hand.keep(2, text_of_size(2, 100'000));
    hand.keep(3, text_of_size(3, 2'000));
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(order, (std::vector<std::uint64_t>{3, 1, 2}));
    for (std::uint64_t number = 1; number <= 3; ++number) {
        hand.load(number);
    }
    ASSERT_TRUE(life.settle());
    for (const auto& [number, size] : {std::pair(1, 3'000'000), {2, 100'000}, {3, 2'000}}) {
        EXPECT_EQ(hand.loads[number].error, "");
        EXPECT_TRUE(hand.loads[number].content == text_of_size(number, size)) << number;
    }
    hand.load(1, 130'000);
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(hand.loads[1].content == text_of_size(1, 130'000));
    for (std::uint64_t number = 1; number <= 3; ++number) {
        hand.spool.finish(*hand.messages[number]);
    }
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
}

TEST(Spool, AMessageGoesToTheDiskWhileItArrives) {
    sim::Disk disk;
    {
        Life life(1, {}, 1, std::uint64_t{256} << 10);
        Hand& hand = life.hand();
        hand.arrive(1, text_of_size(1, 1'500'000), 100'000, 3);
        hand.arrive(2, text_of_size(2, 200'000), 100'000);  // nothing is left for its end
        hand.arrive(3, text_of_size(3, 50'000), 100'000);
        hand.keep(4, text_of_size(4, 1'000));
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(hand.safe_.size(), 4u);
        for (std::uint64_t number = 1; number <= 4; ++number) {
            hand.load(number);
        }
        ASSERT_TRUE(life.settle());
        for (const auto& [number, size] :
             {std::pair(1, 1'500'000), {2, 200'000}, {3, 50'000}, {4, 1'000}}) {
            EXPECT_EQ(hand.loads[number].error, "");
            EXPECT_TRUE(hand.loads[number].content == text_of_size(number, size)) << number;
        }
    }
    Life life(2, {}, 1, std::uint64_t{256} << 10);
    ASSERT_TRUE(life.recover());
    Hand& hand = life.hand();
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    ASSERT_EQ(hand.messages.size(), 4u);
    EXPECT_EQ(hand.messages[1]->recipients().size(), 3u);
    hand.load(1);
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(hand.loads[1].content == text_of_size(1, 1'500'000));
    for (std::uint64_t number = 1; number <= 4; ++number) {
        hand.spool.finish(*hand.messages[number]);
    }
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
    EXPECT_EQ(hand.ring->buffers(io::BufferGroup::body).used(), 0u);
}

/// What it has brought so far is copied out of segments that others have left.
TEST(Spool, AMessageThatArrivesForLongKeepsNoSegmentsOfOthers) {
    sim::Disk disk;
    std::size_t most = 0;
    {
        Life life(1, {}, 1, std::uint64_t{256} << 10);
        Hand& hand = life.hand();
        hand.arrivals_wait = true;
        hand.arrive(1, text_of_size(1, 1'000'000), 30'000);
        hand.arrive(2, text_of_size(2, 1'000'000), 30'000);
        std::uint64_t number = 10;
        while (hand.arrivals.contains(1)) {
            for (int i = 0; i < 40; ++i) {
                ++number;
                hand.keep(number, text_of_size(number, 10'000));
                ASSERT_TRUE(life.settle());
                hand.spool.finish(*hand.messages.at(number));
                ASSERT_TRUE(life.settle());
            }
            ASSERT_TRUE(life.run_until([&] { return hand.arrivals.at(1).is_written; }));
            for (int i = 0; i < 300; ++i) {
                life.turn();
            }
            most = std::max<std::size_t>(most, Life::lives_on_disk());
            hand.go_on(hand.arrivals.at(1));
            if (number % 3 == 0 && hand.arrivals.contains(2) && hand.arrivals.at(2).is_written) {
                hand.go_on(hand.arrivals.at(2));
            }
        }
        hand.drop(2);
        ASSERT_TRUE(life.settle());
        hand.load(1);
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(hand.loads[1].error, "");
        EXPECT_TRUE(hand.loads[1].content == text_of_size(1, 1'000'000));
    }
    // Two messages of a megaoctet take eight; 1,300 have come and gone.
    EXPECT_LT(most, 20u);
    Life life(2, {}, 1, std::uint64_t{256} << 10);
    ASSERT_TRUE(life.recover());
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    ASSERT_EQ(life.hand().messages.size(), 1u);
    life.hand().load(1);
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(life.hand().loads[1].content == text_of_size(1, 1'000'000));
}

TEST(Spool, WhatDoesNotBecomeAMessageTakesNoRoom) {
    sim::Disk disk;
    Life life(1, {}, 1, std::uint64_t{256} << 10);
    Hand& hand = life.hand();
    // At any moment: before its first piece is written, while one is, and between two.
    for (std::uint64_t number = 1; number <= 60; ++number) {
        hand.arrive(number, text_of_size(number, 500'000), 90'000);
        for (std::uint64_t turns = 0; turns < number % 20 && hand.arrivals.contains(number);
             ++turns) {
            life.turn();
        }
        if (hand.arrivals.contains(number)) {
            hand.drop(number);
        }
    }
    ASSERT_TRUE(life.settle());
    const auto all = hand.messages;
    EXPECT_LT(all.size(), 50u);
    for (const auto& [number, kept] : all) {
        hand.spool.finish(*kept);
    }
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
    EXPECT_EQ(hand.spool.kept(), 0u);
    EXPECT_EQ(hand.ring->buffers(io::BufferGroup::body).used(), 0u);
}

TEST(Spool, MoreRecipientsThanAWriteUsuallyHasRoomFor) {
    sim::Disk disk;
    {
        Life life(1, {}, 1, std::uint64_t{4} << 20);
        Hand& hand = life.hand();
        hand.keep(1, text_of_size(1, 5'000), 40'000);
        ASSERT_TRUE(life.settle());
        ASSERT_EQ(hand.safe_.size(), 1u);
        for (KeptRecipient& recipient : hand.messages[1]->recipients()) {
            recipient.reply = hand.spool.shared_reply("450 4.2.1 the mailbox is busy just now", {});
        }
        hand.spool.note(*hand.messages[1]);
        hand.keep(2, text_of_size(2, 5'000), 150'000);  // more than a segment has room for
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(hand.refused, std::set<std::uint64_t>{2});
    }
    Life life(2, {}, 1, std::uint64_t{4} << 20);
    ASSERT_TRUE(life.recover());
    Hand& hand = life.hand();
    ASSERT_EQ(hand.messages.size(), 1u);
    EXPECT_EQ(hand.messages[1]->recipients().size(), 40'000u);
    EXPECT_EQ(
        hand.messages[1]->recipients()[39'999].reply->text,
        "450 4.2.1 the mailbox is busy just now");
}

TEST(Spool, ADiskThatDoesNotWriteIsSaidToBeSoAndTriedAgain) {
    sim::Disk disk;
    {
        sim::Faults faults;
        Life life(1, faults, 1);
        Hand& hand = life.hand();
        hand.keep(1, text_of_size(1, 2000));
        ASSERT_TRUE(life.settle());
        faults.write_fails = 1000;
        life.world.set_faults(faults);
        hand.keep(2, text_of_size(2, 2000));
        hand.messages[1]->recipients()[0].attempts = 7;
        hand.spool.note(*hand.messages[1]);
        ASSERT_TRUE(life.run_until([&] { return !hand.refused.empty(); }));
        EXPECT_EQ(hand.refused, std::set<std::uint64_t>{2});
        EXPECT_FALSE(hand.spool.takes());
        EXPECT_FALSE(hand.spool.idle());
        EXPECT_FALSE(life.segments->state().trouble.empty());
        EXPECT_FALSE(life.sentences.empty());
        life.world.stop_faults();
        ASSERT_TRUE(life.run_until([&] { return hand.spool.idle() && hand.spool.takes(); }));
        hand.keep(3, text_of_size(3, 2000));
        ASSERT_TRUE(life.settle());
        EXPECT_TRUE(hand.safe_.contains(3));
    }
    // What was refused may have come through in part; it does not come back.
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.hand().messages.size(), 2u);
    EXPECT_EQ(life.hand().messages.at(1)->recipients()[0].attempts, 7u);
    EXPECT_TRUE(life.hand().messages.contains(3));
}

std::uint64_t failures_of(Life& life) {
    return life.registry.worker(0).own().value<metrics::Metric::spool_failures>();
}

/// From here on the first block of each write comes through, and with it all of the second message.
void keep_in_cut_writes(Life& life) {
    sim::Faults faults;
    faults.short_writes = 1000;
    life.world.set_faults(faults);
    life.hand().keep(2, text_of_size(2, 500));
    life.hand().keep(3, text_of_size(3, 20'000));
}

TEST(Spool, WhatWasRefusedDoesNotComeBackThoughItIsOnTheDisk) {
    sim::Disk disk;
    {
        Life life(1);
        Hand& hand = life.hand();
        hand.keep(1, text_of_size(1, 2000));
        ASSERT_TRUE(life.settle());
        keep_in_cut_writes(life);
        ASSERT_TRUE(life.run_until([&] { return hand.refused.size() == 2; }));
        EXPECT_EQ(failures_of(life), 3u);
        life.world.stop_faults();
        ASSERT_TRUE(life.settle());
    }
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.hand().messages.size(), 1u);
    EXPECT_TRUE(life.hand().messages.contains(1));
}

TEST(Spool, WhatIsOverStaysOverWhileAFailedWriteStillHoldsIt) {
    sim::Disk disk;
    {
        Life life(1);
        Hand& hand = life.hand();
        hand.keep(1, text_of_size(1, 2000));
        ASSERT_TRUE(life.settle());
        keep_in_cut_writes(life);
        ASSERT_TRUE(life.run_until([&] { return failures_of(life) == 1; }));
        life.world.stop_faults();
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(hand.safe_.size(), 3u);
        // The segment that says that both are over is filled, and nothing in it is live any more.
        // All within a second: then what the failed write left is cleared.
        hand.spool.finish(*hand.messages.at(2));
        hand.spool.finish(*hand.messages.at(3));
        for (std::uint64_t number = 4; number <= 20; ++number) {
            hand.keep(number, text_of_size(number, 20'000));
        }
        ASSERT_TRUE(life.settle());
        for (std::uint64_t number = 4; number <= 20; ++number) {
            hand.spool.finish(*hand.messages.at(number));
        }
        ASSERT_TRUE(life.settle());
        for (int i = 0; i < 5; ++i) {
            life.turn();
        }
        ASSERT_TRUE(disk.files.at("/spool/segment-000000")->octets.starts_with("POSTERNJ"));
    }
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.hand().messages.size(), 1u);
    EXPECT_TRUE(life.hand().messages.contains(1));
}

TEST(Spool, AFullDiskTakesNoMailAndStillLetsGo) {
    sim::Disk disk(std::uint64_t{5} << 18);  // four segments, and what is beside them
    Life life(1);
    Hand& hand = life.hand();
    std::uint64_t number = 0;
    while (hand.spool.takes() && number < 1000) {
        ++number;
        hand.keep(number, text_of_size(number, 20'000));
        for (int i = 0; i < 5; ++i) {
            life.turn();
        }
    }
    ASSERT_LT(number, 60u);
    ASSERT_TRUE(life.settle());
    EXPECT_GT(hand.safe_.size(), 35u);
    EXPECT_LE(hand.refused.size(), 1u);
    EXPECT_FALSE(life.segments->state().trouble.empty());
    for (const auto& [each, kept] : hand.messages) {
        hand.spool.finish(*kept);
    }
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(hand.over.size(), hand.safe_.size());
    ASSERT_TRUE(life.run_until([&] { return hand.spool.takes(); }));
    ++number;
    hand.keep(number, text_of_size(number, 20'000));
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(hand.safe_.contains(number));
}

/// Each says so by itself, as mail does that a host takes one by one: a block each would be more
/// than they free.
TEST(Spool, AFullDiskIsEmptiedOneByOne) {
    sim::Disk disk(std::uint64_t{5} << 18);
    Life life(1);
    Hand& hand = life.hand();
    std::uint64_t number = 0;
    while (hand.spool.takes() && number < 5000) {
        for (int i = 0; i < 20; ++i) {
            ++number;
            hand.keep(number, text_of_size(number, 2000));
        }
        ASSERT_TRUE(life.settle());
    }
    ASSERT_LT(number, 5000u);
    const auto all = hand.messages;
    ASSERT_GT(all.size(), 300u);
    for (const auto& [each, kept] : all) {
        if (each != number) {
            hand.spool.finish(*kept);
            for (int i = 0; i < 3; ++i) {
                life.turn();
            }
        }
    }
    EXPECT_TRUE(life.run_until([&] { return hand.spool.takes(); }));
    EXPECT_TRUE(life.run_until([&] { return hand.over.size() + 1 >= all.size(); }));
}

TEST(Spool, AWriteThatIsFullIsNotTheEndOfItsSegment) {
    sim::Disk disk;
    Life life(1, {}, 1, std::uint64_t{8} << 20);
    Hand& hand = life.hand();
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() == 1; }));
    disk.set_octets_max(Life::octets_on_disk());  // no other segment can be had
    hand.keep(1, text_of_size(1, 1'500'000));
    hand.arrive(2, text_of_size(2, 2'500'000), 1'000'000);
    ASSERT_TRUE(life.settle());
    for (std::uint64_t number = 3; number <= 12; ++number) {
        ASSERT_TRUE(hand.spool.takes());
        hand.keep(number, text_of_size(number, 100'000));
    }
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(hand.safe_.size(), 12u);
    EXPECT_EQ(Life::lives_on_disk(), 1);
}

TEST(Spool, BelowMinFreeNoMailIsTaken) {
    sim::Disk disk(std::uint64_t{8} << 20);
    Life life(1);
    Hand& hand = life.hand();
    hand.keep(1, text_of_size(1, 2000));
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(hand.spool.takes());
    life.segments->set_min_free(std::uint64_t{8} << 20);
    ASSERT_TRUE(life.run_until([&] { return !hand.spool.takes(); }));
    EXPECT_TRUE(life.segments->state().below_min_free);
    hand.spool.finish(*hand.messages[1]);
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(hand.over.size(), 1u);
    life.segments->set_min_free(1000);
    ASSERT_TRUE(life.run_until([&] { return hand.spool.takes(); }));
}

TEST(Spool, WhereNoSegmentCanBeMadeTheSenderHearsOfItInSeconds) {
    sim::Disk disk;
    sim::Faults faults;
    Life life(1, faults);
    faults.create_fails = 1000;
    life.world.set_faults(faults);
    Hand& hand = life.hand();
    const base::Instant before = life.world.now();
    hand.keep(1, "a");
    ASSERT_TRUE(life.run_until([&] { return !hand.refused.empty(); }));
    EXPECT_GE(life.world.now() - before, std::chrono::seconds(5));
    EXPECT_LE(life.world.now() - before, std::chrono::seconds(8));
    EXPECT_FALSE(hand.spool.takes());
    EXPECT_TRUE(hand.spool.idle());
    life.world.stop_faults();
    ASSERT_TRUE(life.run_until([&] { return hand.spool.takes(); }));
}

TEST(Spool, SegmentsWithLittleLeftAreCleared) {
    sim::Disk disk;
    const auto size = [](std::uint64_t number) { return number % 50 == 7 ? 90'000u : 3'000u; };
    // Of each segment something is left: small ones, and two large ones in parts.
    const auto stays = [](std::uint64_t number) { return number % 25 == 3 || number % 400 == 7; };
    {
        Life life(1, {}, 2, std::uint64_t{128} << 10);
        std::uint64_t number = 0;
        for (int i = 0; i < 40; ++i) {
            for (const auto& hand : life.hands) {
                for (int k = 0; k < 10; ++k) {
                    ++number;
                    hand->keep(number, text_of_size(number, size(number)));
                }
            }
            ASSERT_TRUE(life.settle());
        }
        EXPECT_GT(Life::lives_on_disk(), 28);
        for (const auto& hand : life.hands) {
            for (const auto& [each, kept] : hand->messages) {
                if (!stays(each)) {
                    hand->spool.finish(*kept);
                } else if (each % 2 == 1) {
                    kept->recipients()[0].attempts = static_cast<std::uint32_t>(each);
                    hand->spool.note(*kept);
                }
            }
        }
        ASSERT_TRUE(life.run_until([&] { return Life::lives_on_disk() <= 8; }))
            << Life::lives_on_disk();
        ASSERT_TRUE(life.settle());
        for (const auto& hand : life.hands) {
            for (const auto& [each, kept] : hand->messages) {
                hand->load(each);
            }
        }
        ASSERT_TRUE(life.settle());
        for (const auto& hand : life.hands) {
            for (const auto& [each, loading] : hand->loads) {
                EXPECT_EQ(loading.error, "");
                EXPECT_TRUE(loading.content == text_of_size(each, size(each))) << each;
            }
        }
        EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    }
    Life life(2, {}, 1, std::uint64_t{128} << 10);
    ASSERT_TRUE(life.recover());
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    EXPECT_EQ(life.hand().messages.size(), 34u);
    for (const auto& [number, kept] : life.hand().messages) {
        EXPECT_TRUE(stays(number));
        EXPECT_EQ(kept->recipients()[0].attempts, number % 2 == 1 ? number : 0);
    }
}

TEST(Spool, WhatTheDiskGivesIsChecked) {
    sim::Disk disk;
    Life life(1);
    Hand& hand = life.hand();
    const std::string text = text_of_size(1, 2000);
    hand.keep(1, text);
    ASSERT_TRUE(life.settle());
    for (auto& [path, file] : disk.files) {
        if (const std::size_t at = file->octets.find(text); at != std::string::npos) {
            file->octets[at + 100] ^= 1;
        }
    }
    hand.load(1);
    ASSERT_TRUE(life.settle());
    EXPECT_NE(hand.loads[1].error.find("does not match its sum"), std::string::npos)
        << hand.loads[1].error;
    sim::Faults faults;
    faults.read_fails = 1000;
    life.world.set_faults(faults);
    hand.load(1);
    ASSERT_TRUE(life.settle());
    EXPECT_NE(hand.loads[1].error.find("Input/output error"), std::string::npos);
}

TEST(Spool, ALoadWaitsForABufferOfTheRing) {
    sim::Disk disk;
    io::RingOptions options;
    options.body_buffers_max = 2;
    Life life(1, {}, 1, std::uint64_t{256} << 10, options);
    Hand& hand = life.hand();
    hand.keep(1, text_of_size(1, 2000));
    ASSERT_TRUE(life.settle());
    base::BlockPool& pool = hand.ring->buffers(io::BufferGroup::body);
    base::BlockRef first = pool.take();
    const base::BlockRef second = pool.take();
    hand.load(1);
    for (int i = 0; i < 20; ++i) {
        life.turn();
    }
    EXPECT_FALSE(hand.loads[1].over);
    EXPECT_FALSE(hand.spool.idle());
    first = {};
    ASSERT_TRUE(life.settle());
}

TEST(Spool, LinesThatBeginWithADotAreMarkedAsWhenTheyCame) {
    sim::Disk disk;
    Life life(1);
    Hand& hand = life.hand();
    bool any_dot = false;
    bool begins = true;
    hand.keep(2, text_of_size(2, 200'000));  // even: the message is marked
    ASSERT_TRUE(life.settle());
    hand.on_body = [&](const mail::Body& loaded) {
        char before = '\n';
        for (mail::Body::Cursor at = loaded.begin(); at.slice() != nullptr; at.advance()) {
            begins = begins && at.slice()->begins_line == (before == '\n');
            any_dot = any_dot || at.slice()->has_dot_line;
            before = at.slice()->view().back();
        }
    };
    hand.load(2);
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(begins);
    EXPECT_TRUE(any_dot);
}

TEST(Spool, TheSameReplyIsHeldOnce) {
    sim::Disk disk;
    Life life(1);
    Hand& hand = life.hand();
    const SharedReply first = hand.spool.shared_reply("451 4.2.1 busy", "192.0.2.1:25");
    EXPECT_EQ(first, hand.spool.shared_reply("451 4.2.1 busy", "192.0.2.1:25"));
    EXPECT_EQ(first->text, "451 4.2.1 busy");
    EXPECT_EQ(first->host, "192.0.2.1:25");
    EXPECT_NE(first, hand.spool.shared_reply("450 4.2.1 busy", "192.0.2.1:25"));
    EXPECT_NE(first, hand.spool.shared_reply("451 4.2.1 busy", "192.0.2.2:25"));
}

}  // namespace
}  // namespace postern::spool

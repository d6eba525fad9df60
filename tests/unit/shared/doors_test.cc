#include "postern/shared/doors.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace postern::shared {
namespace {

struct Taken final : Doors::Taker {
    void take_over(std::shared_ptr<const void> terms, int descriptor) override {
        taken.emplace_back(*static_cast<const int*>(terms.get()), descriptor);
    }

    std::vector<std::pair<int, int>> taken;
};

std::shared_ptr<const void> terms(int number) {
    return std::make_shared<const int>(number);
}

TEST(Doors, GiveToTheLeastBusyThatHasClearlyFewer) {
    Doors doors(3);
    Taken takers[3];
    for (std::uint32_t i = 0; i < 3; ++i) {
        doors.open(i, takers[i]);
        doors.tell(i, 10, 1);
    }
    EXPECT_FALSE(doors.hand_over(0, 12, 1, terms(7), 100));  // 10 and an eighth and two are 13
    EXPECT_TRUE(doors.hand_over(0, 13, 1, terms(7), 101));
    EXPECT_EQ(takers[1].taken, (std::vector<std::pair<int, int>>{{7, 101}}));
    // The other one has fewer now.
    EXPECT_TRUE(doors.hand_over(0, 13, 1, terms(7), 102));
    EXPECT_EQ(takers[2].taken, (std::vector<std::pair<int, int>>{{7, 102}}));
    EXPECT_FALSE(doors.hand_over(0, 13, 1, terms(7), 103));
    EXPECT_TRUE(doors.awaits(1) && doors.awaits(2) && !doors.awaits(0));
    doors.arrived(1);
    EXPECT_FALSE(doors.awaits(1));
}

TEST(Doors, GiveToNobodyWhoIsAloneOrGoneOrOfAnotherGeneration) {
    Doors one(1);
    Taken taker;
    one.open(0, taker);
    EXPECT_FALSE(one.hand_over(0, 1000, 1, terms(0), 100));
    Doors two(2);
    two.tell(1, 0, 1);
    EXPECT_FALSE(two.hand_over(0, 1000, 1, terms(0), 100)) << "not open yet";
    two.open(1, taker);
    EXPECT_FALSE(two.hand_over(0, 1000, 2, terms(0), 100)) << "it does not know the listener";
    EXPECT_TRUE(two.hand_over(0, 1000, 1, terms(0), 100));
    two.close(1);
    EXPECT_FALSE(two.hand_over(0, 1000, 1, terms(0), 100));
    EXPECT_EQ(taker.taken.size(), 1u);
}

TEST(Doors, EvenOutWhateverOneAccepts) {
    for (std::uint32_t all = 0; all < 300; ++all) {
        Doors doors(2);
        Taken takers[2];
        doors.open(0, takers[0]);
        doors.open(1, takers[1]);
        doors.tell(1, 0, 1);
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < all; ++i) {
            kept += doors.hand_over(0, kept, 1, terms(0), 100) ? 0 : 1;
        }
        EXPECT_LE(kept, (all - kept) + 2 + (all - kept) / 8);
        EXPECT_EQ(kept + takers[1].taken.size(), all);
    }
}

TEST(Doors, NothingComesBehindAClosedDoor) {
    Doors doors(2);
    for (int round = 0; round < 200; ++round) {
        Taken taker;
        doors.open(1, taker);
        doors.tell(1, 0, 1);
        std::thread giver([&] {
            for (int i = 0; i < 50; ++i) {
                doors.hand_over(0, 1000, 1, terms(0), i);
            }
        });
        doors.close(1);
        const std::size_t until_closed = taker.taken.size();
        giver.join();
        EXPECT_EQ(taker.taken.size(), until_closed);
        for (std::size_t i = 0; i < until_closed; ++i) {
            doors.arrived(1);
        }
        EXPECT_FALSE(doors.awaits(1));
    }
}

}  // namespace
}  // namespace postern::shared

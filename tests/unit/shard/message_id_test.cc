#include "postern/shard/message_id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace postern::shard {
namespace {

TEST(MessageIds, AreUniqueAndSortByTime) {
    std::set<std::string> seen;
    std::string last;
    MessageIds one(0x123456789abcdef0);
    MessageIds other(0x0fedcba987654321);
    std::array<char, 32> text{};
    for (int i = 0; i < 5000; ++i) {
        const base::WallTime now{std::chrono::seconds(1'700'000'000 + i)};
        for (MessageIds* ids : {&one, &other}) {
            const std::size_t size = ids->next(now, text);
            ASSERT_LE(size, MessageIds::size_max);
            const std::string id(text.data(), size);
            EXPECT_TRUE(seen.insert(id).second) << id;
            EXPECT_EQ(id.find_first_not_of("0123456789ABCDEFGHJKMNPQRSTVWXYZ"), std::string::npos)
                << id;
            EXPECT_GT(id.substr(0, 7), last.substr(0, 7)) << i;
        }
        last = std::string(text.data(), 7);
    }
}

std::string next(MessageIds& ids, std::int64_t second) {
    std::array<char, 32> text{};
    const std::size_t size = ids.next(base::WallTime(std::chrono::seconds(second)), text);
    return {text.data(), size};
}

/// The spool's index is by length first: new mail is not to come before what is older.
TEST(MessageIds, AreOfOneLengthHoweverManyThereWere) {
    MessageIds old(1);
    MessageIds young(2);
    std::string last;
    for (std::int64_t second = 1; second < 4; ++second) {
        for (int i = 0; i < 40'000; ++i) {
            const std::string id = next(old, second);
            ASSERT_EQ(id.size(), 19u);
            ASSERT_LT(last, id);
            last = id;
        }
    }
    EXPECT_EQ(next(young, 4).size(), 19u);
    EXPECT_LT(last, next(young, 4));
}

TEST(MessageIds, AClockThatIsSetBackRepeatsNone) {
    MessageIds ids(7);
    std::set<std::string> seen;
    for (const std::int64_t second : {100, 100, 101, 50, 100, 101, 99, 102, 101, 102}) {
        EXPECT_TRUE(seen.insert(next(ids, second)).second) << second;
    }
}

}  // namespace
}  // namespace postern::shard

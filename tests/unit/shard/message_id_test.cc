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

}  // namespace
}  // namespace postern::shard

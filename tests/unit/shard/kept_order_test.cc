#include "kept_order.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "kept_maker.h"

namespace postern::shard {
namespace {

KeptPointer numbered(std::uint64_t low) {
    const std::vector<journal::Recipient> recipients(1);
    return KeptPointer(spool::Kept::make({1, low}, {}, 1, recipients));
}

/// Beside an ordered map: in order, as after a start, and gone again.
TEST(KeptIndex, HoldsWhatAMapHolds) {
    std::mt19937_64 random(1);
    for (const std::uint64_t backwards_of_ten : {0, 2, 10}) {
        KeptIndex index;
        std::map<std::uint64_t, KeptPointer> model;
        std::uint64_t newest = std::uint64_t{1} << 32;
        for (int step = 0; step < 20'000; ++step) {
            const std::uint64_t low =
                random() % 10 < backwards_of_ten ? random() % 100'000 : ++newest;
            auto& kept = model[low];
            if (kept == nullptr) {
                kept = numbered(low);
                index.insert(*kept);
            } else {
                index.erase(*kept);
                model.erase(low);
            }
            if (step % 3 == 0) {
                const auto some = model.lower_bound(
                    random() % 2 == 0 ? random() % 100'000 : newest - random() % 1000);
                if (some != model.end()) {
                    index.erase(*some->second);
                    model.erase(some);
                }
            }
            ASSERT_EQ(index.size(), model.size());
            const std::uint64_t asked =
                random() % 2 == 0 ? random() % 110'000 : newest - random() % 1000;
            const auto expected = model.lower_bound(asked);
            ASSERT_EQ(
                index.at_or_after({1, asked}),
                expected == model.end() ? nullptr : expected->second.get());
            ASSERT_EQ(index.find({1, asked}) != nullptr, model.contains(asked));
        }
        std::size_t count = 0;
        index.for_each([&](spool::Kept& kept) { count += model.contains(kept.id().low) ? 1 : 0; });
        EXPECT_EQ(count, model.size());
    }
}

}  // namespace
}  // namespace postern::shard

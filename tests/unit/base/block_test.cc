#include "postern/base/block.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "postern/base/arena.h"

namespace postern::base {
namespace {

TEST(BlockPool, HandsOutNoMoreThanItsBoundAndTakesBack) {
    BlockPool pool(4096, 3);
    std::vector<BlockRef> held;
    for (int i = 0; i < 3; ++i) {
        held.push_back(pool.take());
        ASSERT_TRUE(held.back());
        std::memset(held.back()->data(), i, 4096);
    }
    EXPECT_FALSE(pool.take());
    EXPECT_EQ(pool.used(), 3U);
    EXPECT_EQ(pool.available(), 0U);
    EXPECT_EQ(held[1]->data()[4095], 1);
    held.pop_back();
    EXPECT_TRUE(pool.take());
    held.clear();
    EXPECT_EQ(pool.used(), 0U);
}

TEST(BlockPool, MapsMemoryOnlyAsItIsNeeded) {
    BlockPool pool(65536, 1000);
    EXPECT_EQ(pool.mapped(), 0U);
    const BlockRef one = pool.take();
    EXPECT_GT(pool.mapped(), 0U);
    EXPECT_LE(pool.mapped(), 2U << 20);
}

TEST(BlockRef, CountsCopiesAndNotMoves) {
    BlockPool pool(64, 1);
    BlockRef a = pool.take();
    EXPECT_EQ(a->references, 1U);
    BlockRef b = a;
    EXPECT_EQ(a->references, 2U);
    BlockRef c = std::move(b);
    EXPECT_EQ(a->references, 2U);
    a = c;
    EXPECT_EQ(c->references, 2U);
    c = BlockRef();
    EXPECT_EQ(pool.used(), 1U);
    a = BlockRef();
    EXPECT_EQ(pool.used(), 0U);
}

TEST(Arena, KeepsWhatItHandsOutApartAndFreesAllAtOnce) {
    BlockPool pool(256, 4);
    Arena arena(pool);
    std::vector<std::string_view> copies;
    for (int i = 0;; ++i) {
        const std::string text(37, static_cast<char>('a' + i));
        const auto copy = arena.copy(text);
        if (!copy) {
            break;
        }
        copies.push_back(*copy);
    }
    EXPECT_EQ(pool.used(), 4U);
    EXPECT_EQ(copies.size(), 4U * ((256 - 16) / 37));
    for (std::size_t i = 0; i < copies.size(); ++i) {
        EXPECT_EQ(copies[i], std::string(37, static_cast<char>('a' + i)));
    }
    arena.reset();
    EXPECT_EQ(pool.used(), 0U);

    struct Point {
        std::uint64_t x;
        std::uint64_t y;
    };

    EXPECT_TRUE(arena.copy("x"));
    const Point* p = arena.make<Point>(1U, 2U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % alignof(Point), 0U);
    EXPECT_EQ(p->y, 2U);
}

TEST(Arena, CopiesNothingLargerThanABlock) {
    BlockPool pool(256, 4);
    Arena arena(pool);
    EXPECT_EQ(arena.size_max(), 240U);
    EXPECT_FALSE(arena.copy(std::string(241, 'x')));
    EXPECT_EQ(pool.used(), 0U);
    EXPECT_EQ(arena.copy(std::string(240, 'x')), std::string(240, 'x'));
}

TEST(Arena, TakesBackWhatCameBehindAMark) {
    BlockPool pool(256, 4);
    Arena arena(pool);
    const Arena::Mark empty = arena.mark();
    const auto kept = arena.copy("kept");
    const Arena::Mark mark = arena.mark();
    for (int round = 0; round < 100; ++round) {
        for (int i = 0; i < 8; ++i) {
            ASSERT_TRUE(arena.copy(std::string(100, 'x')));
        }
        EXPECT_EQ(pool.used(), 4U);
        arena.rewind(mark);
        EXPECT_EQ(pool.used(), 1U);
        EXPECT_EQ(*kept, "kept");
    }
    const auto next = arena.copy("next");
    EXPECT_EQ(next->data(), kept->data() + kept->size());
    arena.rewind(empty);
    EXPECT_EQ(pool.used(), 0U);
}

}  // namespace
}  // namespace postern::base

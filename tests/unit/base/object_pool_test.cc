#include "postern/base/object_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace postern::base {
namespace {

struct Counted {
    explicit Counted(int n) : number(n) { ++alive; }

    ~Counted() { --alive; }

    int number;
    static inline int alive = 0;
};

TEST(ObjectPool, MakesUpToItsBoundAndReusesMemory) {
    ObjectPool<Counted> pool(100);
    std::vector<Counted*> made;
    std::set<Counted*> places;
    for (int i = 0; i < 100; ++i) {
        made.push_back(pool.make(i));
        ASSERT_NE(made.back(), nullptr);
        EXPECT_TRUE(places.insert(made.back()).second);
    }
    EXPECT_EQ(pool.make(100), nullptr);
    EXPECT_EQ(Counted::alive, 100);
    EXPECT_EQ(made[42]->number, 42);
    for (Counted* object : made) {
        pool.destroy(object);
    }
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_EQ(pool.used(), 0U);
    Counted* again = pool.make(7);
    EXPECT_TRUE(places.contains(again));
    pool.destroy(again);
}

}  // namespace
}  // namespace postern::base

#include "postern/base/list.h"

#include <gtest/gtest.h>

#include <memory>

namespace postern::base {
namespace {

struct Item : ListLink<> {
    explicit Item(int n) : number(n) {}

    int number;
};

TEST(List, KeepsOrderAndUnlinksAnywhere) {
    List<Item> list;
    Item a(1);
    Item b(2);
    auto c = std::make_unique<Item>(3);
    EXPECT_TRUE(list.empty());
    EXPECT_EQ(list.pop_front(), nullptr);
    list.push_back(b);
    list.push_back(*c);
    list.push_front(a);
    EXPECT_EQ(list.front(), &a);
    EXPECT_EQ(list.back(), c.get());
    EXPECT_EQ(list.next(a), &b);
    b.unlink();
    EXPECT_FALSE(b.linked());
    EXPECT_EQ(list.next(a), c.get());
    c.reset();  // an item that dies leaves its list
    EXPECT_EQ(list.next(a), nullptr);
    EXPECT_EQ(list.pop_front(), &a);
    EXPECT_TRUE(list.empty());
}

TEST(ListDeathTest, AnItemIsInOneListAtATime) {
    List<Item> one;
    List<Item> two;
    Item item(1);
    one.push_back(item);
    EXPECT_DEATH(two.push_back(item), "one list of a kind");
}

}  // namespace
}  // namespace postern::base

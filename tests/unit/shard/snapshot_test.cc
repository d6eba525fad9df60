#include "postern/shard/snapshot.h"

#include <gtest/gtest.h>

#include "generations.h"

namespace postern::shard::test {
namespace {

TEST(Snapshot, APoolIsItsWholeDefinition) {
    std::uint64_t next = 1;
    const std::string rules = "a.test one\nb.test two\nc.test reject\nd.test 192.0.2.9\n";
    const auto first = snapshot_of(1, pool("one", 2501) + pool("two", 2502), rules);
    identify_pools(*first, nullptr, next);
    const auto second = snapshot_of(
        2,
        pool("one", 2501) + pool("two", 2502, "pipeline = 7\n"),
        "d.test 192.0.2.9\nz.test two\na.test one\n");
    identify_pools(*second, first.get(), next);
    ASSERT_EQ(second->pools.size(), 3u);
    EXPECT_EQ(second->pool_identities[2], first->pool_identities[0]);
    EXPECT_EQ(second->pool_identities[0], first->pool_identities[3]);
    EXPECT_GT(second->pool_identities[1], first->pool_identities[3]) << "two is another one now";
    // What was gone for a generation is not the same when it comes back.
    const auto third = snapshot_of(3, pool("one", 2501), "a.test one\n");
    identify_pools(*third, second.get(), next);
    const auto fourth = snapshot_of(4, pool("one", 2501), "a.test one\nd.test 192.0.2.9\n");
    identify_pools(*fourth, third.get(), next);
    EXPECT_EQ(fourth->pool_identities[0], first->pool_identities[0]);
    EXPECT_GT(fourth->pool_identities[1], second->pool_identities[1]);
}

TEST(Snapshot, HostsMayBeNames) {
    const auto snapshot = snapshot_of(
        1,
        "[pool.p]\nhosts = [\"MX1.internal\", \"192.0.2.1:26\"]\nbackup = "
        "[\"mx2.internal:2525\"]\n",
        "a.test p\nb.test mx3.internal:26\nc.test mx:Example.net\n");
    ASSERT_EQ(snapshot->pools.size(), 3u);
    const auto& hosts = snapshot->pools[0].hosts;
    ASSERT_EQ(hosts.size(), 3u);
    EXPECT_EQ(hosts[0], (relay::HostSettings{{}, "mx1.internal", 25, false, 0}));
    EXPECT_EQ(hosts[1].address.text(), "192.0.2.1:26");
    EXPECT_EQ(hosts[2], (relay::HostSettings{{}, "mx2.internal", 2525, false, 1}));
    EXPECT_EQ(snapshot->pools[1].name, "mx3.internal:26");
    ASSERT_EQ(snapshot->pools[1].hosts.size(), 1u);
    EXPECT_EQ(snapshot->pools[1].hosts[0], (relay::HostSettings{{}, "mx3.internal", 26, false, 0}));
    EXPECT_EQ(snapshot->pools[2].name, "mx:example.net:25");
    ASSERT_EQ(snapshot->pools[2].hosts.size(), 1u);
    EXPECT_EQ(snapshot->pools[2].hosts[0], (relay::HostSettings{{}, "example.net", 25, true, 0}));
}

TEST(Snapshot, AListenerKeepsItsNumber) {
    const std::string rules = "a.test one\n";
    const std::string one = pool("one", 2501);
    const auto first = snapshot_of(1, one, rules, {2001, 2002});
    Common common(first->config, 100, 1, {}, {});
    number_listeners(*first, nullptr, common);
    const auto second = snapshot_of(2, one, rules, {2003, 2002});
    number_listeners(*second, first.get(), common);
    ASSERT_EQ(second->listeners.size(), 3u);
    EXPECT_FALSE(second->listeners[0].open);
    EXPECT_EQ(second->listeners[0].config.name, "127.0.0.1:2001");
    EXPECT_TRUE(second->listeners[1].open && second->listeners[2].open);
    EXPECT_EQ(second->listeners[1].config.name, "127.0.0.1:2002");
    EXPECT_EQ(second->listeners[1].connections, first->listeners[1].connections);
    const auto third = snapshot_of(3, one, rules, {2001});
    number_listeners(*third, second.get(), common);
    ASSERT_EQ(third->listeners.size(), 3u);
    EXPECT_TRUE(third->listeners[0].open);
    EXPECT_EQ(third->listeners[0].connections, first->listeners[0].connections);
    EXPECT_FALSE(third->listeners[1].open || third->listeners[2].open);
}

}  // namespace
}  // namespace postern::shard::test

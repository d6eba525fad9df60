#include "postern/shard/mode.h"

#include <gtest/gtest.h>

#include "generations.h"

namespace postern::shard::test {
namespace {

using mail::Mode;

TEST(Mode, ARuleGoesBeforeAPoolAndThatBeforeAListener) {
    const auto snapshot = snapshot_of(
        1,
        "[delivery]\nmode = 'queue'\ndefer = 'spool'\n" + pool("own", 2501, "delivery = 'sync'\n") +
            pool("other", 2502, "defer = 'pass'\n"),
        "a.test own delivery=hybrid\nb.test own\nc.test other\nd.test 192.0.2.9\n");
    const config::Delivery general = snapshot->config.delivery;
    config::Delivery listener = general;
    listener.mode = config::Mode::hybrid;
    const auto mode = [&](const char* domain, const config::Delivery& delivery) {
        const route::Action& action =
            snapshot->table->action(snapshot->table->look_up({domain, "u"}).action);
        return mode_of(
            action.delivery, own_mode(snapshot->pool_config(action.target)), delivery.mode);
    };
    EXPECT_EQ(mode("a.test", general), Mode::hybrid);
    EXPECT_EQ(mode("a.test", listener), Mode::hybrid);
    EXPECT_EQ(mode("b.test", general), Mode::sync);
    EXPECT_EQ(mode("b.test", listener), Mode::sync);
    EXPECT_EQ(mode("c.test", general), Mode::queue);
    EXPECT_EQ(mode("c.test", listener), Mode::hybrid);
    EXPECT_EQ(mode("d.test", general), Mode::queue);
    EXPECT_EQ(mode("d.test", listener), Mode::hybrid);
    // What becomes of a 4xx is the pool's own in the same way.
    EXPECT_EQ(own_defer(snapshot->config.pools[0]), config::Defer::pass);
    EXPECT_EQ(own_defer(snapshot->config.pools[1]), std::nullopt);
}

}  // namespace
}  // namespace postern::shard::test

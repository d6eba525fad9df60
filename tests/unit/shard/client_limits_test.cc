#include "client_limits.h"

#include <gtest/gtest.h>

#include "tests/unit/io/loopback.h"

namespace postern::shard::test {
namespace {

using metrics::Limit;
using std::chrono::seconds;

constexpr base::Instant now{seconds(1000)};

class ClientLimitsTest : public testing::Test {
   protected:
    ClientLimitsTest() {
        tally_.add_listener(0, "listener");
        limits_.connections = 10;
        client_.key = 7;
    }

    static config::Config config() {
        config::Config config;
        config.limits.body_memory.octets = 1 << 20;
        return config;
    }

    std::uint64_t reached(Limit limit) {
        return common_.metrics.worker(0)
            .listener("listener")
            .value<metrics::Metric::listener_limits>(limit);
    }

    std::unique_ptr<io::Ring> ring_ = io::test::make_ring();
    Common common_{config(), 20, 1, {1, 2}, {3, 4}};
    Tally tally_{common_.metrics.worker(0), *ring_};
    ClientLimits all_{common_, tally_};
    shared::Gauge of_listener_;
    config::Limits limits_;
    mail::Client client_;
};

TEST_F(ClientLimitsTest, NothingIsAskedWhileAllRatesAreOff) {
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(all_.message(client_, limits_, 1 << 30, now).code, 0);
        EXPECT_EQ(all_.recipient(client_, limits_, now).code, 0);
        EXPECT_TRUE(all_.octets(client_, limits_, 1 << 30, now));
        all_.refused(client_, limits_, "RCPT", {550, {5, 1, 1}, "nobody"}, now);
    }
    EXPECT_EQ(common_.rates.held_octets(), 0U);
}

TEST_F(ClientLimitsTest, EachRateHasItsAnswerAndItsCount) {
    limits_.message_rate = 2;
    limits_.recipient_rate = 2;
    limits_.byte_rate.octets = 100;
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(all_.message(client_, limits_, 0, now).code, 0);
        EXPECT_EQ(all_.recipient(client_, limits_, now).code, 0);
    }
    EXPECT_EQ(all_.message(client_, limits_, 0, now).code, 450);
    EXPECT_EQ(all_.recipient(client_, limits_, now).code, 450);
    EXPECT_EQ(all_.recipient(client_, limits_, now).enhanced, (mail::EnhancedCode{4, 7, 1}));
    EXPECT_EQ(all_.message(client_, limits_, 101, now + seconds(200)).code, 450);
    EXPECT_TRUE(all_.octets(client_, limits_, 100, now + seconds(200)));
    EXPECT_FALSE(all_.octets(client_, limits_, 1, now + seconds(200)));
    EXPECT_EQ(all_.message(client_, limits_, 0, now + seconds(200)).code, 450);
    EXPECT_EQ(reached(Limit::message_rate), 1U);
    EXPECT_EQ(reached(Limit::recipient_rate), 2U);
    EXPECT_EQ(reached(Limit::byte_rate), 3U);
    client_.exempt = true;
    EXPECT_EQ(all_.message(client_, limits_, 101, now).code, 0);
    EXPECT_EQ(all_.recipient(client_, limits_, now).code, 0);
    EXPECT_TRUE(all_.octets(client_, limits_, 1000, now));
}

TEST_F(ClientLimitsTest, RefusedRecipientsAreThoseWithAVerdict) {
    limits_.refused_rate = 2;
    for (const mail::Reply& reply :
         {mail::Reply{450, {4, 7, 1}, ""},
          mail::Reply{452, {4, 5, 3}, ""},
          mail::Reply{503, {5, 5, 1}, ""}}) {
        all_.refused(client_, limits_, "RCPT", reply, now);
    }
    all_.refused(client_, limits_, "MAIL", {550, {5, 7, 1}, ""}, now);
    EXPECT_EQ(all_.recipient(client_, limits_, now).code, 0);
    for (int i = 0; i < 3; ++i) {
        all_.refused(client_, limits_, "RCPT", {550, {5, 1, 1}, ""}, now);
    }
    EXPECT_EQ(all_.recipient(client_, limits_, now).code, 450);
    EXPECT_EQ(reached(Limit::refused_rate), 1U);
}

TEST_F(ClientLimitsTest, ASessionsOwnEndIsCounted) {
    tally_.noticed(client_, inbound::World::Notice::hostile_end);
    tally_.noticed(client_, inbound::World::Notice::early_talker);
    EXPECT_EQ(reached(Limit::errors), 1U);
}

TEST_F(ClientLimitsTest, ConnectionsAreBoundedInAllThreeWays) {
    limits_.connections_per_client = 2;
    const auto come = [&](mail::Client& client) {
        return all_.arrived(client, limits_, of_listener_, now);
    };
    EXPECT_EQ(come(client_).code, 0);
    EXPECT_EQ(come(client_).code, 0);
    EXPECT_TRUE(client_.counted);
    mail::Client third = client_;
    EXPECT_EQ(come(third).code, 421);
    EXPECT_EQ(reached(Limit::connections_per_client), 1U);
    EXPECT_EQ(of_listener_.value(), 2U) << "who is refused is not counted";
    EXPECT_EQ(common_.connections.value(), 2U);
    EXPECT_EQ(come(third).code, 421);
    EXPECT_EQ(reached(Limit::connections_per_client), 2U);
    mail::Client other;
    other.key = 8;
    other.exempt = true;
    for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(come(other).code, 0);
    }
    EXPECT_EQ(come(other).code, 421);
    EXPECT_EQ(reached(Limit::connections), 1U);
    for (int i = 0; i < 8; ++i) {
        all_.left(other, of_listener_);
    }
    all_.left(client_, of_listener_);
    all_.left(client_, of_listener_);
    EXPECT_EQ(of_listener_.value(), 0U);
    EXPECT_EQ(common_.connections.value(), 0U);
    EXPECT_EQ(common_.clients.value(7), 0U);
}

TEST_F(ClientLimitsTest, WhatAnotherLimitRefusesIsNotCounted) {
    limits_.connections = 100;
    limits_.connection_rate = 3;
    limits_.connections_per_client = 1;
    EXPECT_EQ(all_.arrived(client_, limits_, of_listener_, now).code, 0);
    for (int i = 0; i < 10; ++i) {
        mail::Client again = client_;
        EXPECT_EQ(all_.arrived(again, limits_, of_listener_, now).code, 421);
    }
    EXPECT_EQ(reached(Limit::connections_per_client), 10U);
    all_.left(client_, of_listener_);
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(all_.arrived(client_, limits_, of_listener_, now).code, 0);
        all_.left(client_, of_listener_);
    }
    EXPECT_EQ(all_.arrived(client_, limits_, of_listener_, now).code, 421);
    EXPECT_EQ(reached(Limit::connection_rate), 1U);
    EXPECT_EQ(common_.clients.value(7), 0U);
    EXPECT_EQ(of_listener_.value(), 0U);
    EXPECT_EQ(common_.connections.value(), 0U);
}

/// A proxy's connection, which is exempt and counted for nobody, and one of who may say XCLIENT.
TEST_F(ClientLimitsTest, AConnectionCountsForTheClientThatAProxyOrXclientNames) {
    limits_.connections_per_client = 1;
    limits_.connection_rate = 2;
    const auto move = [&](mail::Client& client, std::uint64_t key) {
        client.exempt = false;
        const std::uint64_t before = std::exchange(client.key, key);
        return all_.moved(client, before, limits_, now).code;
    };
    mail::Client proxy;
    proxy.exempt = true;
    proxy.key = 5;
    ASSERT_EQ(all_.arrived(proxy, limits_, of_listener_, now).code, 0);
    ASSERT_FALSE(proxy.counted);
    mail::Client other = proxy;
    ASSERT_EQ(all_.arrived(other, limits_, of_listener_, now).code, 0);
    EXPECT_EQ(move(proxy, 20), 0);
    EXPECT_TRUE(proxy.counted);
    EXPECT_EQ(common_.clients.value(5), 0U);
    EXPECT_EQ(common_.clients.value(20), 1U);
    mail::Client third = other;
    EXPECT_EQ(move(other, 20), 421);
    EXPECT_EQ(reached(Limit::connections_per_client), 1U);
    EXPECT_FALSE(other.counted) << "as before";
    EXPECT_EQ(move(third, 20), 421);
    EXPECT_EQ(reached(Limit::connections_per_client), 2U);
    EXPECT_EQ(reached(Limit::connection_rate), 0U) << "what was refused is not counted";
    // Its rate used up, it is not counted twice either.
    for (int i = 0; i < 3; ++i) {
        mail::Client again = third;
        EXPECT_EQ(move(again, 30), i < 2 ? 0 : 421);
        if (again.counted) {
            common_.clients.remove(30, 1);
        }
    }
    EXPECT_EQ(reached(Limit::connection_rate), 1U);
    EXPECT_EQ(common_.clients.value(30), 0U);
    // Back and forth, to itself, to one that is exempt.
    EXPECT_EQ(move(proxy, 20), 0);
    EXPECT_EQ(common_.clients.value(20), 1U);
    EXPECT_EQ(move(proxy, 21), 0);
    EXPECT_EQ(common_.clients.value(20), 0U);
    EXPECT_EQ(common_.clients.value(21), 1U);
    proxy.exempt = true;
    EXPECT_EQ(all_.moved(proxy, 21, limits_, now).code, 0);
    EXPECT_FALSE(proxy.counted);
    EXPECT_EQ(common_.clients.value(21), 0U);
    all_.left(proxy, of_listener_);
    all_.left(proxy, of_listener_);
    EXPECT_EQ(common_.connections.value(), 0U);
}

}  // namespace
}  // namespace postern::shard::test

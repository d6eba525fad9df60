#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../smtp/host_model.h"
#include "peer.h"
#include "postern/relay/relay.h"

namespace postern::relay::test {

using namespace std::chrono_literals;
using smtp::test::Message;
using smtp::test::Pools;

inline constexpr std::string_view pipelining = "250-peer\r\n250-8BITMIME\r\n250 PIPELINING\r\n";
inline constexpr std::string_view chunking =
    "250-peer\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 PIPELINING\r\n";

struct Ended {
    mail::Outcome::Kind kind;
    std::string reply;
    std::string host_said;
    bool host_has_dsn = false;
    bool released = false;
};

// A worker with nothing but a relay in it, on the real ring.
class RelayTest : public testing::Test, public World {
   protected:
    RelayTest() {
        auto made = io::Ring::create({});
        if (!made) {
            ADD_FAILURE() << made.error().text;
            std::abort();
        }
        ring = std::move(*made);
        timers = std::make_unique<io::Timers>(ring->now());
        settings.name = "pool";
        settings.helo = "gw";
        settings.connections_max = 4;
        settings.max_age = 300s;
        settings.idle = 60s;
        timeouts = {.connect = 2s, .reply = 2s, .busy = 300ms, .data_done = 2s};
    }

    void start(const io::Address& host) {
        settings.hosts = {{.address = host}};
        start();
    }

    void start() {
        relay = std::make_unique<Relay>(*ring, *timers, *this, hosts, counted.worker(0), timeouts);
        relay->add_pool(settings, context);
    }

    ~RelayTest() override {
        stop();
        EXPECT_EQ(pools.partial.used(), 0U);
    }

    void stop() {
        if (relay != nullptr) {
            relay->cut();
            EXPECT_TRUE(turn_until([&] { return relay->idle(); }));
            relay.reset();
        }
    }

    Message& submit(
        std::string_view content, std::vector<std::string> to = {"r@x"}, bool waits = false) {
        messages.push_back(std::make_unique<Message>(
            pools, "s" + std::to_string(messages.size()) + "@x", to, content));
        mail::Submission& submission = messages.back()->made;
        submission.deadline = ring->now() + sync_limit;
        submission.waits = waits;
        relay->submit(submission);
        return *messages.back();
    }

    void turn() {
        ring->turn(std::min(timers->next(), ring->now() + 20ms));
        timers->run(ring->now());
        relay->flush();
    }

    template <class Condition>
    bool turn_until(Condition condition, base::Duration limit = 10s) {
        const base::Instant end = ring->now() + limit;
        relay->flush();
        while (!condition()) {
            if (ring->now() > end) {
                return false;
            }
            turn();
        }
        return true;
    }

    void turn_for(base::Duration time) {
        turn_until([] { return false; }, time);
    }

    const Ended& wait_for(Message& message) {
        EXPECT_TRUE(turn_until([&] { return ended[&message.made].released; }));
        return ended[&message.made];
    }

    void settled(mail::Submission& submission, const mail::Outcome& outcome) override {
        EXPECT_EQ(ended.count(&submission) == 0 || !was_settled[&submission], true)
            << "settled twice";
        was_settled[&submission] = true;
        ended[&submission] = {
            outcome.kind,
            smtp::test::text_of(outcome.reply),
            std::string(outcome.host_said),
            outcome.host_has_dsn};
    }

    void released(mail::Submission& submission) override {
        EXPECT_TRUE(was_settled[&submission] || taken_back == &submission)
            << "released before it was settled";
        EXPECT_FALSE(ended[&submission].released);
        ended[&submission].released = true;
    }

    bool sender_gone(mail::Submission& submission) override { return gone == &submission; }

    void held(mail::Submission& submission) override {
        EXPECT_TRUE(relay->holds(submission));
        ++was_held[&submission];
    }

    void trouble(std::string_view, std::string_view host, std::string_view what) override {
        trouble_hosts.emplace_back(host);
        troubles.emplace_back(what);
    }

    Pools pools;
    std::unique_ptr<io::Ring> ring;
    std::unique_ptr<io::Timers> timers;
    PoolSettings settings;
    std::shared_ptr<const tls::ClientContext> context;
    Timeouts timeouts;
    shared::HostTable hosts{64, {1, 2}};
    metrics::Registry counted{1};
    base::Duration sync_limit = 60s;
    std::unique_ptr<Relay> relay;
    std::vector<std::unique_ptr<Message>> messages;
    std::map<mail::Submission*, Ended> ended;
    std::map<mail::Submission*, bool> was_settled;
    std::map<mail::Submission*, int> was_held;
    std::vector<std::string> troubles;
    std::vector<std::string> trouble_hosts;
    mail::Submission* gone = nullptr;
    mail::Submission* taken_back = nullptr;
};

}  // namespace postern::relay::test

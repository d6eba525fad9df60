#include "tests/sim/greeter.h"

#include <gtest/gtest.h>

#include <deque>

#include "tests/sim/sim_world.h"

namespace postern::sim {
namespace {

/// A client of the greeter, of one of the kinds there are.
struct Client {
    enum Kind { polite, pipelines, half_closes, leaves, resets, stops, kinds };

    Client(World& world, const io::Address& to, Kind k)
        : kind(k), peer(world, to, [this](Peer&) { move(); }) {
        if (kind == pipelines) {
            say_all();  // before it is greeted
        }
        if (kind == resets || kind == leaves) {
            world.at(world.now() + base::Duration(world.random().below(500'000'000)), [this] {
                kind == resets ? peer.reset() : peer.close();
            });
        }
    }

    void say_all() {
        spoken = true;
        peer.write("NOOP\r\nQUIT \r\n\r\nXQUIT\r\n" + std::string(300, 'x') + "\r\n");
        if (kind != half_closes) {
            peer.write("QUIT\r\n");
        }
    }

    void move() {
        if (!spoken && peer.received.ends_with(Greeter::greeting)) {
            say_all();
            if (kind == stops) {
                peer.stop();
            } else if (kind == half_closes) {
                peer.end();
            }
        }
        if (peer.over()) {
            peer.close();
        }
    }

    bool whole() const { return kind == polite || kind == pipelines; }

    Kind kind;
    bool spoken = false;
    Peer peer;
};

struct Outcome {
    std::string history;
    std::uint64_t served = 0, said_quit = 0, were_reset = 0, buffers_exhausted = 0;
};

Outcome run(std::uint64_t seed) {
    io::Random choices(seed);
    const Faults faults = choices.chance(1, 10) ? Faults{} : Faults::draw(choices);
    World world(seed, faults);
    const int descriptor = *io::open_listener(*io::Address::parse("192.0.2.1:25"));
    io::RingOptions options{.command_buffer_size = 64};
    options.command_buffers_max = static_cast<std::uint32_t>(1 + choices.below(8));
    auto made = io::Ring::create(options);
    io::Ring& ring = **made;
    Outcome outcome;
    {
        Greeter greeter(ring, descriptor);
        std::deque<Client> clients;
        const std::size_t count = 1 + choices.below(12);
        for (std::size_t i = 0; i < count; ++i) {
            world.at(
                world.now() + base::Duration(choices.below(300'000'000)),
                [&, kind = static_cast<Client::Kind>(choices.below(Client::kinds))] {
                    clients.emplace_back(world, *io::Address::parse("192.0.2.1:25"), kind);
                });
        }
        const base::Instant end = world.now() + std::chrono::minutes(10);
        bool said = false;
        for (int turns = 0; !greeter.over(); ++turns) {
            EXPECT_LT(turns, 200'000) << "it turns and turns";
            if (turns >= 200'000) {
                std::abort();
            }
            greeter.turn(said ? greeter.next() : std::min(greeter.next(), end));
            // Sometimes in the middle of it all, else when everybody is done.
            const bool early = seed % 4 == 0 && clients.size() == count && choices.chance(1, 20);
            if (!said && (early || world.now() >= end)) {
                said = true;
                greeter.shut_down();
            }
        }
        if (seed % 4 != 0) {
            EXPECT_EQ(clients.size(), count);
            for (const Client& client : clients) {
                const std::string expected =
                    std::string(Greeter::greeting) + std::string(Greeter::goodbye);
                if (client.whole() && !client.peer.was_reset()) {
                    EXPECT_EQ(client.peer.received, expected);
                } else {
                    EXPECT_TRUE(expected.starts_with(client.peer.received)) << client.peer.received;
                }
            }
        }
        for (const Client& client : clients) {
            outcome.history += client.peer.received + (client.peer.was_reset() ? "!" : ".");
            outcome.were_reset += client.peer.was_reset();
        }
        outcome.served = greeter.served;
        outcome.said_quit = greeter.said_quit;
    }
    EXPECT_EQ(world.open_descriptors(), 0u);
    for (const auto group : {io::BufferGroup::command, io::BufferGroup::body}) {
        EXPECT_EQ(ring.buffers(group).used(), ring.buffers_offered(group));
    }
    outcome.buffers_exhausted = ring.counters().buffers_exhausted;
    outcome.history += " at " + std::to_string(world.now().time_since_epoch().count()) + " in " +
                       std::to_string(ring.counters().turns);
    return outcome;
}

TEST(Greeter, ServesAllAndReturnsAllUnderEverySeed) {
    Outcome sum;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const Outcome outcome = run(seed);
        ASSERT_FALSE(testing::Test::HasFailure());
        sum.served += outcome.served;
        sum.said_quit += outcome.said_quit;
        sum.were_reset += outcome.were_reset;
        sum.buffers_exhausted += outcome.buffers_exhausted;
    }
    // The seeds must not all go the same way.
    EXPECT_GT(sum.served, 5000u);
    EXPECT_GT(sum.said_quit, 2000u);
    EXPECT_LT(sum.said_quit, sum.served - 1000);
    EXPECT_GT(sum.were_reset, 500u);
    EXPECT_GT(sum.buffers_exhausted, 1000u);
}

TEST(Greeter, TheSameSeedGivesTheSameRun) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        EXPECT_EQ(run(seed).history, run(seed).history) << "seed " << seed;
    }
}

}  // namespace
}  // namespace postern::sim

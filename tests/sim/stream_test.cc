#include "postern/io/stream.h"

#include <gtest/gtest.h>

#include <deque>

#include "postern/io/listener.h"
#include "postern/io/mailbox.h"
#include "tests/sim/sim_world.h"

namespace postern::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const io::Address there = *io::Address::parse("192.0.2.1:25");

/// Sends `out` in a few pieces at a time, takes in what comes, ends when both are through.
struct Talker final : io::StreamOwner {
    Talker(io::Ring& ring, std::string text) : out(std::move(text)), stream(ring, *this) {}

    void begin() {
        stream.receive(io::BufferGroup::command);
        send_more();
    }

    void send_more() {
        if (sent == out.size()) {
            stream.end(1 << 20);  // what the peer still sends does not matter here
            return;
        }
        std::size_t count = 0;
        for (under_way = 0; count < pieces.size() && sent + under_way < out.size(); ++count) {
            const std::size_t size = std::min(out.size() - sent - under_way, (count + 1) * 37);
            pieces[count] = {out.data() + sent + under_way, size};
            under_way += size;
        }
        stream.send(std::span(pieces.data(), count));
    }

    void on_connected(int error) override {
        connect_error = error;
        if (error != 0) {
            stream.close();
        } else {
            begin();
        }
    }

    void on_received(base::BlockRef, std::string_view bytes, int error) override {
        in += bytes;
        failed = failed || error != 0;
        ended = ended || (error == 0 && bytes.empty());
        if (error == 0 && !bytes.empty()) {
            stream.receive(in.size() % 2 == 0 ? io::BufferGroup::command : io::BufferGroup::body);
        } else if (waits_for_end || error != 0) {
            stream.close();
        }
    }

    void on_sent(int error) override {
        failed = failed || error != 0;
        if (error != 0) {
            stream.close();
            return;
        }
        sent += under_way;
        if (!(waits_for_end && sent == out.size())) {
            send_more();
        }
    }

    void on_closed() override { closed = true; }

    std::string out, in;
    std::size_t sent = 0, under_way = 0;
    std::array<iovec, 5> pieces{};
    bool waits_for_end = false, failed = false, ended = false, closed = false;
    int connect_error = -1;
    io::Stream stream;
};

struct Door final : io::ListenerOwner {
    Door(io::Ring& r, io::Timers& timers, std::string t)
        : ring(r), text(std::move(t)), listener(r, timers, *this) {
        listener.open(*io::open_listener(there));
    }

    void on_accepted(int descriptor) override {
        Talker& talker = talkers.emplace_back(ring, text);
        talker.waits_for_end = true;
        talker.stream.adopt(descriptor);
        talker.begin();
    }

    void on_accept_paused(int) override {}

    void on_listener_closed() override { closed = true; }

    io::Ring& ring;
    std::string text;
    std::deque<Talker> talkers;
    io::Listener listener;
    bool closed = false;
};

std::string text_of(std::size_t size, char first) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>(first + static_cast<char>(i * i % 61));
    }
    return text;
}

/// Two workers in one world send each other texts. What arrives is what was sent, or its beginning
/// where something broke.
bool exchange(std::uint64_t seed) {
    io::Random choices(seed);
    Faults faults = choices.chance(1, 5) ? Faults{} : Faults::draw(choices);
    faults.cut_octets_max = 30'000;
    World world(seed, faults);
    const io::RingOptions options{
        .command_buffer_size = 64,
        .command_buffers_max = 2,
        .body_buffer_size = 1024,
        .body_buffers_max = 2};
    auto here = std::move(*io::Ring::create(options));
    auto far = std::move(*io::Ring::create(options));
    io::Timers timers(world.now());
    Door door(*far, timers, text_of(choices.below(10'000), 'a'));
    Talker caller(*here, text_of(1 + choices.below(10'000), 'A'));
    EXPECT_TRUE(caller.stream.connect(there, nullptr).ok());

    const auto turn_until = [&](auto done) {
        for (int turns = 0; !done() && turns < 100'000; ++turns) {
            const base::Instant until = std::min(timers.next(), world.now() + seconds(1));
            (choices.chance(1, 2) ? here : far)->turn(until);
            timers.run(world.now());
        }
        EXPECT_TRUE(done());
    };
    turn_until([&] { return caller.closed; });
    turn_until([&] {
        return std::all_of(
            door.talkers.begin(), door.talkers.end(), [](Talker& each) { return each.closed; });
    });
    door.listener.close();
    turn_until([&] { return door.closed; });

    bool whole = false;
    EXPECT_LE(door.talkers.size(), 1u);
    if (!door.talkers.empty()) {
        Talker& talker = door.talkers.front();
        EXPECT_TRUE(caller.out.starts_with(talker.in));
        EXPECT_TRUE(talker.out.starts_with(caller.in));
        whole = talker.in == caller.out;
        if (talker.ended) {
            EXPECT_TRUE(whole) << "the end of the stream came before all of it";
        }
    }
    EXPECT_EQ(world.open_descriptors(), 0u);
    EXPECT_EQ(
        here->buffers(io::BufferGroup::command).used() + far->buffers(io::BufferGroup::body).used(),
        0u);
    return whole;
}

TEST(SimulatedStream, TwoWorkersGetWhatTheOtherSentUnderEverySeed) {
    int whole = 0;
    for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        whole += exchange(seed);
        ASSERT_FALSE(testing::Test::HasFailure());
    }
    EXPECT_GT(whole, 300);
    EXPECT_LT(whole, 990);
}

/// A world with one ring and a talker that connects to `there`.
struct Dialling {
    Dialling() : ring(std::move(*io::Ring::create({}))), talker(*ring, "HELO\r\n") {
        EXPECT_TRUE(talker.stream.connect(there, nullptr).ok());
    }

    template <class Done>
    bool turn_until(Done done) {
        for (int turns = 0; !done() && turns < 1000; ++turns) {
            ring->turn(world.now() + seconds(1));
        }
        return done();
    }

    World world{1};
    std::unique_ptr<io::Ring> ring;
    Talker talker;
};

TEST(SimulatedStream, NobodyListensAndTheConnectIsRefused) {
    Dialling dialling;
    ASSERT_TRUE(dialling.turn_until([&] { return dialling.talker.closed; }));
    EXPECT_EQ(dialling.talker.connect_error, ECONNREFUSED);
}

TEST(SimulatedStream, ASilentHostNeverAnswersAndCloseEndsTheAttempt) {
    World world(1);
    world.silence(there);
    auto ring = std::move(*io::Ring::create({}));
    Talker talker(*ring, "HELO\r\n");
    ASSERT_TRUE(talker.stream.connect(there, nullptr).ok());
    for (int i = 0; i < 100; ++i) {
        ring->turn(world.now() + seconds(1));
    }
    EXPECT_EQ(talker.connect_error, -1);
    talker.stream.close();
    while (!talker.closed) {
        ring->turn(world.now() + seconds(1));
    }
    EXPECT_EQ(talker.connect_error, -1);
    EXPECT_EQ(world.open_descriptors(), 0u);
}

TEST(SimulatedStream, APeerThatIsConnectedToReadsWritesAndEnds) {
    Dialling dialling;
    std::unique_ptr<Peer> peer;
    PeerListener listener(dialling.world, there, [&](std::shared_ptr<Socket> socket) {
        peer = std::make_unique<Peer>(dialling.world, std::move(socket), [](Peer&) {});
    });
    dialling.talker.waits_for_end = true;
    ASSERT_TRUE(
        dialling.turn_until([&] { return peer != nullptr && peer->received == "HELO\r\n"; }));
    EXPECT_EQ(
        dialling.ring->peer_address(dialling.talker.stream.descriptor())->text(), there.text());
    EXPECT_EQ(
        dialling.ring->look_for_hangup(dialling.talker.stream.descriptor()), io::Ring::Hangup::no);
    peer->write("250 ok\r\n");
    peer->end();
    ASSERT_TRUE(dialling.turn_until([&] { return dialling.talker.closed; }));
    EXPECT_EQ(dialling.talker.in, "250 ok\r\n");
    EXPECT_TRUE(dialling.talker.ended);
    peer.reset();
}

TEST(SimulatedStream, APeerThatStopsReadingHoldsTheSenderUp) {
    Dialling dialling;
    dialling.talker.out = std::string(1 << 20, 'x');
    std::unique_ptr<Peer> peer;
    PeerListener listener(dialling.world, there, [&](std::shared_ptr<Socket> socket) {
        peer = std::make_unique<Peer>(dialling.world, std::move(socket), [](Peer&) {});
        peer->stop();
    });
    EXPECT_FALSE(dialling.turn_until([&] { return dialling.talker.sent > 100'000; }));
    peer->go_on();
    for (int turns = 0; peer->received.size() < dialling.talker.out.size() && turns < 100'000;
         ++turns) {
        dialling.ring->turn(dialling.world.now() + seconds(1));
    }
    EXPECT_EQ(peer->received.size(), std::size_t{1} << 20);
    peer->close();
    EXPECT_TRUE(dialling.turn_until([&] { return dialling.talker.closed; }));
    peer.reset();
}

TEST(SimulatedStream, SeesAHangupAndAReset) {
    for (const bool by_reset : {false, true}) {
        Dialling dialling;
        dialling.talker.waits_for_end = true;
        std::unique_ptr<Peer> peer;
        PeerListener listener(dialling.world, there, [&](std::shared_ptr<Socket> socket) {
            peer = std::make_unique<Peer>(dialling.world, std::move(socket), [](Peer&) {});
        });
        ASSERT_TRUE(
            dialling.turn_until([&] { return peer != nullptr && !peer->received.empty(); }));
        const int descriptor = dialling.talker.stream.descriptor();
        if (by_reset) {
            peer->reset();
        } else {
            peer->close();
        }
        while (!dialling.world.idle()) {
            dialling.world.step(base::Instant::max());
        }
        EXPECT_EQ(
            dialling.ring->look_for_hangup(descriptor),
            by_reset ? io::Ring::Hangup::reset : io::Ring::Hangup::ended);
        ASSERT_TRUE(dialling.turn_until([&] { return dialling.talker.closed; }));
        peer.reset();
    }
}

TEST(SimulatedMailbox, WakesTheRing) {
    World world(1);
    auto ring = std::move(*io::Ring::create({}));
    io::Mailbox mailbox(*ring);

    struct Note final : io::Letter {
        void deliver() override { ++delivered; }

        int delivered = 0;
    };

    Note first, second;
    mailbox.post(first);
    mailbox.post(second);
    const base::Instant before = world.now();
    ring->turn(before + seconds(10));
    EXPECT_EQ(first.delivered, 1);
    EXPECT_EQ(second.delivered, 1);
    EXPECT_EQ(world.now(), before);
}

TEST(SimulatedClock, MovesToTheNextEventOrUntil) {
    World world(1);
    auto ring = std::move(*io::Ring::create({}));
    const base::Instant start = world.now();
    const base::WallTime wall = ring->wall_now();
    int happened = 0;
    world.at(start + seconds(3), [&] { ++happened; });
    ring->turn(start + seconds(2));
    EXPECT_EQ(ring->now(), start + seconds(2));
    EXPECT_EQ(happened, 0);
    ring->turn(base::Instant::max());
    EXPECT_EQ(ring->now(), start + seconds(3));
    EXPECT_EQ(happened, 1);
    ring->turn(base::Instant::max());
    EXPECT_EQ(ring->now(), start + seconds(3)) << "with nothing to come the clock stands";
    EXPECT_EQ(ring->wall_now() - wall, seconds(3));
}

}  // namespace
}  // namespace postern::sim

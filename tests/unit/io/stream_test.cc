#include "postern/io/stream.h"

#include <gtest/gtest.h>

#include <linux/tcp.h>

#include <thread>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

/// A stream of ours and the plain socket at its far end.
struct Pair {
    explicit Pair(Ring& r) : ring(r), recorder(r) {
        far = loopback.dial();
        recorder.stream.adopt(loopback.answer());
    }

    ~Pair() {
        if (far >= 0) {
            ::close(far);
        }
        close();
    }

    void close() {
        if (recorder.closed == 0) {
            recorder.stream.close();
            EXPECT_EQ(recorder.closed, 0) << "on_closed came from inside the call";
            EXPECT_TRUE(turn_until(ring, [&] { return recorder.closed == 1; }));
        }
    }

    void close_far() { ::close(std::exchange(far, -1)); }

    void write(std::string_view text) {
        ASSERT_EQ(::write(far, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }

    Ring& ring;
    Loopback loopback;
    Recorder recorder;
    int far = -1;
};

/// Every buffer is back: only what is offered counts as used.
void expect_all_returned(Ring& ring) {
    ring.turn(base::Instant::min());
    for (const BufferGroup group : {BufferGroup::command, BufferGroup::body}) {
        EXPECT_EQ(ring.buffers(group).used(), ring.buffers_offered(group));
    }
}

TEST(Stream, ConnectsSendsAndReceives) {
    NoLeak leak;
    auto ring = make_ring();
    for (const char* host : {"127.0.0.1", "::1"}) {
        Loopback loopback(host);
        Recorder recorder(*ring);
        ASSERT_TRUE(recorder.stream.connect(loopback.address, nullptr).ok());
        EXPECT_EQ(recorder.connected, 0);
        ASSERT_TRUE(turn_until(*ring, [&] { return recorder.connected == 1; }));
        EXPECT_EQ(recorder.connect_error, 0);
        EXPECT_EQ(*ring->peer_address(recorder.stream.descriptor()), loopback.address);
        const int far = loopback.answer();

        recorder.stream.receive(BufferGroup::command);
        recorder.stream.send("HELO");
        ASSERT_TRUE(turn_until(*ring, [&] { return recorder.sent == 1; }));
        EXPECT_EQ(recorder.send_error, 0);
        EXPECT_EQ(read_some(far), "HELO");
        ASSERT_EQ(::write(far, "250", 3), 3);
        ASSERT_TRUE(turn_until(*ring, [&] { return recorder.receives == 1; }));
        EXPECT_EQ(recorder.received, "250");
        recorder.stream.close();
        ASSERT_TRUE(turn_until(*ring, [&] { return recorder.closed == 1; }));
        ::close(far);
    }
    expect_all_returned(*ring);
}

TEST(Stream, ConnectsFromAGivenAddress) {
    auto ring = make_ring();
    Loopback loopback;
    Recorder recorder(*ring);
    const Address from = *Address::parse("127.0.0.77", 0);
    ASSERT_TRUE(recorder.stream.connect(loopback.address, &from).ok());
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.connected == 1; }));
    EXPECT_EQ(ring->local_address(recorder.stream.descriptor())->host_text(), "127.0.0.77");
    recorder.stream.close();
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.closed == 1; }));
}

TEST(Stream, AnAddressThatIsNotOursIsAnErrorAndTheStreamStaysIdle) {
    NoLeak leak;
    auto ring = make_ring();
    Recorder recorder(*ring);
    const Address from = *Address::parse("192.0.2.1", 0);
    const auto result = recorder.stream.connect(*Address::parse("127.0.0.1:25"), &from);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(
        result.error().text,
        "cannot connect from 192.0.2.1 to 127.0.0.1:25: Cannot assign requested address");
}

TEST(Stream, ARefusedConnectionIsToldAndCanBeClosed) {
    NoLeak leak;
    auto ring = make_ring();
    Loopback loopback;
    loopback.close_now();
    Recorder recorder(*ring);
    ASSERT_TRUE(recorder.stream.connect(loopback.address, nullptr).ok());
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.connected == 1; }));
    EXPECT_EQ(recorder.connect_error, ECONNREFUSED);
    recorder.stream.close();
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.closed == 1; }));
}

TEST(Stream, ClosesFromEveryState) {
    NoLeak leak;
    auto ring = make_ring();
    {  // idle
        Recorder recorder(*ring);
        recorder.stream.close();
        EXPECT_EQ(recorder.closed, 0);
        ASSERT_TRUE(turn_until(*ring, [&] { return recorder.closed == 1; }));
    }
    {  // connecting: the listener's queue is full, so the connection stays half made
        Loopback loopback;
        listen(loopback.descriptor, 0);
        std::vector<int> fill;
        std::vector<std::unique_ptr<Recorder>> recorders;
        for (int i = 0; i < 4; ++i) {
            recorders.push_back(std::make_unique<Recorder>(*ring));
            ASSERT_TRUE(recorders.back()->stream.connect(loopback.address, nullptr).ok());
        }
        turn_for(*ring, milliseconds(30));
        Recorder& last = *recorders.back();
        ASSERT_EQ(last.connected, 0);
        last.stream.close();
        last.stream.close();
        ASSERT_TRUE(turn_until(*ring, [&] { return last.closed == 1; }));
        EXPECT_EQ(last.connected, 0);
        for (auto& recorder : recorders) {
            recorder->stream.close();
        }
        ASSERT_TRUE(turn_until(*ring, [&] {
            return std::all_of(
                recorders.begin(), recorders.end(), [](auto& each) { return each->closed == 1; });
        }));
    }
    {  // open, nothing under way
        Pair pair(*ring);
        pair.close();
    }
    {  // everything under way: a receive, and a send that nobody reads
        Pair pair(*ring);
        const std::string much = octets(64 << 20);
        pair.recorder.stream.receive(BufferGroup::body);
        pair.recorder.stream.send(much);
        turn_for(*ring, milliseconds(20));
        EXPECT_TRUE(pair.recorder.stream.receiving());
        EXPECT_TRUE(pair.recorder.stream.sending());
        pair.close();
        EXPECT_EQ(pair.recorder.sent, 0);
        EXPECT_EQ(pair.recorder.receives, 0);
    }
    {  // in the same turn in which it was all armed
        Pair pair(*ring);
        pair.recorder.stream.receive(BufferGroup::command);
        pair.recorder.stream.send("221 bye\r\n");
        pair.close();
    }
    {  // from inside a callback
        Pair pair(*ring);
        pair.recorder.close_on_receive = true;
        pair.recorder.stream.receive(BufferGroup::command);
        pair.write("QUIT");
        ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
        EXPECT_EQ(pair.recorder.receives, 1);
    }
    expect_all_returned(*ring);
}

TEST(Stream, ItsOwnerMayFreeItselfWhenItIsClosed) {
    auto ring = make_ring();

    struct Owner final : StreamOwner {
        Owner(Ring& ring, bool& gone) : stream(ring, *this), gone_(gone) {}

        void on_connected(int) override {}

        void on_received(base::BlockRef, std::string_view, int) override {}

        void on_sent(int) override {}

        void on_closed() override {
            gone_ = true;
            delete this;
        }

        Stream stream;
        bool& gone_;
    };

    Loopback loopback;
    bool gone = false;
    auto* owner = new Owner(*ring, gone);
    const int far = loopback.dial();
    owner->stream.adopt(loopback.answer());
    owner->stream.receive(BufferGroup::command);
    owner->stream.close();
    EXPECT_TRUE(turn_until(*ring, [&] { return gone; }));
    ::close(far);
}

TEST(Stream, TellsTheEndOfTheStreamAndCanStillSend) {
    auto ring = make_ring();
    Pair pair(*ring);
    pair.recorder.greedy = true;
    pair.recorder.stream.receive(BufferGroup::command);
    pair.write("QUIT\r\n");
    ::shutdown(pair.far, SHUT_WR);
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.ended; }));
    EXPECT_EQ(pair.recorder.received, "QUIT\r\n");
    EXPECT_EQ(pair.recorder.receive_error, 0);
    pair.recorder.stream.send("221 bye\r\n");
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.sent == 1; }));
    EXPECT_EQ(read_some(pair.far), "221 bye\r\n");
    expect_all_returned(*ring);
}

TEST(Stream, TellsAReset) {
    auto ring = make_ring();
    Pair pair(*ring);
    pair.recorder.stream.receive(BufferGroup::command);
    ring->turn(ring->now());
    reset(std::exchange(pair.far, -1));
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.receives == 1; }));
    EXPECT_EQ(pair.recorder.receive_error, ECONNRESET);
    expect_all_returned(*ring);
}

TEST(Stream, ASendToAPeerThatHasGoneIsAnError) {
    auto ring = make_ring();
    Pair pair(*ring);
    const std::string much = octets(16 << 20);
    pair.recorder.stream.send(much);
    turn_for(*ring, milliseconds(10));
    ASSERT_EQ(pair.recorder.sent, 0);
    reset(std::exchange(pair.far, -1));
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.sent == 1; }));
    EXPECT_TRUE(pair.recorder.send_error == ECONNRESET || pair.recorder.send_error == EPIPE)
        << pair.recorder.send_error;
}

/// A large send in many uneven pieces to a reader that is slower than the sender.
TEST(Stream, SendsAllPiecesToASlowReader) {
    auto ring = make_ring();
    Loopback loopback;
    Recorder recorder(*ring);
    const int far = loopback.dial(4096);
    recorder.stream.adopt(loopback.answer());
    std::string much = octets(5 << 20);
    std::vector<iovec> pieces;
    for (std::size_t from = 0, size = 1; from < much.size(); size = size * 7 % 8191 + 1) {
        const std::size_t take =
            pieces.size() == 1023 ? much.size() - from : std::min(size, much.size() - from);
        pieces.push_back({much.data() + from, take});
        from += take;
    }
    ASSERT_EQ(pieces.size(), 1024u);
    recorder.stream.send(pieces);

    std::string got;
    while (got.size() < much.size()) {
        ring->turn(ring->now() + milliseconds(1));
        char buffer[10000];
        const ssize_t count = ::recv(far, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count > 0) {
            got.append(buffer, static_cast<std::size_t>(count));
        }
    }
    EXPECT_TRUE(got == much);
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.sent == 1; }));
    EXPECT_EQ(recorder.send_error, 0);
    recorder.stream.close();
    ASSERT_TRUE(turn_until(*ring, [&] { return recorder.closed == 1; }));
    ::close(far);
}

TEST(Stream, ReceivesMuchInOrder) {
    auto ring = make_ring();
    Pair pair(*ring);
    const std::string much = octets(8 << 20);
    std::thread writer([&] {
        for (std::size_t at = 0; at < much.size();) {
            const ssize_t count = ::write(
                pair.far, much.data() + at, std::min<std::size_t>(much.size() - at, 100000));
            ASSERT_GT(count, 0);
            at += static_cast<std::size_t>(count);
        }
        ::shutdown(pair.far, SHUT_WR);
    });
    pair.recorder.greedy = true;
    pair.recorder.group = BufferGroup::body;
    pair.recorder.stream.receive(BufferGroup::body);
    EXPECT_TRUE(turn_until(*ring, [&] { return pair.recorder.ended; }));
    writer.join();
    EXPECT_TRUE(pair.recorder.received == much);
    expect_all_returned(*ring);
}

/// Two buffers for eight connections: who finds none waits until one comes back, and all are
/// served.
TEST(Stream, WaitsForABufferWhereThereIsNone) {
    auto ring = make_ring(
        {.command_buffer_size = 64, .command_buffers_offered = 2, .command_buffers_max = 2});
    std::vector<std::unique_ptr<Pair>> pairs;
    for (int i = 0; i < 8; ++i) {
        pairs.push_back(std::make_unique<Pair>(*ring));
        pairs.back()->recorder.keep_blocks = true;
        pairs.back()->write("NOOP " + std::to_string(i));
        pairs.back()->recorder.stream.receive(BufferGroup::command);
    }
    const auto served = [&] {
        return std::count_if(
            pairs.begin(), pairs.end(), [](auto& pair) { return pair->recorder.receives == 1; });
    };
    ASSERT_TRUE(turn_until(*ring, [&] { return served() == 2; }));
    turn_for(*ring, milliseconds(20));
    EXPECT_EQ(served(), 2) << "more buffers were given out than exist";
    EXPECT_EQ(ring->buffers(BufferGroup::command).available(), 0u);
    EXPECT_GE(ring->counters().buffers_exhausted, 6u);

    pairs[7]->close();  // while it waits: nothing of it may be called again
    EXPECT_EQ(pairs[7]->recorder.receives, 0);
    for (int want = 3; want <= 7; ++want) {
        for (auto& pair : pairs) {
            if (!pair->recorder.kept.empty()) {
                pair->recorder.kept.clear();
                break;
            }
        }
        const auto turns = ring->counters().turns;
        ASSERT_TRUE(turn_until(*ring, [&] { return served() == want; }));
        EXPECT_LT(ring->counters().turns - turns, 20u);
    }
    for (int i = 0; i < 7; ++i) {
        EXPECT_EQ(
            pairs[static_cast<std::size_t>(i)]->recorder.received, "NOOP " + std::to_string(i));
        pairs[static_cast<std::size_t>(i)]->recorder.kept.clear();
    }
    expect_all_returned(*ring);
}

/// Who is called for a buffer and has nothing to read must not keep it from those who have.
TEST(Stream, AnIdleConnectionThatWaitedDoesNotStarveTheOthers) {
    auto ring = make_ring(
        {.command_buffer_size = 64, .command_buffers_offered = 1, .command_buffers_max = 1});
    Pair holder(*ring);
    holder.recorder.keep_blocks = true;
    holder.write("x");
    holder.recorder.stream.receive(BufferGroup::command);
    ASSERT_TRUE(turn_until(*ring, [&] { return holder.recorder.receives == 1; }));

    Pair idle(*ring);
    idle.recorder.stream.receive(BufferGroup::command);
    turn_for(*ring, milliseconds(10));
    Pair busy(*ring);
    busy.write("y");
    busy.recorder.stream.receive(BufferGroup::command);
    turn_for(*ring, milliseconds(10));
    EXPECT_EQ(busy.recorder.receives, 0);

    holder.recorder.kept.clear();
    ASSERT_TRUE(turn_until(*ring, [&] { return busy.recorder.receives == 1; }));
    EXPECT_EQ(idle.recorder.receives, 0);
    EXPECT_TRUE(idle.recorder.stream.receiving());
}

/// Closing on data that was not read sends a reset, which may destroy what we sent last; ending
/// does not.
TEST(Stream, EndingLetsTheLastAnswerThrough) {
    NoLeak leak;
    auto ring = make_ring();
    Pair pair(*ring);
    const std::string nonsense = octets(200000);
    std::thread writer([&] { (void)!::write(pair.far, nonsense.data(), nonsense.size()); });
    pair.recorder.stream.receive(BufferGroup::command);
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.receives == 1; }));
    pair.recorder.stream.send("421 4.7.0 too many errors\r\n");
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.sent == 1; }));
    pair.recorder.stream.end(1 << 20);
    turn_for(*ring, milliseconds(50));
    writer.join();
    EXPECT_EQ(pair.recorder.closed, 0);
    EXPECT_EQ(read_some(pair.far), "421 4.7.0 too many errors\r\n");
    char octet = 0;
    EXPECT_EQ(::recv(pair.far, &octet, 1, 0), 0) << "the peer is told the end of our stream";
    pair.close_far();
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    EXPECT_EQ(pair.recorder.receives, 1);
    expect_all_returned(*ring);
}

TEST(Stream, EndingIsBoundedByOctetsAndByClose) {
    auto ring = make_ring();
    {
        Pair pair(*ring);
        pair.recorder.stream.end(1000);
        pair.write(octets(1000));
        turn_for(*ring, milliseconds(10));
        EXPECT_EQ(pair.recorder.closed, 0);
        pair.write("x");
        ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    }
    Pair pair(*ring);
    pair.recorder.stream.end(1000);
    pair.close();
    expect_all_returned(*ring);
}

std::uint32_t segments_in(int socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_segs_in;
}

TEST(Stream, FinishingSendsTheLastAnswerAndTheEndInOneSegment) {
    NoLeak leak;
    auto ring = make_ring();
    Pair pair(*ring);
    const std::uint32_t before = segments_in(pair.far);
    pair.recorder.stream.finish("221 2.0.0 bye\r\n", 1 << 20);
    EXPECT_EQ(pair.recorder.closed, 0) << "on_closed came from inside the call";
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    EXPECT_EQ(pair.recorder.sent, 0) << "there is nobody to tell";
    EXPECT_EQ(read_some(pair.far), "221 2.0.0 bye\r\n");
    char octet = 0;
    EXPECT_EQ(::recv(pair.far, &octet, 1, 0), 0) << "the peer is told the end of our stream";
    EXPECT_EQ(segments_in(pair.far), before + 1);
    expect_all_returned(*ring);
}

TEST(Stream, FinishingLosesNothingToWhatComesAfterAll) {
    NoLeak leak;
    auto ring = make_ring();
    Pair pair(*ring);
    pair.write("QUIT\r\n");
    pair.recorder.stream.finish("221 2.0.0 bye\r\n", 1 << 20);
    turn_for(*ring, milliseconds(20));
    EXPECT_EQ(read_some(pair.far), "221 2.0.0 bye\r\n");
    char octet = 0;
    EXPECT_EQ(::recv(pair.far, &octet, 1, 0), 0) << "the end of the stream, no reset";
    pair.close_far();
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    EXPECT_EQ(pair.recorder.receives, 0);
    expect_all_returned(*ring);
}

TEST(Stream, FinishesWithNothingToSay) {
    NoLeak leak;
    auto ring = make_ring();
    Pair pair(*ring);
    pair.recorder.stream.finish({}, 0);
    ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    char octet = 0;
    EXPECT_EQ(::recv(pair.far, &octet, 1, 0), 0);
}

TEST(Stream, FinishingWaitsForASlowReaderUntilItIsClosed) {
    NoLeak leak;
    auto ring = make_ring();
    const std::string much = octets(64 << 20);
    {  // who reads has it all
        Pair pair(*ring);
        std::string heard;
        std::thread reader([&] {
            char buffer[65536];
            for (ssize_t count = 0; (count = ::read(pair.far, buffer, sizeof buffer)) > 0;) {
                heard.append(buffer, static_cast<std::size_t>(count));
            }
        });
        pair.recorder.stream.finish(much, 0);
        EXPECT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
        reader.join();
        EXPECT_TRUE(heard == much);
    }
    {
        Pair pair(*ring);
        pair.recorder.stream.finish(much, 0);
        turn_for(*ring, milliseconds(20));
        EXPECT_EQ(pair.recorder.closed, 0);
        pair.close();
    }
    {  // it has gone
        Pair pair(*ring);
        pair.recorder.stream.finish(much, 0);
        turn_for(*ring, milliseconds(20));
        pair.close_far();
        ASSERT_TRUE(turn_until(*ring, [&] { return pair.recorder.closed == 1; }));
    }
    expect_all_returned(*ring);
}

}  // namespace
}  // namespace postern::io::test

// A whole worker on the simulated ring: 4 KiB messages from senders that pipeline, to a smart host
// that swallows. What the simulation itself does is not counted: instructions alone tell, not time
// (bench/instructions.py worker).
//
// usage: bench-worker [--benchmark_filter=REGEX ...]

#include <benchmark/benchmark.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "postern/log/buffer.h"
#include "postern/shard/worker.h"
#include "spent.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/shard/generations.h"

namespace {

using namespace postern;
using bench::Spent;
using sim::Peer;

constexpr int few_messages = 4000;
constexpr int few_senders = 50;
constexpr int host_port = 2525;
constexpr std::size_t log_octets = std::size_t{1} << 24;

/// The next line of what a peer has received, CRLF and all; empty: none yet.
std::string take_line(Peer& peer) {
    const std::size_t end = peer.received.find("\r\n");
    std::string line;
    if (end != std::string::npos) {
        line = peer.received.substr(0, end + 2);
        peer.received.erase(0, end + 2);
    }
    return line;
}

/// A smart host's end of a connection: takes everything.
class Swallower {
   public:
    Swallower(sim::World& world, std::shared_ptr<sim::Socket> socket, bool chunking)
        : chunking_(chunking), peer_(world, std::move(socket), [this](Peer&) { move(); }) {
        peer_.write("220 sink.test\r\n");
    }

   private:
    void move() {
        for (;;) {
            if (in_data_) {
                const std::size_t end = peer_.received.find("\r\n.\r\n");
                if (end == std::string::npos) {
                    return;
                }
                peer_.received.erase(0, end + 5);
                in_data_ = false;
                peer_.write("250 2.0.0 taken\r\n");
            }
            if (chunk_ > peer_.received.size()) {
                return;
            }
            if (chunk_ > 0) {
                peer_.received.erase(0, std::exchange(chunk_, 0));
                peer_.write("250 2.0.0 taken\r\n");
            }
            const std::string line = take_line(peer_);
            if (line.empty()) {
                if (peer_.over() && !ended_) {
                    ended_ = true;
                    peer_.close();
                }
                return;
            }
            answer(line);
        }
    }

    void answer(const std::string& line) {
        if (line.starts_with("EHLO")) {
            peer_.write(
                chunking_ ? "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n"
                          : "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
        } else if (line.starts_with("BDAT ")) {
            chunk_ = std::stoul(line.substr(5));
        } else if (line == "DATA\r\n") {
            in_data_ = true;
            peer_.write("354 go on\r\n");
        } else if (line == "QUIT\r\n") {
            peer_.write("221 bye\r\n");
            peer_.end();
        } else {
            peer_.write("250 2.0.0 ok\r\n");
        }
    }

    const bool chunking_;
    bool in_data_ = false;
    bool ended_ = false;
    std::size_t chunk_ = 0;
    Peer peer_;
};

/// All senders: each has a connection, and after so many messages another one.
class Senders {
   public:
    Senders(
        sim::World& world,
        const io::Address& to,
        int senders,
        int messages,
        int by_connection,
        std::function<void()> done)
        : world_(world),
          to_(to),
          messages_(messages),
          by_connection_(by_connection),
          done_(std::move(done)) {
        for (int line = 0; line < 64; ++line) {
            body_ += std::string(62, static_cast<char>('a' + line % 26)) + "\r\n";
        }
        body_ = "Subject: a message\r\n\r\n" + body_ + ".\r\n";
        for (int i = 0; i < senders; ++i) {
            connect();
        }
    }

   private:
    struct Sender {
        int left = 0;
        int step = 0;  // of the answer that comes next: EHLO's, MAIL's, RCPT's, DATA's, the body's
        std::unique_ptr<Peer> peer;
    };

    void connect() {
        Sender& sender = all_.emplace_back();
        sender.left = by_connection_;
        sender.peer = std::make_unique<Peer>(world_, to_, [this, &sender](Peer&) { move(sender); });
    }

    void move(Sender& sender) {
        for (std::string line = take_line(*sender.peer); !line.empty();
             line = take_line(*sender.peer)) {
            if (line[3] == ' ') {
                answered(sender, std::stoi(line));
            }
        }
    }

    void answered(Sender& sender, int code) {
        if (code == 220) {
            sender.peer->write("EHLO sender.test\r\n");
            return;
        }
        if (code == 221 || code == 421) {
            sender.peer->close();
            return;
        }
        int& step = sender.step;
        POSTERN_ASSERT(code == (step == 3 ? 354 : 250), "a sender is answered as it should be");
        if (step == 3) {
            sender.peer->write(body_);
        } else if (step == 0 || step == 4) {
            finished(sender, step == 4);
            step = 0;
        }
        ++step;
    }

    void finished(Sender& sender, bool with_message) {
        if (with_message && --sender.left == 0 && by_connection_ < messages_) {
            sender.peer->write("QUIT\r\n");
            if (begun_ < messages_) {
                world_.at(world_.now(), [this] { connect(); });
            }
        } else if (begun_ < messages_) {
            ++begun_;
            sender.peer->write("MAIL FROM:<s@sender.test>\r\nRCPT TO:<r@here.test>\r\nDATA\r\n");
        }
        if (with_message && ++ended_ == messages_) {
            done_();
        }
    }

    sim::World& world_;
    const io::Address to_;
    const int messages_;
    const int by_connection_;
    const std::function<void()> done_;
    std::string body_;
    std::deque<Sender> all_;
    int begun_ = 0;
    int ended_ = 0;
};

class NoControl final : public shard::Control {
   public:
    void taken(const shard::Snapshot&) override {}

    void done(const shard::Snapshot&) override {}
};

void worker(benchmark::State& state, int by_connection, bool chunking, int senders = few_senders) {
    const int messages = std::max(few_messages, 2 * senders);
    sim::World world(1);  // it lasts for one iteration; randomness comes from it, too
    // Of an old sender and the one that takes its place.
    const auto connections_max = static_cast<std::uint32_t>(2 * senders + 100);
    const auto snapshot = shard::test::snapshot_of(
        1, shard::test::pool("sink", host_port), "here.test sink\nother.test sink\n");
    shard::Common common(snapshot->config, connections_max, 1, {}, {});
    std::uint64_t identity = 1;
    shard::identify_pools(*snapshot, nullptr, identity);
    shard::number_listeners(*snapshot, nullptr, common);
    log::Buffer lines(log::Format::json, log_octets, -1);
    NoControl control;
    Spent spent;
    std::int64_t count = 0;
    for (auto _ : state) {
        std::deque<Swallower> hosts;
        const sim::PeerListener host(
            world, *io::Address::parse("127.0.0.1", host_port), [&](auto socket) {
                hosts.emplace_back(world, std::move(socket), chunking);
            });
        const io::Address address = *io::Address::parse("127.0.0.1", 2500);
        shard::WorkerSettings settings;
        settings.bounds = shard::worker_bounds(snapshot->config, connections_max);
        settings.listeners = {{0, *io::open_listener(address)}};
        auto made = shard::Worker::create(settings, *snapshot, common, control, lines);
        POSTERN_ASSERT(made, "a worker can be made on the simulated ring");
        shard::Worker& running = **made;
        const Senders all(world, address, senders, messages, by_connection, [&running] {
            running.request_shutdown();
        });
        spent.begin();
        running.run();
        spent.end();
        count += messages;
        lines.consume(lines.pending().size());
    }
    spent.report(state, static_cast<double>(count));
}

}  // namespace

BENCHMARK_CAPTURE(worker, one_a_connection, 1, true)->Iterations(1);
BENCHMARK_CAPTURE(worker, one_a_connection_without_chunking, 1, false)->Iterations(1);
BENCHMARK_CAPTURE(worker, one_a_connection_9000_senders, 1, true, 9000)->Iterations(1);
BENCHMARK_CAPTURE(worker, hundred_a_connection, 100, true)->Iterations(1);
BENCHMARK_CAPTURE(worker, hundred_a_connection_without_chunking, 100, false)->Iterations(1);

BENCHMARK_MAIN();

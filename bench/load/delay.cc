#include "bench/load/delay.h"

#include <fmt/format.h>
#include <sys/uio.h>

#include <array>
#include <cstdio>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "bench/load/listening.h"
#include "bench/load/stop.h"
#include "postern/io/listener.h"
#include "postern/io/stream.h"

namespace postern::bench {

namespace {

constexpr base::Duration look_around = std::chrono::milliseconds(100);
constexpr std::size_t pieces_max = 64;       // in one send
constexpr std::uint64_t held_max = 8 << 20;  // octets of one direction; past it nothing is read

class Relay;

/// One end of a relayed connection: reads, and what it read goes to the other end when its time has
/// come.
class End final : public io::StreamOwner {
   public:
    End(Relay& relay, io::Ring& ring) : relay_(relay), stream_(ring, *this) {}

    io::Stream& stream() { return stream_; }

    void read();
    /// Sends what `from` has read and is due.
    void send_due(End& from, base::Instant now);

    std::optional<base::Instant> next_due() const {
        return held_.empty() ? std::nullopt : std::optional(held_.front().due);
    }

    bool closed() const { return closed_; }

   private:
    struct Held {
        base::Instant due;
        base::BlockRef block;
        std::string_view bytes;  // none: the end of the stream
    };

    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;

    void on_closed() override { closed_ = true; }

    Relay& relay_;
    io::Stream stream_;
    std::deque<Held> held_;  // read here, for the other end
    std::uint64_t held_octets_ = 0;
    std::vector<Held> under_way_;  // being sent from here
    std::array<iovec, pieces_max> pieces_{};
    bool ended_ = false;  // here no more will be read
    bool closed_ = false;
};

class Relay {
   public:
    Relay(io::Ring& ring, const DelayOptions& options, int accepted)
        : ring_(ring), options_(options), near_(*this, ring), far_(*this, ring) {
        near_.stream().adopt(accepted);
        if (!far_.stream().connect(options.to, nullptr).ok()) {
            close();
        }
    }

    io::Ring& ring() { return ring_; }

    base::Duration hold() const { return options_.hold; }

    void connected() {
        near_.read();
        far_.read();
    }

    void close() {
        near_.stream().close();
        far_.stream().close();
    }

    void run(base::Instant now) {
        far_.send_due(near_, now);
        near_.send_due(far_, now);
    }

    base::Instant next_due() const {
        const base::Instant never = base::Instant::max();
        return std::min(near_.next_due().value_or(never), far_.next_due().value_or(never));
    }

    bool closed() const { return near_.closed() && far_.closed(); }

   private:
    io::Ring& ring_;
    const DelayOptions& options_;
    End near_;
    End far_;
};

void End::read() {
    if (stream_.open() && !ended_ && !stream_.receiving() && held_octets_ < held_max) {
        stream_.receive(io::BufferGroup::body);
    }
}

void End::on_connected(int error) {
    if (error != 0) {
        relay_.close();
    } else {
        relay_.connected();
    }
}

void End::on_received(base::BlockRef block, std::string_view bytes, int error) {
    if (error != 0) {
        relay_.close();
        return;
    }
    ended_ = bytes.empty();
    held_octets_ += bytes.size();
    held_.push_back({relay_.ring().now() + relay_.hold(), std::move(block), bytes});
    read();
}

void End::send_due(End& from, base::Instant now) {
    if (!stream_.open() || stream_.sending()) {
        return;
    }
    under_way_.clear();
    std::size_t count = 0;
    while (count < pieces_max && !from.held_.empty() && from.held_.front().due <= now &&
           !from.held_.front().bytes.empty()) {
        Held& piece = from.held_.front();
        pieces_[count++] = {const_cast<char*>(piece.bytes.data()), piece.bytes.size()};
        from.held_octets_ -= piece.bytes.size();
        under_way_.push_back(std::move(piece));
        from.held_.pop_front();
    }
    if (count > 0) {
        stream_.send(std::span(pieces_).first(count));
        from.read();
    } else if (!from.held_.empty() && from.held_.front().due <= now) {
        from.held_.pop_front();
        relay_.ring().shut_down_sending(stream_.descriptor());
        if (ended_ && held_.empty()) {
            relay_.close();
        }
    }
}

void End::on_sent(int error) {
    under_way_.clear();
    if (error != 0) {
        relay_.close();
    }
}

class DelayWorker final : public io::ListenerOwner {
   public:
    explicit DelayWorker(const DelayOptions& options) : options_(options) {}

    base::Result<void> run(int listener);

   private:
    void on_accepted(int descriptor) override {
        relays_.push_back(std::make_unique<Relay>(*ring_, options_, descriptor));
    }

    void on_accept_paused(int) override {}

    void on_listener_closed() override { listening_ = false; }

    void turn(io::Timers& timers);

    const DelayOptions& options_;
    std::unique_ptr<io::Ring> ring_;
    std::vector<std::unique_ptr<Relay>> relays_;
    bool listening_ = true;
};

void DelayWorker::turn(io::Timers& timers) {
    base::Instant until = std::min(timers.next(), ring_->now() + look_around);
    for (const auto& relay : relays_) {
        until = std::min(until, relay->next_due());
    }
    ring_->turn(until);
    timers.run(ring_->now());
    for (const auto& relay : relays_) {
        relay->run(ring_->now());
    }
    std::erase_if(relays_, [](const auto& relay) { return relay->closed(); });
}

base::Result<void> DelayWorker::run(int descriptor) {
    auto ring = io::Ring::create({});
    if (!ring.ok()) {
        return ring.error();
    }
    ring_ = std::move(*ring);
    io::Timers timers(ring_->now());
    io::Listener listener(*ring_, timers, *this);
    listener.open(descriptor);
    while (!stop_requested) {
        turn(timers);
    }
    listener.close();
    for (const auto& relay : relays_) {
        relay->close();
    }
    while (listening_ || !relays_.empty()) {
        turn(timers);
    }
    return {};
}

}  // namespace

int run_delay(DelayOptions options) {
    stop_on_signals();
    const auto listener = listen_at(options.listen);
    const auto failed = [](const base::Error& error) {
        fmt::print(stderr, "postern-bench delay: {}\n", error.text);
        return 1;
    };
    if (!listener.ok()) {
        return failed(listener.error());
    }
    fmt::print("listening on {}\n", options.listen.text());
    std::fflush(stdout);
    const auto ran = DelayWorker(options).run(*listener);
    return ran.ok() ? 0 : failed(ran.error());
}

}  // namespace postern::bench

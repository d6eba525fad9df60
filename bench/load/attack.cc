#include "bench/load/attack.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <queue>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/load/messages.h"
#include "bench/load/stop.h"

namespace postern::bench {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr Clock::duration slow_pace = 2s;
constexpr Clock::duration garbage_pace = 250ms;
constexpr Clock::duration comes_again = 500ms;
constexpr Clock::duration all_there = 1s;  // by then each has come once
constexpr std::size_t garbage_size_max = 2000;
constexpr std::size_t answers_size_max = 1 << 20;
// Each has a time of its own, rounded up to this: to wake up for each would be most of what they
// cost, and the machine is the gateway's and its senders', too.
constexpr Clock::duration look_pace = 1ms;
constexpr int small_receive_buffer = 2304;
constexpr int small_segment = 536;

/// What a slow one says: the first `at_once` octets together, then one at a time, then nothing
/// more.
struct Script {
    std::string text;
    std::size_t at_once = 0;
    bool reads = true;  // false: it says `text` again and again, and reads no answer
};

std::array<Script, 4> make_scripts() {
    const std::string greets = "EHLO slow.test\r\n";
    const std::string sends =
        greets + "MAIL FROM:<a@slow.test>\r\nRCPT TO:<r@here.test>\r\nDATA\r\nSubject: x\r\n\r\n";
    std::string asks;
    for (int i = 0; i < 1000; ++i) {
        asks += "HELP\r\n";
    }
    return {
        {{"", 0, true},
         {greets + "NOOP " + std::string(1900, 'x'), greets.size(), true},
         {sends + std::string(5000, 'y'), sends.size(), true},
         {asks, asks.size(), false}}};
}

/// Anything at all, with a line's end now and then where `lines`.
std::string make_garbage(bool lines) {
    std::string octets;
    for (std::uint64_t i = 0; octets.size() < 1 << 20; ++i) {
        const char octet = static_cast<char>(mix(i) >> 56);
        octets += lines && octet == 0 ? std::string("\r\n") : std::string(1, octet);
    }
    return octets;
}

struct Counts {
    std::uint64_t opened = 0;
    std::uint64_t ended = 0;
    std::uint64_t octets = 0;
};

/// Those of a kind are the same but for their numbers.
struct World {
    AttackOptions options;
    std::array<Script, 4> scripts = make_scripts();
    std::string garbage = make_garbage(false);
    std::string garbage_lines = make_garbage(true);
    Counts counts;
};

class Attacker {
   public:
    Attacker(World& world, unsigned number)
        : world_(&world),
          script_(number < world.options.slow ? &world.scripts[number % 4] : nullptr),
          number_(number),
          random_(mix(number)) {}

    /// Does what it does now; how long until it does more.
    Clock::duration step();

   private:
    bool reads() const { return script_ == nullptr || script_->reads; }

    bool open();
    bool sent_away() const;
    std::string saying();

    World* world_;
    const Script* script_;  // nullptr: it throws garbage
    unsigned number_;
    std::uint64_t random_;
    int socket_ = -1;
    std::size_t said_ = 0;  // octets on this connection
};

bool Attacker::open() {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!reads()) {
        // Else the kernel would take megabytes of answers for each, and the other side would notice
        // nothing.
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &small_receive_buffer, sizeof(int));
        ::setsockopt(socket_, IPPROTO_TCP, TCP_MAXSEG, &small_segment, sizeof(int));
    }
    const std::string from =
        fmt::format("127.{}.{}.{}", 16 + number_ / 65536 % 200, number_ / 256 % 256, number_ % 256);
    const io::Address source = *io::Address::parse(from, 0);
    const io::Address& target = world_->options.target;
    ++world_->counts.opened;
    said_ = 0;
    return socket_ >= 0 && ::bind(socket_, source.raw(), source.raw_size()) == 0 &&
           (::connect(socket_, target.raw(), target.raw_size()) == 0 || errno == EINPROGRESS);
}

/// Reads what came, where it is one that reads.
bool Attacker::sent_away() const {
    if (!reads()) {
        return false;  // sending will tell
    }
    // MSG_TRUNC: tcp(7), what came is thrown away without a copy.
    const ssize_t size = ::recv(socket_, nullptr, answers_size_max, MSG_TRUNC);
    return size == 0 || (size < 0 && errno != EAGAIN);
}

std::string Attacker::saying() {
    if (script_ == nullptr) {
        const auto begin = static_cast<std::size_t>(chance(random_) * (1 << 19));
        const auto size = 1 + static_cast<std::size_t>(chance(random_) * garbage_size_max);
        return size % 2 != 0 ? world_->garbage.substr(begin, size) + "\r\n"
                             : world_->garbage_lines.substr(begin, size);
    }
    if (!reads()) {
        return script_->text;
    }
    return script_->text.substr(said_, said_ < script_->at_once ? script_->at_once - said_ : 1);
}

Clock::duration Attacker::step() {
    bool alive = socket_ >= 0 ? !sent_away() : open();
    if (alive) {
        if (const std::string octets = saying(); !octets.empty()) {
            const ssize_t size = ::send(socket_, octets.data(), octets.size(), MSG_NOSIGNAL);
            alive = size >= 0 || errno == EAGAIN;  // it does not read us: it is as slow as we are
            if (size > 0) {
                said_ += static_cast<std::size_t>(size);
                world_->counts.octets += static_cast<std::size_t>(size);
            }
        }
    }
    if (!alive) {
        ++world_->counts.ended;
        ::close(std::exchange(socket_, -1));
        return comes_again;
    }
    const Clock::duration pace = script_ != nullptr ? slow_pace : garbage_pace;
    return std::chrono::duration_cast<Clock::duration>(pace * (0.5 + chance(random_)));
}

}  // namespace

int run_attack(const AttackOptions& options) {
    stop_on_signals();
    World world;
    world.options = options;
    std::vector<Attacker> attackers;
    std::uint64_t random = 0;
    using Due = std::pair<Clock::time_point, unsigned>;
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due;
    Clock::time_point told = Clock::now();
    for (unsigned number = 0; number < options.slow + options.garbage; ++number) {
        attackers.emplace_back(world, number);
        due.emplace(
            told + std::chrono::duration_cast<Clock::duration>(all_there * chance(random)), number);
    }
    while (!stop_requested) {
        const Clock::time_point now = Clock::now();
        while (!due.empty() && due.top().first <= now) {
            const unsigned number = due.top().second;
            due.pop();
            due.emplace(now + attackers[number].step(), number);
        }
        if (now - told > 1s) {
            told = now;
            const Counts& counts = world.counts;
            fmt::print(
                "{{\"opened\": {}, \"ended\": {}, \"open\": {}, \"octets\": {}}}\n",
                counts.opened,
                counts.ended,
                counts.opened - counts.ended,
                counts.octets);
            std::fflush(stdout);
        }
        std::this_thread::sleep_until(now + look_pace);
    }
    return 0;
}

}  // namespace postern::bench

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/time.h"
#include "postern/io/address.h"
#include "postern/io/random.h"

/// A world under one seed: a clock, a network, its faults. Rings that are made while it exists live
/// in it (sim_ring.cc), and so do peers that a test moves by hand (Peer). One thread. The same seed
/// and the same calls give the same run.
namespace postern::sim {

/// What goes wrong, in so many of a thousand cases, and how slow things are. All 0: nothing does.
struct Faults {
    unsigned short_reads = 0;  // a receive gives less than is there
    unsigned short_sends = 0;  // a send ends before all is sent
    unsigned again = 0;        // a receive or a send ends with EINTR or EAGAIN
    unsigned no_buffer = 0;    // a receive ends with ENOBUFS though there are buffers
    unsigned held_back = 0;    // a completion comes a turn later than it could
    unsigned accept_ends = 0;  // a multishot accept ends, with its last descriptor or with EMFILE
    unsigned cuts = 0;  // a connection is reset behind one of its first `cut_octets_max` octets,
                        // whoever sent it
    unsigned refusals = 0;  // a connect is refused though somebody listens
    unsigned small_windows =
        0;  // of a connection only 1 to 64 octets a way are under way at a time
    std::uint64_t cut_octets_max = 2000;
    base::Duration latency_max{};      // of everything that travels
    unsigned write_fails = 0;          // of a file; any of its sectors are there all the same
    unsigned short_writes = 0;         // of a file, of more than a block
    unsigned read_fails = 0;           // of a file
    unsigned read_fails_at_start = 0;  // io::read_file; not drawn
    unsigned create_fails = 0;         // a file is not made though there is room
    unsigned remove_fails = 0;         // a file stays; not drawn
    base::Duration disk_latency_max{};

    /// Each fault absent, rare or frequent, as the generator will have it.
    static Faults draw(io::Random& random);
};

class World;

/// An end of a connection, or a listener, with the manners of a non-blocking socket. What changes
/// its state from outside calls `on_change`.
class Socket : public std::enable_shared_from_this<Socket> {
   public:
    explicit Socket(World& world) : world_(world) {}

    void connect(const io::Address& to);  // ends in connected() or error()

    bool connected() const { return state_ == State::connected; }

    int error() const { return error_; }  // an errno, once the connection is no more

    /// A descriptor's worth of an arrived connection, or null. REQUIRES: listening.
    std::shared_ptr<Socket> accept();

    /// Octets taken, or a negative errno: -EAGAIN while the window is full.
    int send(std::string_view bytes);
    /// They go with the end of our stream, or are lost where it is reset before (MSG_MORE).
    void hold(std::string_view bytes);
    /// Octets, 0 at the end of the peer's stream, or a negative errno.
    int receive(char* into, std::size_t size);

    std::string_view arrived() const { return inbox_; }

    bool ended() const { return end_arrived_; }

    void shut_down_sending();
    void shut_down();  // both ways
    /// With octets unread it resets, as TCP does (RFC 1122, 4.2.2.13).
    void close();
    void reset();

    io::Address local, remote;
    std::function<void()> on_change;
    /// Has on_change called soon, as an event.
    void change();

   private:
    friend class World;
    enum class State : std::uint8_t { fresh, listening, connecting, connected, broken, closed };
    struct Wire;  // what both ends share
    void break_off(int error);
    void tell_peer(void (Socket::*what)());
    void end_arrives();
    void reset_arrives();

    void window_opens() { change(); }

    World& world_;
    State state_ = State::fresh;
    int error_ = 0;
    std::weak_ptr<Socket> peer_;
    std::shared_ptr<Wire> wire_;
    std::string inbox_;
    std::string held_;
    std::size_t under_way_ = 0;     // octets to the peer that it has not read
    base::Instant last_arrival_{};  // what we send next does not overtake what we sent before
    bool end_sent_ = false, end_arrived_ = false, receiving_shut_ = false;
    std::deque<std::shared_ptr<Socket>> backlog_;
};

/// Somebody turns and turns while nothing happens and the clock stands. Thrown by World::step.
struct NoEnd {};

class World {
   public:
    explicit World(std::uint64_t seed, const Faults& faults = {});
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    /// The one that exists. REQUIRES: there is one.
    static World& current();

    base::Instant now() const { return now_; }

    io::Random& random() { return random_; }

    bool happens(unsigned of_a_thousand) {
        return of_a_thousand > 0 && random_.chance(of_a_thousand, 1000);
    }

    const Faults& faults() const { return faults_; }

    void set_faults(const Faults& faults) { faults_ = faults; }

    /// From here on nothing goes wrong, beside what is on its way already.
    void stop_faults() { faults_ = {}; }

    /// `what` happens at `when`, or now if that is past; behind what was set for the same moment
    /// before.
    void at(base::Instant when, std::function<void()> what);
    base::Instant after_latency();
    base::Instant after_disk();

    /// The wall clock is set so far from where it would be; who measures time by now()
    /// notices nothing.
    void set_wall_clock(base::Duration offset) { wall_offset_ = offset; }

    base::WallTime wall_at(base::Instant instant) const;
    /// Moves the clock to what happens next and lets all of that moment happen, or to `until` if
    /// that is earlier. Throws NoEnd where it has had nothing to do for very often.
    void step(base::Instant until);

    /// What each ring does when the power is cut (Disk::cut_power): all that it has under way is
    /// dropped, and nobody told.
    std::map<const void*, std::function<void()>> on_power_cut;

    /// Nothing is going to happen by itself.
    bool idle() const { return events_.empty(); }

    // --- the network -----------------------------------------------------------------------------
    io::Address next_host();  // a new host's address, port 0
    std::shared_ptr<Socket> listen(
        io::Address address);                  // null: taken; port 0 is replaced by a free one
    void silence(const io::Address& address);  // who connects to it never hears anything
    int open(std::shared_ptr<Socket> socket);  // a descriptor for it, the lowest free one
    std::shared_ptr<Socket> socket(int descriptor) const;  // null: not open
    void close(int descriptor);                            // REQUIRES: open

    std::size_t open_descriptors() const { return descriptors_.size(); }

   private:
    friend class Socket;
    static constexpr unsigned steps_in_vain_max = 10'000;

    std::shared_ptr<Socket> listener_at(const io::Address& address);
    void establish(const std::shared_ptr<Socket>& socket);

    io::Random random_;
    Faults faults_;
    base::Instant now_;
    base::Duration wall_offset_{};
    std::multimap<base::Instant, std::function<void()>> events_;
    std::map<int, std::shared_ptr<Socket>> descriptors_;
    std::multimap<std::string, std::weak_ptr<Socket>>
        listeners_;  // by address text; several may share one
    std::vector<std::string> silent_;
    unsigned steps_in_vain_ = 0;  // without a pause
    std::uint32_t hosts_ = 0;
    std::uint16_t next_port_ = 20000;
};

/// A far end that a test moves by hand. `on_change` is called whenever something may have happened
/// to it: it was connected, octets came or left, the other side ended or reset; it may not destroy
/// the peer.
class Peer {
   public:
    /// Connects from a host of its own.
    Peer(World& world, const io::Address& to, std::function<void(Peer&)> on_change);
    /// An accepted connection.
    Peer(World& world, std::shared_ptr<Socket> socket, std::function<void(Peer&)> on_change);
    ~Peer();
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    void write(std::string_view bytes);  // leaves as the window allows, in random pieces
    void end();                          // end of our stream, behind all that was written
    void close();                        // both ways; the rest of what was written is lost
    void reset();
    void stop();  // reads and says nothing from here on
    void go_on();

    bool connected() const { return socket_->connected(); }

    bool over() const;  // closed by us, reset, or ended by the other side

    bool was_reset() const { return socket_->error() != 0; }

    bool all_written() const { return outbox_.empty(); }

    std::string received;  // all that came

   private:
    void move();
    World& world_;
    std::shared_ptr<Socket> socket_;
    std::function<void(Peer&)> on_change_;
    std::string outbox_;
    bool end_wanted_ = false, end_done_ = false, stopped_ = false, closed_ = false;
};

/// Accepts for peers. `on_peer` is called with each.
class PeerListener {
   public:
    PeerListener(
        World& world,
        const io::Address& address,
        std::function<void(std::shared_ptr<Socket>)> on_peer);
    ~PeerListener();
    PeerListener(const PeerListener&) = delete;
    PeerListener& operator=(const PeerListener&) = delete;

    const io::Address& address() const { return socket_->local; }

   private:
    std::shared_ptr<Socket> socket_;
};

}  // namespace postern::sim

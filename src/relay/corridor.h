#pragma once

#include <array>
#include <memory>
#include <vector>

#include "postern/base/list.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/relay/relay.h"
#include "postern/smtp/client_session.h"

/// What pools, hosts and connections share: the worker's ring and timers, the world, and the
/// transfers. One thread.
namespace postern::relay {

class Connection;
class Pool;

/// Tag of the list of a pool's transfers, the oldest first.
struct ByAge;

/// A submission on its way through this corridor, from submit to released. Either it waits in its
/// pool's queue, or it is linked in a session.
struct Transfer final : smtp::Transfer {
    struct Deadline : io::Timer {
        explicit Deadline(Transfer& t);
        Transfer& transfer;
    };

    struct Age : base::ListLink<ByAge> {
        base::Instant since;
    };

    Transfer() : deadline(*this) {}

    Pool* pool = nullptr;
    Connection* connection = nullptr;  // null while it waits
    unsigned attempts = 0;  // that came to nothing, by no fault of a connection that had been idle
    std::uint64_t avoided = 0;  // number of the host that the last of them was at; 0: none
    bool goes_again = false;    // waits anew once its session has let it go
    bool provoked = false;      // a host said that it is in trouble, or went away several times
    Age age;
    Deadline deadline;  // for a place in the pool while it waits, then for the sender's answer
};

/// Tag of the list of connections that something may be written on.
struct Ready;
/// Tag of the list of pools in which mail waits.
struct Waiting;
/// Tag of the list of pools that are to go, or have a host that is.
struct Leaving;

struct Corridor {
    Corridor(
        io::Ring& r,
        io::Timers& t,
        World& w,
        shared::HostTable& h,
        metrics::Meters& m,
        const Timeouts& limits)
        : ring(r),
          timers(t),
          world(w),
          hosts(h),
          meters(m),
          timeouts(limits),
          blocks(smtp::ReplyParser::octets_max, blocks_max) {}

    /// The caller's until `release`.
    Transfer& take(mail::Submission& submission, Pool& pool);

    /// Tells the world, once for each submission; the outcome's `provoked` is set here.
    void settle(Transfer& transfer, mail::Outcome& outcome);
    /// Behind `settle`: the submission and the transfer are no longer ours.
    void release(Transfer& transfer);
    /// Settles all that was not handed over yet.
    void give_up_unsent();

    io::Ring& ring;
    io::Timers& timers;
    World& world;
    shared::HostTable& hosts;
    metrics::Meters& meters;
    Timeouts timeouts;
    bool shutting_down = false;
    bool cutting = false;
    std::uint64_t hosts_numbered = 0;  // there ever were
    base::List<Connection, Ready> ready;
    base::List<Pool, Waiting> waiting;
    base::List<Pool, Leaving> leaving;
    base::BlockPool
        blocks;  // for a connection: its output under way, a reply that has come in part, records
    std::array<char, 16384> scratch;  // plain octets of one connection, for one call
    std::size_t transfers_used = 0;

   private:
    static constexpr std::uint32_t blocks_max =
        1 << 22;  // two a connection, with TLS up to twelve: descriptors run out first

    std::vector<std::unique_ptr<Transfer>>
        transfers_;  // all there are; grows to the most that were ever under way
    base::List<smtp::Transfer> free_;
};

}  // namespace postern::relay

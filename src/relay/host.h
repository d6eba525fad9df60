#pragma once

#include <array>
#include <string>
#include <utility>

#include "connection.h"
#include "postern/base/object_pool.h"

namespace postern::relay {

/// One smart host at one address: its connections, and what this worker thinks of it beside what
/// all workers know (shared::HostFacts).
///
/// A host in trouble is set aside; then this or another worker probes it with one connection, and
/// the answer to EHLO makes it trusted again, for few messages at first. A host that refuses one
/// more connection while others work is not in trouble, it is full: it keeps its mail and is asked
/// for no more connections during a pause.
class Host {
   public:
    Host(Corridor& corridor, Pool& pool, const HostAddress& where, const PoolSettings& settings);
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    // --- what its connections tell ---
    /// What went wrong, for the log. `whole`: it concerns the host however many connections work.
    /// `for_tls`: TLS is required, and not to be had.
    void failed(std::string_view what, bool whole, bool for_tls = false);
    /// TLS came to nothing, and mail goes on in plain text.
    void goes_plain(std::string_view what);
    /// A connection that was begun at `opened` broke with messages on it. Many at once may happen
    /// to anybody; one after the other, with no message answered in between, is the host's trouble.
    void broke(std::string_view what, base::Instant opened);

    /// It answered for a message.
    void answered() { breaks_ = 0; }

    /// It said something, whatever it was.
    void heard() { last_heard_ = corridor_.ring.now(); }

    base::Instant last_heard() const { return last_heard_; }

    void closed(Connection& connection);  // frees it
    /// Moves a connection (that is in no list before its first stage) to the list of its stage.
    void file(Connection& connection, Stage from, Stage to);

    // --- what its pool asks ---
    /// Probes it, where its pause is over and nobody else does.
    void look();

    bool probing() const { return probing_; }

    /// Messages that may be given to it besides those it has: none unless trusted.
    std::uint32_t room() const;

    bool lacks_tls() const { return !trusted() && facts_.lacks_tls(); }

    /// What a new connection's session is told.
    const smtp::ClientSettings& client_settings() const;

    void rename(const std::string& found_by);

    bool trusted() const { return facts_.health() == shared::HostFacts::Health::trusted; }

    /// Trusted, without a trouble behind it, nor one before it by the looks of it.
    bool proven();

    /// It has a connection, here or at another worker, that mail can go by.
    bool works() const { return trusted() && facts_.working() > 0; }

    /// Opens a connection, if bounds and health allow one more.
    bool open_connection();
    /// Connections about to be open, as far as that is worth waiting for.
    std::uint32_t expected();
    void quit_idle();
    /// Ends what has nothing to do: idle ones quit, those about to open are closed.
    void wind_down();
    void close_all();

    bool keeps_quiet() const { return connections_.used() == 0; }

    base::List<Connection, Staged>& list(Stage stage) { return lists_[index(stage)]; }

    std::uint32_t count(Stage stage) const { return counts_[index(stage)]; }

    /// One of the pool's source addresses, each in its turn; nullptr: the system's choice.
    const io::Address* next_source();

    Pool& pool;
    const io::Address address;
    const std::string text;  // "192.0.2.1:25"
    metrics::Series& counts;
    const std::uint64_t number;
    std::string name;  // that its address was found by; empty: none
    std::uint32_t level;
    smtp::Pace pace;
    tls::Resumption resumption;      // of the last TLS session, for the next
    TransactionMax transaction_max;  // as its last EHLO said; 0: no word of it
    bool known = false;              // it has answered an EHLO
    bool lacks_smtputf8 = false;     // as its last EHLO said
    std::uint32_t in_flight = 0;     // messages on its connections
    std::uint32_t quota = 0;         // of those that wait, what it may be given now

   private:
    static std::size_t index(Stage stage) { return static_cast<std::size_t>(stage); }

    /// Looks again and again while it is aside, whether or not mail wants it: a backup, and whoever
    /// reads the numbers, shall know that it is well before it is needed.
    struct Watch final : io::Timer {
        explicit Watch(Host& owner)
            : Timer([](io::Timer& self) { static_cast<Watch&>(self).host.watch(); }), host(owner) {}

        Host& host;
    };

    void watch();
    void tell(std::string_view what);
    bool try_to_open(std::uint32_t bound);

    Corridor& corridor_;
    shared::HostFacts own_facts_;  // in use where the table of all hosts is full
    shared::HostFacts& facts_;
    bool probing_ = false;  // this worker is
    Watch watch_{*this};    // set while this worker has set it aside
    unsigned breaks_ = 0;
    base::Instant last_break_{};
    base::Duration full_pause_{};
    base::Instant full_until_{};
    base::Instant last_heard_{};
    std::size_t next_source_ = 0;
    std::array<base::List<Connection, Staged>, stages> lists_;
    std::array<std::uint32_t, stages> counts_{};
    base::ObjectPool<Connection> connections_;
};

}  // namespace postern::relay

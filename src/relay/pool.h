#pragma once

#include <array>
#include <string>

#include "connection.h"
#include "postern/base/object_pool.h"

namespace postern::relay {

/// One smart host at one address: its connections and what is thought of its health.
///
/// A host in trouble is set aside, 1 s doubled up to 30 s; then one connection with one message at
/// a time is tried, and the answer to that message makes it trusted again. A host that refuses one
/// more connection while others work is not in trouble, it is full: it keeps its mail and is asked
/// for no more connections during the pause.
class Host {
   public:
    enum class Health : std::uint8_t { trusted, aside, probing };

    Host(Corridor& corridor, Pool& pool, const io::Address& address, const PoolSettings& settings);

    ~Host();

    /// What went wrong, for the log. `whole`: it concerns the host however many connections work.
    void failed(std::string_view what, bool whole);
    /// It answered for a message.
    void answered();
    /// May a message be handed to it at all? Ends a pause that is over.
    bool usable();

    bool probing() const { return health_ == Health::probing; }

    bool aside() const { return health_ == Health::aside; }

    /// It has a connection that mail can go by.
    bool works() const { return count(Stage::idle) + count(Stage::busy) > 0; }

    /// Opens a connection, if bounds and health allow one more.
    bool open_connection();
    void closed(Connection& connection);  // frees it

    bool keeps_quiet() const { return connections_.used() == 0; }

    /// Moves a connection (that is in no list before its first stage) to the list of its stage.
    void file(Connection& connection, Stage from, Stage to);

    base::List<Connection, Staged>& list(Stage stage) { return lists_[index(stage)]; }

    std::uint32_t count(Stage stage) const { return counts_[index(stage)]; }

    Pool& pool;
    const io::Address address;
    const std::string text;
    metrics::Series& counts;
    const io::Address* source = nullptr;
    smtp::Pace pace;
    std::uint32_t recipients_max = 0;  // as its last EHLO said; 0: no word of it
    bool lacks_smtputf8 = false;       // as its last EHLO said
    std::uint32_t in_flight = 0;       // messages on its connections

   private:
    static std::size_t index(Stage stage) { return static_cast<std::size_t>(stage); }

    Corridor& corridor_;
    Health health_ = Health::trusted;
    base::Duration pause_{};
    base::Instant pause_ends_{};
    std::array<base::List<Connection, Staged>, stages> lists_;
    std::array<std::uint32_t, stages> counts_{};
    base::ObjectPool<Connection> connections_;
};

/// Where mail of one name waits, and the hosts that take it.
class Pool final : public base::ListLink<Waiting> {
   public:
    Pool(Corridor& corridor, const PoolSettings& settings);

    void submit(mail::Submission& submission);
    /// Gives what waits to connections: idle ones, then new ones, then behind what busy ones have.
    void distribute();
    /// The next message for a connection, or nullptr where another one, idle or about to be open,
    /// shall have it.
    Transfer* next(Connection& connection, Host& host);
    /// Waits again, before all others.
    void wait_again(Transfer& transfer);
    /// Its wait is over.
    void waited_too_long(Transfer& transfer);
    std::uint32_t recipients_max() const;

    bool lacks_smtputf8() const { return host_.lacks_smtputf8; }

    void close_all();
    void quit_idle();

    void settle_waiting() { settle_unreachable(0); }

    bool has_waiting() const { return waiting_count_ > 0; }

    bool keeps_quiet() const { return waiting_count_ == 0 && host_.keeps_quiet(); }

    const PoolSettings settings;
    const smtp::ClientSettings client_settings;

   private:
    void settle_unreachable(std::uint32_t keep);
    void wait_until_busy(Transfer& transfer);
    void wait(Transfer& transfer);

    Corridor& corridor_;
    Host host_;
    base::List<smtp::Transfer> waiting_;
    std::uint32_t waiting_count_ = 0;
};

}  // namespace postern::relay

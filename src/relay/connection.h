#pragma once

#include <string_view>

#include "corridor.h"
#include "postern/io/stream.h"
#include "secure.h"

namespace postern::relay {

class Host;

/// Where in its life a connection is; its host keeps a list for each.
enum class Stage : std::uint8_t { opening, idle, busy, closing };
constexpr std::size_t stages = 4;

/// Tag of those lists.
struct Staged;

/// One connection to a smart host: a stream and the session it carries. Owned by its host, which
/// frees it when its stream has closed. While it is open a receive is armed, so a host that closes
/// is noticed; at most one send is under way.
class Connection final : public base::ListLink<Staged>,
                         public base::ListLink<Ready>,
                         io::StreamOwner,
                         smtp::ClientOwner {
   public:
    Connection(Corridor& corridor, Host& host);

    /// False: no socket, and `why` says so.
    bool open(base::Error& why);
    /// Writes what may go out now, taking messages from the pool's queue as `next` allows.
    void pump();
    /// No message is wanted any more.
    void quit();
    /// At once; what was on its way is settled when the stream has closed.
    void close();
    /// `kind`: of the outcome, where its last octet has not been given out.
    void give_up(Transfer& transfer, mail::Outcome::Kind kind);
    /// The body of one that is held goes.
    void go_on(Transfer& transfer);

    const smtp::ClientSession& session() const { return session_; }

    Stage stage() const { return stage_; }

    /// When it began to open.
    base::Instant opened() const { return opened_; }

   private:
    struct Deadline : io::Timer {
        explicit Deadline(Connection& c);
        Connection& connection;
    };

    // io::StreamOwner
    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    // smtp::ClientOwner
    smtp::Transfer* next() override;
    bool sender_gone(smtp::Transfer& transfer) override;
    void held(smtp::Transfer& transfer) override;
    void settled(smtp::Transfer& transfer, const smtp::Verdict& verdict) override;
    void released(smtp::Transfer& transfer) override;

    // TLS
    bool in_handshake() const { return session_.starts_tls(); }

    void begin_tls();
    void received_sealed(std::string_view octets);
    void pump_sealed();
    void sealed_sent();
    void tls_failed();
    void close_with_last_word();
    void no_tls(const std::string& what, bool may_be_plain);

    void goes_elsewhere(Transfer& transfer);
    std::span<iovec> lay();
    void look_again();
    void on_deadline();
    /// After anything that happened: ends, or takes its place and its deadline anew.
    void update();
    void session_ended();
    void broken(std::string_view what);
    void set_stage(Stage next);
    void set_deadline();
    base::Instant next_deadline() const;
    bool too_old() const;

    Corridor& corridor_;
    Host& host_;
    io::Stream stream_;
    smtp::ClientSession session_;
    Deadline deadline_;
    base::BlockRef output_;  // the pieces and commands that are being sent
    std::unique_ptr<Secure> secure_;
    base::Instant opened_;
    base::Instant idle_since_;
    Stage stage_ = Stage::opening;
    bool quitting_ = false;
    bool useless_ = false;         // its host refuses whatever comes
    std::uint32_t unsettled_ = 0;  // messages on it
};

}  // namespace postern::relay

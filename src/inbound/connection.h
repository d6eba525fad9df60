#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "corridor.h"
#include "postern/base/list.h"
#include "postern/io/stream.h"
#include "postern/io/timer.h"
#include "postern/smtp/server_session.h"
#include "secure.h"

namespace postern::inbound {

struct AllConnections;

/// One sender. Moves octets between its stream and its session, and asks the world what the session
/// wishes to know.
///
/// Nothing is read while it cannot be used: a receive is armed only when all input is consumed and
/// the session wants more. Answers gather in one block; at most one send is under way, and while
/// the block is full no input is consumed. An idle connection holds neither block. Lives in the
/// corridor's pool, from accept to on_closed.
class Connection final : private io::StreamOwner,
                         private io::Timer,
                         public base::ListLink<AllConnections> {
   public:
    Connection(Corridor& corridor, std::shared_ptr<const Terms> terms, const io::Address& address);
    ~Connection();

    /// Asks the world whether this client may come, and greets it or sends it away.
    void begin(int descriptor);
    void answer(const mail::Reply& reply);
    void answer_recipient(const mail::Reply& reply);
    void authenticated(const mail::Reply& reply);
    void go_on_with_body();
    bool sender_gone();
    /// The sender is waited for a little longer, and no more.
    void hurry();
    void shut_down();
    void cut();

   private:
    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    static void on_due(io::Timer& self);

    // arrival.cc
    void become(const mail::Client& client);
    void arrive(const mail::Client& client);
    void pause();
    void hold_peace();
    void greet();
    void turn_away(const mail::Reply& reply);
    void early_due();
    void await_proxy_header();
    void take_proxy_header(base::BlockRef block, std::string_view bytes);
    void drop_proxy(const mail::Reply& reason);
    void forget_proxy_header();

    // introduced.cc
    [[gnu::cold]] void introduce(smtp::Exchange& exchange);
    mail::Reply move(std::string_view attributes);
    mail::Reply move(const std::optional<base::IpAddress>& ip, std::uint16_t port);
    mail::Client client(io::Address::HostText& text) const;

    bool take_output_block();
    smtp::Exchange exchange();
    void note_written(const smtp::Exchange& exchange);

    void sender_ended();
    void run();
    bool step();
    bool act(smtp::Wish wish, smtp::Exchange& exchange);
    bool check_password(smtp::Exchange& exchange);
    void settle_login(smtp::Exchange& exchange, const mail::Reply& reply);
    void leave_login();

    bool waits() const {
        return session_.awaits_answer() || session_.awaits_recipient() ||
               session_.awaits_password_check();
    }

    /// Nothing is received before go_on_with_body.
    bool pauses() const { return submission_ != nullptr && submission_->pauses; }

    // In connection_message.cc.
    void begin_submission(smtp::Exchange& exchange);
    bool take_recipient(smtp::Exchange& exchange);
    void settle_recipient(
        smtp::Exchange& exchange, const mail::Submission::Asked& asked, const mail::Reply& reply);
    void begin_body(smtp::Exchange& exchange);
    void append(smtp::Exchange& exchange);
    void refuse_body(smtp::Exchange& exchange, smtp::Answer answer);
    void submit();
    bool reserve(std::uint64_t octets);
    bool append_received_line();

    void complete_line();
    bool want_input();
    void flush();
    void end_stream();
    void set_deadline(base::Duration from_now);
    void wait_for_sender(base::Duration timeout);
    void go_on();
    void end(smtp::Answer answer);
    void leave_submission();
    void close();
    void refused(std::string_view what, std::string_view address, const mail::Reply& reply);
    void noticed(World::Notice notice);

    /// What is awaited of the sender.
    enum class Stage : std::uint8_t { session, proxy_header, pause };

    // In connection_tls.cc.
    bool sealed() const;
    bool shaking_hands() const;
    bool take_secure(bool implicit);
    void let_secure_go();
    bool take_sealed_block();
    void take_starttls(smtp::Exchange& exchange, bool more_waits);
    void begin_tls();
    void shake_hands();
    void secured();
    void tls_failed(std::string_view why);
    bool decrypt();
    bool seal();
    void flush_sealed();
    bool may_wait_for_more() const;

    /// After our last answer: how long, and how much of what still comes, we read so that a reset
    /// does not destroy it.
    static constexpr base::Duration linger_time = std::chrono::seconds(5);
    static constexpr base::Duration linger_time_briefly = std::chrono::seconds(1);
    static constexpr std::uint64_t linger_octets = std::uint64_t{16} << 20;

    Corridor& corridor_;
    const std::shared_ptr<const Terms> terms_;

    /// AUTH's, and what came of it: there are few that say it, and many connections.
    struct Login {
        std::string name;
        PasswordCheck* check = nullptr;  // while it is under way
    };

    mail::Submission* submission_ = nullptr;
    Secure* secure_ = nullptr;  // in the corridor's pool; null: in plain text
    std::unique_ptr<Login> login_;
    ProxyHeader* proxy_header_ = nullptr;  // while it comes
    Particulars* particulars_ = nullptr;   // of those who said XCLIENT or XFORWARD
    std::uint64_t client_key_ = 0;
    std::uint64_t client_network_ = 0;
    base::BlockRef received_block_;
    std::string_view received_;  // what is not consumed yet; lies in received_block_
    base::BlockRef line_;        // a command line of which a part has come
    base::BlockRef
        output_;  // answers: [0, written_), of which [0, sent_) are with the kernel or gone
    std::uint32_t client_generation_ = 0;  // fewer than 2^32 reloads happen
    std::uint16_t written_ = 0;
    std::uint16_t sent_ = 0;
    std::uint16_t line_size_ = 0;
    bool admitted_ : 1 = false;  // the world counts it. Bits: there may be very many of us
    bool trusted_ : 1 = false;
    bool exempt_ : 1 = false;
    bool counted_ : 1 = false;
    bool stated_ : 1 = false;        // the address is not that of the connection itself
    bool unknown_ : 1 = false;       // XCLIENT says that nobody knows it; address_ is who said so
    bool health_check_ : 1 = false;  // of a proxy, which speaks for no client
    bool slowed_ : 1 = false;        // by the session: nothing is read until it is due
    bool closing_ : 1 = false;       // when all is sent, it ends
    bool parted_ : 1 = false;        // closing: the sender is not expected to send more
    Stage stage_ : 2 = Stage::session;
    io::Address address_;
    io::Stream stream_;
    smtp::ServerSession session_;
};

}  // namespace postern::inbound

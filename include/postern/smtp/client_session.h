#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/block.h"
#include "postern/base/list.h"
#include "postern/base/time.h"
#include "postern/mail/submission.h"
#include "postern/smtp/reply_parser.h"

/// One connection to a smart host, seen as a protocol (product.md, section 4): bytes and time in,
/// bytes and verdicts out. Pure and of one thread; whoever drives it owns the socket, the clock and
/// the messages. Nothing is allocated for a message: what goes out is made as it is asked for,
/// command bytes into the caller's room and bodies by reference.
namespace postern::smtp {

/// What a session is told once. Outlives it.
struct ClientSettings {
    /// STARTTLS: never, where it is offered, or else nothing goes.
    enum class Tls : std::uint8_t { none, offered, required };

    std::string helo;
    std::uint32_t pipeline_max = 64;     // messages in flight
    std::uint32_t recipients_max = 100;  // in a transaction
    bool send_8bit = false;
    std::vector<std::string> ehlo_ignore;  // upper case
    Tls tls = Tls::none;
    // AUTH (RFC 4954), before anything else is said; empty: none. Only under TLS, unless `tls` is
    // none. Each up to auth_octets_max.
    std::string auth_user;
    std::string auth_password;
    bool xforward = false;  // the host is told who the client was, where it wants to know

    static constexpr std::size_t auth_octets_max = 255;  // RFC 4616, 2
};

/// How long a host usually takes to answer a body, learned by all sessions to it.
struct Pace {
    base::Duration usual{};

    void learn(base::Duration taken) { usual += (taken - usual) / 8; }
};

/// What became of a message on one session. Views live for the call in which it is given.
struct Verdict {
    enum class Kind : std::uint8_t {
        accepted,      // 2xx to the body; to the RCPT, where the submission is a question
        refused,       // by the host, or for what the host lacks: `reply` is for the sender
        divided,       // each Recipient has its answer, nothing was sent
        too_many,      // the host takes fewer recipients, or domains of them, at a time
        host_trouble,  // the first refused step tells of the host: the message may go elsewhere
        dropped,       // the sender had gone
        again,    // the connection ended and the message was not sent whole: it may go elsewhere
        unknown,  // the connection ended, the last octet had been given out and no answer came
    };
    Kind kind = Kind::again;
    mail::Reply reply;
    std::string_view host_said;
    bool stale = false;  // again, by no fault of the message or host: the connection had been idle,
                         // or had had enough
};

/// A message on its way over a session: embedded in what the driver keeps of it. Linked in the
/// session from `next` to `released`.
class Transfer : public base::ListLink<> {
   public:
    mail::Submission* submission = nullptr;

    /// Its last octet has been given out.
    bool whole() const { return whole_; }

    /// Its RCPTs are answered, some of them by a yes, and its body waits to be told to go
    /// (mail::Submission::waits).
    bool held() const { return held_ && !settled_; }

    /// A new message is to go by it.
    void renew() { tries_afresh_ = 0; }

   private:
    friend class ClientSession;
    enum class Write : std::uint8_t { rset, xforward, mail, rcpt, data, body, end };

    Write write_ = Write::rset;  // what is to be written next
    bool has_rset_ = false;
    XforwardSet xforward_ = 0;      // what is told
    std::uint8_t before_mail_ = 0;  // commands: RSET, and those that tell it
    bool on_idle_ = false;          // nothing else was on its way when it began
    bool one_flight_ = false;  // DATA or BDAT goes without waiting for the answers to MAIL and RCPT
    bool settled_ = false;     // its verdict has been given
    bool lone_dot_ = false;    // all that goes is the end of the data
    bool go_ahead_ = false;    // what is to be written next was waited for, and may go
    bool mail_refused_ = false;
    std::uint8_t tries_afresh_ = 0;  // refused at MAIL by connections that may have had enough
    bool rcpt_refused_ = false;
    bool held_ = false;
    bool body_begun_ = false;
    bool whole_ = false;       // its last octet has been given out
    std::uint32_t asked_ = 0;  // commands written that have an answer
    std::uint32_t answered_ = 0;
    std::uint32_t accepted_ = 0;  // recipients
    mail::Recipient* rcpt_to_write_ = nullptr;
    mail::Recipient* rcpt_to_answer_ = nullptr;
    mail::Body::Cursor cursor_;
    std::uint32_t offset_ = 0;       // of the next octet in the cursor's slice
    std::uint64_t last_output_ = 0;  // the last that refers to it
};

/// Where a session lays what is to go out: the caller's array of pieces, and room for the commands'
/// text.
class Output {
   public:
    Output(std::span<iovec> pieces, std::span<char> room) : pieces_(pieces), room_(room) {}

    std::span<iovec> pieces() const { return pieces_.first(count_); }

    bool empty() const { return count_ == 0; }

   private:
    friend class ClientSession;

    /// With more of a body in it, a host that reads slowly, but reads, would be taken for silent
    /// until it has read all: sent() alone tells of it.
    bool has_enough() const { return octets_ >= std::size_t{2} << 20; }

    std::size_t pieces_left() const { return pieces_.size() - count_; }

    std::size_t room_left() const { return room_.size() - used_; }

    void text(std::string_view text);
    void number(std::uint64_t value);
    void base64(std::string_view octets);
    void refer(std::string_view bytes);

    std::span<iovec> pieces_;
    std::span<char> room_;
    std::size_t count_ = 0;
    std::size_t used_ = 0;    // octets of `room_`
    std::size_t octets_ = 0;  // of all pieces
};

/// What a session asks of its driver and tells it. Called from within received(), write(), sent()
/// and ended().
class ClientOwner {
   public:
    /// The next message for this connection, or nullptr. The session holds it until `released`.
    virtual Transfer* next() = 0;
    /// Looked at once, before the write that completes a message.
    virtual bool sender_gone(Transfer& transfer) = 0;
    /// It is held() from now on.
    virtual void held(Transfer& transfer) = 0;
    /// Once for each transfer, unless it was given up before.
    virtual void settled(Transfer& transfer, const Verdict& verdict) = 0;
    /// The session holds nothing of it any more. Behind `settled`.
    virtual void released(Transfer& transfer) = 0;

   protected:
    ~ClientOwner() = default;
};

class ClientSession {
   public:
    /// The least room that write() wants: a RCPT with the longest address and ORCPT.
    static constexpr std::size_t command_octets_max = 1664;
    static constexpr std::size_t address_octets_max = 1000;
    static constexpr std::size_t pieces_min = 8;

    /// `partial_pool`: one block while a reply has come in part; of ReplyParser::octets_max or
    /// more.
    ClientSession(
        const ClientSettings& settings,
        Pace& pace,
        ClientOwner& owner,
        base::BlockPool& partial_pool);
    ~ClientSession();
    ClientSession(const ClientSession&) = delete;
    ClientSession& operator=(const ClientSession&) = delete;

    /// What the host said. All of it is taken.
    void received(std::string_view bytes, base::Instant now);
    /// Lays what may go out now. REQUIRES: the output before this one has been sent. What the
    /// pieces refer to stays until sent() or ended(). An empty output: nothing to send until
    /// something is received, or `next` has something.
    void write(Output& output, base::Instant now);
    /// The last output has been given to the kernel, all of it.
    void sent(base::Instant now);
    /// ... or not all of it: the connection is of no more use, and ended() follows.
    void send_failed();
    /// No message is wanted any more: QUIT. REQUIRES: idle().
    void quit();
    /// The connection is closed and nothing is under way: every message still here is settled
    /// (again or unknown) and released, the last one first.
    void ended();

    /// The host has agreed to TLS: what comes from now on is the handshake's, which the driver
    /// does. It ends in secured(), or the connection does.
    bool starts_tls() const { return state_ == State::handshake && ending_ == Ending::none; }

    /// All that was said before the handshake is forgotten (RFC 3207, 4.2).
    void secured(base::Instant now);

    bool secure() const { return secure_; }

    /// The body goes now. REQUIRES: held().
    static void go_on(Transfer& transfer);
    /// The message must not wait longer: its verdict is the driver's, and `settled` is not called
    /// for it. True: its last octet has been given out. `released` follows when its answers are in
    /// or the connection has ended.
    bool give_up(Transfer& transfer);

    enum class Ending : std::uint8_t {
        none,
        quit,          // the host's answer to QUIT
        host_closing,  // 421
        malformed,     // no reply, or one past the bounds
        unexpected,    // an answer where none, or another, was due
        refused,       // greeting, EHLO, HELO, STARTTLS or AUTH
        no_tls,        // wanted, and not offered or refused: `refused_step`
        injected,      // more stood behind its answer to STARTTLS, in plain text
        dropped,       // a body was begun and its sender has gone
        no_memory,     // for a reply that came in part
    };

    /// Other than none: the connection is to be closed; nothing is read or written any more.
    Ending ending() const { return ending_; }

    /// With refused: what was asked, and what the host said (valid until the bytes given to
    /// received() go).
    std::string_view refused_step() const { return refused_step_; }

    std::string_view refused_said() const { return refused_said_; }

    bool ready() const { return state_ == State::ready && ending_ == Ending::none; }

    /// Ready, and no message is on its way.
    bool idle() const { return ready() && transfers_.empty() && !clearing_; }

    std::uint32_t in_flight() const { return in_flight_; }

    /// Messages begun on this connection.
    std::uint32_t mail_count() const { return mail_count_; }

    const Capabilities& capabilities() const { return capabilities_; }

    /// May it take another message besides those it has: LIMITS MAILMAX not reached, and nothing
    /// overdue.
    bool may_take(base::Instant now) const;

    /// What is awaited of the host, and since when: the answer before it, or the octets sent last.
    enum class Awaited : std::uint8_t { nothing, reply, body_reply };
    Awaited awaited() const;

    base::Instant awaited_since() const { return progress_; }

   private:
    enum class State : std::uint8_t {
        greeting,
        ehlo,
        helo,
        starttls,
        handshake,
        auth_plain,
        auth_login,
        auth_login_user,
        auth_login_password,
        ready,
        quitting,
    };
    enum class Step : std::uint8_t { rset, xforward, mail, rcpt, data, body };

    // writing
    bool begin_next(base::Instant now);
    void begin(Transfer& transfer, base::Instant now);
    bool write_transfer(Transfer& transfer, Output& output);
    bool write_body(Transfer& transfer, Output& output);
    bool lay_slices(Transfer& transfer, Output& output);
    bool lay_stuffed(Transfer& transfer, Output& output);
    void write_opening(Output& output);
    /// Of `all`, what the command of that number tells; 0: there is none.
    static XforwardSet xforward_words(XforwardSet all, std::uint32_t command);

    [[gnu::cold]] static void write_xforward(
        const Transfer& transfer, XforwardSet words, Output& output);
    void write_mail(Transfer& transfer, Output& output);
    void write_rcpt(const Transfer& transfer, Output& output);
    static void write_dsn(const mail::Envelope& envelope, Output& output);
    static void write_dsn(const mail::Recipient& recipient, Output& output);
    bool takes_as_many(const mail::Envelope& envelope) const;
    std::optional<mail::Reply> lacking(const mail::Submission& submission) const;

    // reading
    void reply(const HostReply& reply, base::Instant now);
    void opening_reply(const HostReply& reply);
    void greeted();
    void authenticate();
    void ask(State state);
    std::string_view opening_step() const;
    void transfer_reply(Transfer& transfer, const HostReply& reply);
    void rcpt_reply(Transfer& transfer, const HostReply& reply);
    void all_rcpts_answered(Transfer& transfer, const HostReply& reply);
    void data_reply(Transfer& transfer, const HostReply& reply);
    void body_reply(Transfer& transfer, const HostReply& reply);
    void closing_reply(const HostReply& reply);
    void refuse(Transfer& transfer, const HostReply& reply, bool to_rcpt);
    static constexpr std::uint8_t tries_afresh_max = 4;
    bool worn_out(const Transfer& transfer) const;
    void try_afresh(Transfer& transfer, const HostReply& reply);
    void settle(Transfer& transfer, const Verdict& verdict);
    void skip_body(Transfer& transfer);
    void drop();
    void close_if_dropped();
    void end(Ending ending);
    Step awaited_step(const Transfer& transfer) const;
    Transfer* first_awaited() const;

    bool done(const Transfer& transfer) const {
        return transfer.write_ == Transfer::Write::end && transfer.answered_ == transfer.asked_;
    }

    void release_done();

    const ClientSettings& settings_;
    Pace& pace_;
    ClientOwner& owner_;
    base::BlockPool& partial_pool_;
    State state_ = State::greeting;
    Ending ending_ = Ending::none;
    bool secure_ = false;
    bool xforward_refused_ = false;
    bool to_write_opening_ = false;  // what `state_` stands for
    bool clearing_ = false;  // a RSET of the session's own is on its way, nothing behind a message
    bool transaction_left_ = false;  // the host may hold one open that came to nothing
    bool dropping_ = false;  // nothing more is written; closes when what is in front is answered
    bool tail_failed_ = false;
    Capabilities capabilities_;
    mutable base::List<Transfer> transfers_;  // in the order in which they were begun
    Transfer* writing_ = nullptr;             // always the last of them
    Transfer* output_tail_ = nullptr;         // whose last octet ends the output under way
    std::uint32_t in_flight_ = 0;
    std::uint32_t mail_count_ = 0;
    std::uint64_t outputs_ = 0;
    std::uint64_t outputs_sent_ = 0;
    base::Instant progress_{};       // the last answer, or octets given to the kernel
    base::Instant waiting_since_{};  // the last answer, or the write before which none was awaited
    base::Instant batch_since_{};    // waiting_since_ when the octets at hand came
    ReplyParser parser_;
    base::BlockRef partial_;
    std::size_t partial_size_ = 0;
    std::string_view refused_step_;
    std::string_view refused_said_;
};

}  // namespace postern::smtp

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "postern/base/time.h"
#include "postern/mail/reply.h"
#include "postern/smtp/answer.h"
#include "postern/smtp/auth_exchange.h"
#include "postern/smtp/body_scanner.h"
#include "postern/smtp/client_attribute.h"
#include "postern/smtp/extension.h"
#include "postern/smtp/header_watcher.h"
#include "postern/smtp/path.h"

/// The server's side of SMTP (RFC 5321 with the extensions of extension.h) as a pure state machine:
/// bytes go in, answers go into memory that the driver gives, and wishes come out one at a time. It
/// knows neither sockets nor rules nor where a body goes, and allocates nothing but for an AUTH.
/// One for each connection, one thread.
namespace postern::smtp {

/// What a listener's sessions have in common; outlives them.
struct ServerSettings {
    std::string_view hostname;
    ExtensionSettings limits;
    ExtensionSet hidden = 0;  // extensions that EHLO does not list and that are then not in effect
    bool starttls = false;    // TLS is to be had
    bool reject_bare_newline = false;
    std::uint32_t errors_max = 20;  // bad commands in one session, at most 10,000; 0: no bound
    std::uint32_t received_max = 100;
    bool has_passwords = false;  // AUTH is there for sessions that are secure
};

/// What the driver is to do before it calls `step` again.
enum class Wish : std::uint8_t {
    input,  // hand in more bytes: what is left of `input` (a partial command line) in front of them
    room,   // send what was written: there is no room for another answer
    begin,  // a MAIL: `path`, `parameters`; then accept or refuse
    recipient,  // a RCPT: `path`, `recipient_parameters`; then accept or refuse, whenever it is
                // known
    body,       // a body is about to begin: may its memory be filled? Then accept, or refuse_body
    append,     // `piece` belongs to the body
    submit,     // the message is whole; then answer, whenever it is known
    check_password,  // `credentials`, which live until the answer; then authenticated, whenever it
                     // is known
    start_tls,  // a STARTTLS; then accept, and `secured` when the handshake is done; or refuse; or,
                // where input waits behind it, end (RFC 3207, section 5)
    introduced,  // an XCLIENT or XFORWARD: `introduction`, `attributes`; then restart or accept, or
                 // refuse
    abandon,     // the transaction is over without a message; the session goes on
    refused,  // for the log: `refusal` was just answered, or will be at the end of the body under
              // way
    hostile_end,  // the same, and the session ends by it: its client does what no mail needs
    close,        // send what was written, then close; a transaction that is open is over
};

/// A command, or a body, that the session itself refused (what the driver refuses it knows). Views
/// into `input` or text that lives for ever.
struct Refusal {
    std::string_view verb;     // in upper case; empty: none that is known
    std::string_view address;  // the argument of MAIL or RCPT, as it came
    mail::Reply reply;
};

/// What `step` reads and writes. Lives on the driver's stack; its content is valid until the next
/// call, as long as the memory behind `input` is.
struct Exchange {
    std::string_view input;  // what was received; taken from the front
    std::span<char> output;  // room for answers; taken from the front
    Path path;
    MailParameters parameters;
    RecipientParameters recipient_parameters;
    Introduction introduction = Introduction::client;
    std::string_view attributes;  // each of them is good
    BodyPiece piece;
    Credentials credentials;
    Refusal refusal;
};

/// A command line with its CRLF. RFC 5321, section 4.5.3.1.4, asks for 512 and what extensions add.
constexpr std::size_t command_line_max = 2048;
/// What is thrown away of one over-long line before the session ends.
constexpr std::size_t endless_line_octets = 256 * 1024;
/// RFC 5321, section 4.5.3.1.2.
constexpr std::size_t hello_name_max = 255;
/// Bad commands past the half of errors_max, and refused recipients past the first
/// wrong_recipients_free that no accepted message follows, slow a session down: each makes the
/// pause before more is read from it longer, by one step more than the one before. A pipeline is
/// answered as a whole and waits then.
constexpr std::uint32_t wrong_recipients_free = 50;
constexpr std::uint32_t wrong_recipients_max = 250;  // ends the session
constexpr std::uint32_t error_pause_step_ms = 100;
constexpr std::uint32_t wrong_recipient_pause_step_ms = 20;
constexpr std::uint32_t pause_of_one_max_ms = 2'000;
constexpr std::uint32_t pause_max_ms = 10'000;
/// While less room than this is left, `step` does nothing but wish for room.
constexpr std::size_t output_room_min = reply_octets_max + 1024;

class ServerSession {
   public:
    explicit ServerSession(const ServerSettings& settings) : settings_(&settings) {}

    /// Extensions of `granted_only` that this client may use.
    void grant(ExtensionSet extensions) { granted_ = extensions; }

    /// Writes the greeting. REQUIRES: output_room_min octets of output, here and below.
    void greet(Exchange& exchange);

    /// Does the next thing and says what it needs. Takes no input while it waits for an answer of
    /// the driver. REQUIRES: what the last wish asked for was done.
    Wish step(Exchange& exchange);

    /// After begin, recipient, body, start_tls, and the introduction of XFORWARD.
    void accept(Exchange& exchange);
    /// After the introduction of XCLIENT: the session begins anew, with its greeting, as that of a
    /// client that has authenticated elsewhere, or has not.
    void restart(Exchange& exchange, bool authenticated);
    /// After begin, recipient, start_tls and introduced.
    void refuse(Exchange& exchange, const mail::Reply& reply);
    /// After body, or while one arrives: what is still to come of it is thrown away, and then this
    /// answered. An abandon follows.
    void refuse_body(Exchange& exchange, Answer answer);
    /// After submit: the sender's final answer. A 421 ends the session.
    void answer(Exchange& exchange, const mail::Reply& reply);
    /// After check_password: a 2xx, and the client is authenticated; else why not. A 421 ends the
    /// session.
    void authenticated(Exchange& exchange, const mail::Reply& reply);
    /// Our own ending: one of the 421s, or another answer that closes.
    void end(Exchange& exchange, Answer answer);
    /// What comes from now on comes through TLS, and the session is as new (RFC 3207, section 4.2).
    /// Behind start_tls, or before anything was said.
    void secured();

    std::string_view hello_name() const { return {hello_name_.data(), hello_name_size_}; }

    bool esmtp() const { return esmtp_; }

    bool secure() const { return secure_; }

    bool has_quit() const { return quit_; }

    /// Does the next input belong to a body?
    bool in_body() const { return mode_ == Mode::data || mode_ == Mode::chunk; }

    bool awaits_answer() const { return mode_ == Mode::await_answer; }

    bool awaits_recipient() const { return mode_ == Mode::await_recipient; }

    bool awaits_password_check() const { return mode_ == Mode::await_password; }

    /// What is taken as input now is secret: the driver overwrites it.
    bool takes_secrets() const { return auth_exchange_ != nullptr; }

    /// Does what the last XFORWARD said hold for the next transaction, or the one under way?
    bool forwarded() const { return forwarded_; }

    /// By DATA, not by BDAT. REQUIRES: in_body().
    bool by_data() const { return mode_ == Mode::data; }

    /// Is the driver to wait before it reads more? For how long: what this sender has earned since
    /// that was last asked.
    bool has_pause() const { return pause_ms_ != 0; }

    base::Duration take_pause() {
        return std::chrono::milliseconds(std::exchange(pause_ms_, std::uint16_t{0}));
    }

    /// Between transactions, nothing owed.
    bool idle() const {
        return mode_ == Mode::command && (phase_ == Phase::start || phase_ == Phase::ready);
    }

    /// For the message that is whole: an octet over 127 in it, or in its header.
    bool has_eight_bit() const { return scanner_.eight_bit(); }

    bool has_utf8_header() const { return header_.non_ascii(); }

    /// How the current transaction came, for Received: (RFC 3848, RFC 6531).
    std::string_view protocol() const;

   private:
    friend struct VerbRow;
    /// How far the sender is: what commands may come. Bits, for the verb table.
    enum class Phase : std::uint8_t {
        start = 1,          // before EHLO or HELO
        ready = 2,          // after it, no transaction
        mail = 4,           // MAIL was accepted
        recipients = 8,     // and a RCPT
        chunks = 16,        // and a BDAT that was not the last
        chunks_failed = 32  // a BDAT was refused: so is every further one of that message
    };
    /// What the next input is, or whose answer is awaited.
    enum class Mode : std::uint8_t {
        command,
        long_line,  // what is left of an over-long command line
        data,
        chunk,
        auth,  // what the client says to a 334, or the rest of a long AUTH
        await_begin,
        await_recipient,
        await_introduced,
        await_data,  // may the body begin?
        await_chunk,
        await_answer,
        await_tls,  // may TLS begin?
        handshake,
        await_password,
        closing,
    };

    /// Nothing: the session goes on with the next thing by itself.
    using Next = std::optional<Wish>;
    Next step_once(Exchange& exchange);
    Next step_command(Exchange& exchange);
    Next step_long_line(Exchange& exchange);
    Next step_body(Exchange& exchange);
    Next step_auth(Exchange& exchange);
    bool step_long_auth(Exchange& exchange);
    Next run_command(Exchange& exchange, std::string_view line);
    Next take_piece(Exchange& exchange);
    Next chunk_ended(Exchange& exchange);
    Next message_ended(Exchange& exchange);

    Answer check_nothing(Exchange& exchange, std::string_view argument);
    Answer check_hello(Exchange& exchange, std::string_view argument);
    Answer check_mail(Exchange& exchange, std::string_view argument);
    Answer check_recipient(Exchange& exchange, std::string_view argument);
    Answer check_chunk(Exchange& exchange, std::string_view argument);
    Answer check_starttls(Exchange& exchange, std::string_view argument);
    Answer check_auth(Exchange& exchange, std::string_view argument);
    template <Introduction kind>
    Answer check_introduction(Exchange& exchange, std::string_view argument);
    Next proceed_hello(Exchange& exchange, std::string_view argument);
    Next proceed_extended_hello(Exchange& exchange, std::string_view argument);
    Next proceed_mail(Exchange& exchange, std::string_view argument);
    Next proceed_recipient(Exchange& exchange, std::string_view argument);
    Next proceed_data(Exchange& exchange, std::string_view argument);
    Next proceed_chunk(Exchange& exchange, std::string_view argument);
    Next proceed_auth(Exchange& exchange, std::string_view argument);
    Next end_auth_line(Exchange& exchange, bool initial);
    void fail_auth(Exchange& exchange, Answer answer);
    template <Introduction kind>
    Next proceed_introduction(Exchange& exchange, std::string_view argument);
    Next proceed_reset(Exchange& exchange, std::string_view argument);
    Next proceed_starttls(Exchange& exchange, std::string_view argument);
    Next proceed_quit(Exchange& exchange, std::string_view argument);
    Next proceed_http(Exchange& exchange, std::string_view argument);
    template <Answer text>
    Next proceed_saying(Exchange& exchange, std::string_view argument);

    ExtensionSet offered() const;
    bool offers(Extension extension) const;
    Answer wrong_order(const struct VerbRow& row) const;
    void say(Exchange& exchange, Answer answer);
    void say_reply(Exchange& exchange, const mail::Reply& reply);
    void say_refusal(Exchange& exchange, Answer answer, bool counted = true);
    void count_error(Exchange& exchange);
    void count_wrong_recipient(Exchange& exchange);
    void slow_down(std::uint32_t steps, std::uint32_t step_ms);
    void end_as_hostile(Exchange& exchange, Answer answer);
    void take_hello(std::string_view name, bool esmtp);
    void begin_body(Mode mode);
    void drop_body(Answer answer);
    void fail_body(Exchange& exchange, Answer answer);
    void end_transaction(Phase next);

    const ServerSettings* settings_;
    Phase phase_ = Phase::start;
    Mode mode_ = Mode::command;
    Answer body_failure_ = Answer::none;  // of the body under way, or of the failed chunks before
    bool esmtp_ = false;
    ExtensionSet granted_ = 0;
    bool smtputf8_ : 1 = false;         // of the transaction
    bool recipient_tried_ : 1 = false;  // of the transaction
    bool behind_mail_ : 1 = false;      // since MAIL there was nothing but RCPT
    bool last_chunk_ : 1 = false;
    bool chunk_malformed_ : 1 = false;  // but for its size, as far as that goes
    bool quit_ : 1 = false;
    bool secure_ : 1 = false;
    bool authenticated_ : 1 = false;
    bool forwarded_ : 1 = false;
    bool initial_response_ = false;  // the line under way is AUTH's own
    bool has_transaction_ = false;   // the driver holds one for us
    bool tell_refused_ = false;      // wishes that stand before all others
    bool tell_abandon_ = false;
    Answer hostile_end_ = Answer::none;  // we ended it, and the driver has not heard of that yet
    std::uint8_t hello_name_size_ = 0;
    std::uint8_t wrong_recipients_ = 0;  // since the last message that was accepted
    BodyScanner scanner_;
    std::uint16_t errors_ = 0;
    std::uint16_t pause_ms_ = 0;
    std::uint32_t recipient_count_ = 0;
    HeaderWatcher header_;
    std::uint64_t chunk_left_ = 0;  // octets; of a long line: octets thrown away
    std::uint64_t body_size_ = 0;   // octets of canonical content
    std::array<char, hello_name_max> hello_name_;
    std::unique_ptr<AuthExchange> auth_exchange_;  // from AUTH to its answer
};

}  // namespace postern::smtp

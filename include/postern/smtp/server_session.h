#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "postern/mail/reply.h"
#include "postern/smtp/answer.h"
#include "postern/smtp/body_scanner.h"
#include "postern/smtp/extension.h"
#include "postern/smtp/header_watcher.h"
#include "postern/smtp/path.h"

/// The server's side of SMTP (RFC 5321 with the extensions of extension.h) as a pure state machine:
/// bytes go in, answers go into memory that the driver gives, and wishes come out one at a time. It
/// knows neither sockets nor rules nor where a body goes, and allocates nothing. One for each
/// connection, one thread.
namespace postern::smtp {

/// What a listener's sessions have in common; outlives them.
struct ServerSettings {
    std::string_view hostname;
    ExtensionSettings limits;
    ExtensionSet hidden = 0;  // extensions that EHLO does not list and that are then not in effect
    bool reject_bare_newline = false;
    std::uint32_t errors_max = 20;  // bad commands in one session; 0: no bound
    std::uint32_t received_max = 100;
};

/// What the driver is to do before it calls `step` again.
enum class Wish : std::uint8_t {
    input,  // hand in more bytes: what is left of `input` (a partial command line) in front of them
    room,   // send what was written: there is no room for another answer
    begin,  // a MAIL: `path`, `parameters`; then accept or refuse
    recipient,  // a RCPT: `path`; then accept or refuse
    body,       // a body is about to begin: may its memory be filled? Then accept, or refuse_body
    append,     // `piece` belongs to the body
    submit,     // the message is whole; then answer, whenever it is known
    abandon,    // the transaction is over without a message; the session goes on
    refused,    // for the log: `refusal` was just answered, or will be at the end of the body under
                // way
    close,      // send what was written, then close; a transaction that is open is over
};

/// A command, or a body, that the session itself refused (what the driver refuses it knows). Views
/// into `input` or text that lives for ever.
struct Refusal {
    std::string_view verb;     // in upper case where it is known; empty: none (an over-long line)
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
    BodyPiece piece;
    Refusal refusal;
};

/// A command line with its CRLF. RFC 5321, section 4.5.3.1.4, asks for 512 and what extensions add.
constexpr std::size_t command_line_max = 2048;
/// What is thrown away of one over-long line before the session ends.
constexpr std::size_t endless_line_octets = 256 * 1024;
/// RFC 5321, section 4.5.3.1.2.
constexpr std::size_t hello_name_max = 255;
/// While less room than this is left, `step` does nothing but wish for room.
constexpr std::size_t output_room_min = reply_octets_max + 1024;

class ServerSession {
   public:
    explicit ServerSession(const ServerSettings& settings) : settings_(&settings) {}

    /// Writes the greeting. REQUIRES: output_room_min octets of output, here and below.
    void greet(Exchange& exchange);

    /// Does the next thing and says what it needs. Takes no input while it waits for an answer of
    /// the driver. REQUIRES: what the last wish asked for was done.
    Wish step(Exchange& exchange);

    /// After begin, recipient and body.
    void accept(Exchange& exchange);
    /// After begin and recipient.
    void refuse(Exchange& exchange, const mail::Reply& reply);
    /// After body, or while one arrives: what is still to come of it is thrown away, and then this
    /// answered. An abandon follows.
    void refuse_body(Exchange& exchange, Answer answer);
    /// After submit: the sender's final answer. A 421 ends the session.
    void answer(Exchange& exchange, const mail::Reply& reply);
    /// Our own ending: one of the 421s.
    void end(Exchange& exchange, Answer answer);

    std::string_view hello_name() const { return {hello_name_.data(), hello_name_size_}; }

    bool esmtp() const { return esmtp_; }

    /// Does the next input belong to a body?
    bool in_body() const { return mode_ == Mode::data || mode_ == Mode::chunk; }

    bool awaits_answer() const { return mode_ == Mode::await_answer; }

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
        await_begin,
        await_recipient,
        await_data,  // may the body begin?
        await_chunk,
        await_answer,
        closing,
    };

    /// Nothing: the session goes on with the next thing by itself.
    using Next = std::optional<Wish>;
    Next step_once(Exchange& exchange);
    Next step_command(Exchange& exchange);
    Next step_long_line(Exchange& exchange);
    Next step_body(Exchange& exchange);
    Next run_command(Exchange& exchange, std::string_view line);
    Next take_piece(Exchange& exchange);
    Next chunk_ended(Exchange& exchange);
    Next message_ended(Exchange& exchange);

    Answer check_nothing(Exchange& exchange, std::string_view argument);
    Answer check_hello(Exchange& exchange, std::string_view argument);
    Answer check_mail(Exchange& exchange, std::string_view argument);
    Answer check_recipient(Exchange& exchange, std::string_view argument);
    Answer check_chunk(Exchange& exchange, std::string_view argument);
    Next proceed_hello(Exchange& exchange, std::string_view argument);
    Next proceed_extended_hello(Exchange& exchange, std::string_view argument);
    Next proceed_mail(Exchange& exchange, std::string_view argument);
    Next proceed_recipient(Exchange& exchange, std::string_view argument);
    Next proceed_data(Exchange& exchange, std::string_view argument);
    Next proceed_chunk(Exchange& exchange, std::string_view argument);
    Next proceed_reset(Exchange& exchange, std::string_view argument);
    Next proceed_quit(Exchange& exchange, std::string_view argument);
    Next proceed_http(Exchange& exchange, std::string_view argument);
    template <Answer text>
    Next proceed_saying(Exchange& exchange, std::string_view argument);

    bool offers(Extension extension) const;
    Answer wrong_order(const struct VerbRow& row) const;
    void say(Exchange& exchange, Answer answer);
    void say_reply(Exchange& exchange, const mail::Reply& reply);
    void say_refusal(Exchange& exchange, Answer answer, bool counted = true);
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
    bool smtputf8_ = false;         // of the transaction
    bool recipient_tried_ = false;  // of the transaction
    bool last_chunk_ = false;
    bool has_transaction_ = false;  // the driver holds one for us
    bool tell_refused_ = false;     // wishes that stand before all others
    bool tell_abandon_ = false;
    std::uint8_t hello_name_size_ = 0;
    BodyScanner scanner_;
    std::uint32_t errors_ = 0;
    std::uint32_t recipient_count_ = 0;
    HeaderWatcher header_;
    std::uint64_t chunk_left_ = 0;  // octets; of a long line: octets thrown away
    std::uint64_t body_size_ = 0;   // octets of canonical content
    std::array<char, hello_name_max> hello_name_;
};

}  // namespace postern::smtp

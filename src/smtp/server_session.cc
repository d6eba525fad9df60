#include "postern/smtp/server_session.h"

#include <algorithm>
#include <utility>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

constexpr std::string_view crlf = "\r\n";
/// How a record of TLS's handshake begins, in every version (RFC 8446, section 5.1). It need not
/// hold a CRLF, and whoever sends one waits for an answer.
constexpr std::string_view tls_handshake = "\x16\x03";
/// Received: lines of our own before a message is in a loop.
constexpr std::uint32_t own_received_max = 3;

}  // namespace

Wish ServerSession::step(Exchange& exchange) {
    for (;;) {
        if (tell_refused_) {
            tell_refused_ = false;
            return Wish::refused;
        }
        if (hostile_end_ != Answer::none) {
            exchange.refusal = {};
            exchange.refusal.reply = answer_row(std::exchange(hostile_end_, Answer::none)).reply;
            return Wish::hostile_end;
        }
        if (tell_abandon_) {
            tell_abandon_ = false;
            return Wish::abandon;
        }
        if (mode_ == Mode::closing) {
            return Wish::close;
        }
        if (exchange.output.size() < output_room_min) {
            return Wish::room;
        }
        const Next next = step_once(exchange);
        if (next) {
            return *next;
        }
    }
}

ServerSession::Next ServerSession::step_once(Exchange& exchange) {
    switch (mode_) {
        case Mode::command:
            return step_command(exchange);
        case Mode::long_line:
            return step_long_line(exchange);
        case Mode::data:
        case Mode::chunk:
            return step_body(exchange);
        case Mode::auth:
            return step_auth(exchange);
        case Mode::await_begin:
        case Mode::await_recipient:
        case Mode::await_introduced:
        case Mode::await_data:
        case Mode::await_chunk:
        case Mode::await_answer:
        case Mode::await_tls:
        case Mode::handshake:
        case Mode::await_password:
        case Mode::closing:
            break;
    }
    POSTERN_ASSERT(false, "a session was stepped while it waited for its driver");
    return std::nullopt;
}

ServerSession::Next ServerSession::step_command(Exchange& exchange) {
    exchange.refusal = {};
    if (exchange.input.starts_with(tls_handshake[0]) && exchange.input.starts_with(tls_handshake)) {
        say_refusal(exchange, Answer::not_tls);
        mode_ = Mode::closing;
        return std::nullopt;
    }
    const std::size_t end = find_crlf(exchange.input.substr(0, command_line_max));
    if (end != std::string_view::npos) {
        const std::string_view line = exchange.input.substr(0, end);
        exchange.input.remove_prefix(end + crlf.size());
        return run_command(exchange, line);
    }
    if (exchange.input.size() < command_line_max) {
        return Wish::input;
    }
    if (step_long_auth(exchange)) {
        return std::nullopt;
    }
    mode_ = Mode::long_line;
    chunk_left_ = 0;
    return std::nullopt;
}

ServerSession::Next ServerSession::step_long_line(Exchange& exchange) {
    exchange.refusal = {};
    const std::size_t line_end = find_crlf(exchange.input);
    if (line_end != std::string_view::npos) {
        exchange.input.remove_prefix(line_end + crlf.size());
        mode_ = Mode::command;
        say_refusal(exchange, Answer::line_too_long);
        return std::nullopt;
    }
    // A CR that comes last stays: its LF may follow.
    const std::size_t size = exchange.input.size() - (exchange.input.ends_with('\r') ? 1 : 0);
    exchange.input.remove_prefix(size);
    chunk_left_ += size;
    if (chunk_left_ <= endless_line_octets) {
        return Wish::input;
    }
    say_refusal(exchange, Answer::line_too_long);
    if (mode_ != Mode::closing) {
        end_as_hostile(exchange, Answer::endless_line);
    }
    return std::nullopt;
}

// --- bodies --------------------------------------------------------------------------------------

void ServerSession::begin_body(Mode mode) {
    mode_ = mode;
    body_failure_ = Answer::none;
    body_size_ = 0;
    scanner_.begin(mode == Mode::data);
    header_ = {};
}

/// Nothing more of this message is kept; the driver may let go of it now, the sender hears of it at
/// the end.
void ServerSession::drop_body(Answer answer) {
    body_failure_ = answer;
    tell_abandon_ = has_transaction_;
    has_transaction_ = false;
}

/// The driver hears of it at once, while it still knows whose message that was.
void ServerSession::fail_body(Exchange& exchange, Answer answer) {
    if (body_failure_ == Answer::none) {
        exchange.refusal = {
            .verb = mode_ == Mode::data ? "DATA" : "BDAT",
            .address = {},
            .reply = answer_row(answer).reply};
        tell_refused_ = true;
        drop_body(answer);
    }
}

ServerSession::Next ServerSession::step_body(Exchange& exchange) {
    if (mode_ == Mode::data) {
        if (exchange.input.empty()) {
            return Wish::input;
        }
        exchange.piece = scanner_.next(exchange.input);
        return exchange.piece.ends_data ? message_ended(exchange) : take_piece(exchange);
    }
    if (chunk_left_ == 0) {
        return chunk_ended(exchange);
    }
    if (exchange.input.empty()) {
        return Wish::input;
    }
    std::string_view chunk = exchange.input.substr(0, chunk_left_);
    const std::size_t size = chunk.size();
    if (body_failure_ != Answer::none) {
        chunk = {};
        exchange.piece = {};
    } else {
        exchange.piece = scanner_.next(chunk);
    }
    chunk_left_ -= size - chunk.size();
    exchange.input.remove_prefix(size - chunk.size());
    return take_piece(exchange);
}

/// Looks at the piece that was just scanned, and lets the driver keep it.
ServerSession::Next ServerSession::take_piece(Exchange& exchange) {
    const std::string_view run = exchange.piece.run;
    if (run.empty() || body_failure_ != Answer::none) {
        return std::nullopt;
    }
    // What fails a message is what comes first in it, however the octets are cut: what stands
    // behind the limit is not looked at.
    const std::uint64_t left = settings_->limits.message_size_max - body_size_;
    header_.watch(run.substr(0, left), settings_->hostname);
    body_size_ += run.size();
    if (scanner_.bare_newline() && settings_->reject_bare_newline) {
        fail_body(exchange, Answer::bare_newline);
    } else if (
        header_.received_count() > settings_->received_max ||
        header_.own_received_count() > own_received_max) {
        fail_body(exchange, Answer::loop);
    } else if (run.size() > left) {
        fail_body(exchange, Answer::too_large);
    } else {
        return Wish::append;
    }
    return std::nullopt;
}

ServerSession::Next ServerSession::chunk_ended(Exchange& exchange) {
    if (body_failure_ == Answer::none && !last_chunk_) {
        phase_ = Phase::chunks;
        mode_ = Mode::command;
        say(exchange, Answer::chunk_ok);
        return std::nullopt;
    }
    if (body_failure_ == Answer::none) {
        exchange.piece = scanner_.finish();
        const Next next = take_piece(exchange);
        if (next) {
            return next;  // and here again, with nothing held back any more
        }
    }
    return message_ended(exchange);
}

/// Its last octet is there, or that of a chunk of a message that has failed.
ServerSession::Next ServerSession::message_ended(Exchange& exchange) {
    if (body_failure_ == Answer::none) {
        mode_ = Mode::await_answer;
        return Wish::submit;
    }
    const bool by_data = mode_ == Mode::data;
    say(exchange, body_failure_);
    mode_ = Mode::command;
    if (phase_ != Phase::start) {
        const bool was_begun = phase_ != Phase::ready;
        phase_ = was_begun && !by_data && !last_chunk_ ? Phase::chunks_failed : Phase::ready;
        forwarded_ = forwarded_ && phase_ == Phase::chunks_failed;
    }
    return std::nullopt;
}

// --- what the driver says ------------------------------------------------------------------------

void ServerSession::accept(Exchange& exchange) {
    if (mode_ == Mode::await_begin) {
        phase_ = Phase::mail;
        has_transaction_ = true;
        body_failure_ = Answer::none;
        mode_ = Mode::command;
        say(exchange, Answer::sender_ok);
    } else if (mode_ == Mode::await_recipient) {
        phase_ = Phase::recipients;
        ++recipient_count_;
        mode_ = Mode::command;
        say(exchange, Answer::recipient_ok);
    } else if (mode_ == Mode::await_introduced) {
        forwarded_ = true;
        mode_ = Mode::command;
        say(exchange, Answer::ok);
    } else if (mode_ == Mode::await_data) {
        begin_body(Mode::data);
        say(exchange, Answer::send_data);
    } else if (mode_ == Mode::await_tls) {
        mode_ = Mode::handshake;
        say(exchange, Answer::start_tls);
    } else {
        POSTERN_ASSERT(mode_ == Mode::await_chunk, "a session was accepted that did not ask");
        begin_body(Mode::chunk);
    }
}

void ServerSession::restart(Exchange& exchange, bool authenticated) {
    POSTERN_ASSERT(mode_ == Mode::await_introduced, "a session began anew that was not told to");
    mode_ = Mode::command;
    hello_name_size_ = 0;
    esmtp_ = false;
    authenticated_ = authenticated;
    errors_ = 0;  // and whatever else the client before has done
    wrong_recipients_ = 0;
    pause_ms_ = 0;
    end_transaction(Phase::start);
    greet(exchange);
}

void ServerSession::refuse(Exchange& exchange, const mail::Reply& reply) {
    POSTERN_ASSERT(
        mode_ == Mode::await_begin || mode_ == Mode::await_recipient || mode_ == Mode::await_tls ||
            mode_ == Mode::await_introduced,
        "a session was refused what it did not ask for");
    const bool wrong_recipient = mode_ == Mode::await_recipient && reply.permanent();
    say_reply(exchange, reply);
    if (wrong_recipient) {
        count_wrong_recipient(exchange);
    }
}

void ServerSession::refuse_body(Exchange& exchange, Answer answer) {
    if (mode_ == Mode::await_data) {
        mode_ = Mode::command;
        say(exchange, answer);
        end_transaction(Phase::ready);
        return;
    }
    if (mode_ == Mode::await_chunk) {
        begin_body(Mode::chunk);
    }
    POSTERN_ASSERT(in_body(), "a body was refused where there is none");
    drop_body(answer);
}

void ServerSession::answer(Exchange& exchange, const mail::Reply& reply) {
    POSTERN_ASSERT(mode_ == Mode::await_answer, "a message was answered twice, or before its end");
    has_transaction_ = false;
    forwarded_ = false;
    phase_ = Phase::ready;
    if (reply.positive()) {
        wrong_recipients_ = 0;
    }
    say_reply(exchange, reply);
}

void ServerSession::end(Exchange& exchange, Answer answer) {
    say(exchange, answer);
    mode_ = Mode::closing;
}

void ServerSession::secured() {
    POSTERN_ASSERT(
        mode_ == Mode::handshake || (mode_ == Mode::command && phase_ == Phase::start),
        "TLS begins where it was asked for, or first of all");
    POSTERN_ASSERT(!has_transaction_ && !secure_, "TLS begins once, and outside of a transaction");
    secure_ = true;
    esmtp_ = false;
    forwarded_ = false;
    hello_name_size_ = 0;
    phase_ = Phase::start;
    mode_ = Mode::command;
}

std::string_view ServerSession::protocol() const {
    if (!esmtp_) {
        return "SMTP";
    }
    static constexpr std::string_view names[] = {
        "ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA", "UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"};
    return names[(smtputf8_ ? 4 : 0) + (secure_ ? 2 : 0) + (authenticated_ ? 1 : 0)];
}

// --- small things --------------------------------------------------------------------------------

ExtensionSet ServerSession::offered() const {
    const bool starttls = settings_->starttls && !secure_;
    const bool auth = settings_->has_passwords && secure_;
    return static_cast<ExtensionSet>(
        ~(settings_->hidden | (granted_only & ~granted_) |
          (starttls ? 0 : set_of(Extension::starttls)) | (auth ? 0 : set_of(Extension::auth))));
}

bool ServerSession::offers(Extension extension) const {
    return (offered() & set_of(extension)) != 0;
}

void ServerSession::say(Exchange& exchange, Answer answer) {
    const std::string_view line = answer_line(answer);
    POSTERN_ASSERT(exchange.output.size() >= line.size(), "there is room for an answer");
    line.copy(exchange.output.data(), line.size());
    exchange.output = exchange.output.subspan(line.size());
}

/// The world's answer to what the session waited for; a 421 announces that we close (RFC 5321,
/// section 3.8).
void ServerSession::say_reply(Exchange& exchange, const mail::Reply& reply) {
    mail::Reply complete = reply;
    if (!complete.enhanced.present()) {
        complete.enhanced.cls = static_cast<std::uint16_t>(reply.reply_class());
    }
    const std::size_t size = write_reply(complete, exchange.output);
    exchange.output = exchange.output.subspan(size);
    mode_ = reply.code == 421 ? Mode::closing : Mode::command;
}

void ServerSession::say_refusal(Exchange& exchange, Answer answer, bool counted) {
    const AnswerRow& row = answer_row(answer);
    exchange.refusal.reply = row.reply;
    tell_refused_ = true;
    say(exchange, answer);
    if (counted && row.bad_command) {
        count_error(exchange);
    } else if (!counted && row.reply.permanent() && row.reply.code != 503) {
        // A 503 is what a pipeline gets behind a refused MAIL.
        count_wrong_recipient(exchange);
    }
}

void ServerSession::count_error(Exchange& exchange) {
    const std::uint32_t most = settings_->errors_max;
    if (most == 0) {
        return;
    }
    if (++errors_ == most) {
        end_as_hostile(exchange, Answer::too_many_errors);
    } else if (errors_ > most / 2) {
        slow_down(errors_ - most / 2, error_pause_step_ms);
    }
}

void ServerSession::count_wrong_recipient(Exchange& exchange) {
    if (++wrong_recipients_ == wrong_recipients_max) {
        end_as_hostile(exchange, Answer::too_many_wrong_recipients);
    } else if (wrong_recipients_ > wrong_recipients_free) {
        slow_down(wrong_recipients_ - wrong_recipients_free, wrong_recipient_pause_step_ms);
    }
}

void ServerSession::slow_down(std::uint32_t steps, std::uint32_t step_ms) {
    const std::uint32_t one = std::min(steps * step_ms, pause_of_one_max_ms);
    pause_ms_ = static_cast<std::uint16_t>(std::min(pause_ms_ + one, pause_max_ms));
}

/// The driver hears of it when it steps on: what it said itself may have been the last drop.
void ServerSession::end_as_hostile(Exchange& exchange, Answer answer) {
    hostile_end_ = answer;
    end(exchange, answer);
}

/// RSET, and what acts as one (RFC 5321, section 4.1.4).
void ServerSession::end_transaction(Phase next) {
    tell_abandon_ = has_transaction_;
    has_transaction_ = false;
    forwarded_ = false;
    phase_ = next;
}

}  // namespace postern::smtp

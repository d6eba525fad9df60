#include "postern/smtp/server_session.h"

#include "postern/base/assert.h"

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
        case Mode::await_begin:
        case Mode::await_recipient:
        case Mode::await_data:
        case Mode::await_chunk:
        case Mode::await_answer:
        case Mode::closing:
            break;
    }
    POSTERN_ASSERT(false, "a session was stepped while it waited for its driver");
    return std::nullopt;
}

ServerSession::Next ServerSession::step_command(Exchange& exchange) {
    exchange.refusal = {};
    if (exchange.input.starts_with(tls_handshake)) {
        say_refusal(exchange, Answer::not_tls);
        mode_ = Mode::closing;
        return std::nullopt;
    }
    const std::size_t end = exchange.input.substr(0, command_line_max).find(crlf);
    if (end != std::string_view::npos) {
        const std::string_view line = exchange.input.substr(0, end);
        exchange.input.remove_prefix(end + crlf.size());
        return run_command(exchange, line);
    }
    if (exchange.input.size() < command_line_max) {
        return Wish::input;
    }
    mode_ = Mode::long_line;
    chunk_left_ = 0;
    return std::nullopt;
}

ServerSession::Next ServerSession::step_long_line(Exchange& exchange) {
    exchange.refusal = {};
    const std::size_t line_end = exchange.input.find(crlf);
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
    end(exchange, Answer::endless_line);
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
    } else if (mode_ == Mode::await_data) {
        begin_body(Mode::data);
        say(exchange, Answer::send_data);
    } else {
        POSTERN_ASSERT(mode_ == Mode::await_chunk, "a session was accepted that did not ask");
        begin_body(Mode::chunk);
    }
}

void ServerSession::refuse(Exchange& exchange, const mail::Reply& reply) {
    POSTERN_ASSERT(
        mode_ == Mode::await_begin || mode_ == Mode::await_recipient,
        "a session was refused what it did not ask for");
    say_reply(exchange, reply);
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
    phase_ = Phase::ready;
    say_reply(exchange, reply);
}

void ServerSession::end(Exchange& exchange, Answer answer) {
    say(exchange, answer);
    mode_ = Mode::closing;
}

std::string_view ServerSession::protocol() const {
    if (!esmtp_) {
        return "SMTP";
    }
    return smtputf8_ ? "UTF8SMTP" : "ESMTP";
}

// --- small things --------------------------------------------------------------------------------

bool ServerSession::offers(Extension extension) const {
    return (settings_->hidden & set_of(extension)) == 0;
}

void ServerSession::say(Exchange& exchange, Answer answer) {
    const std::size_t size = write_reply(answer_row(answer).reply, exchange.output);
    exchange.output = exchange.output.subspan(size);
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
    if (counted && row.bad_command && ++errors_ == settings_->errors_max) {
        end(exchange, Answer::too_many_errors);
    }
}

/// RSET, and what acts as one (RFC 5321, section 4.1.4).
void ServerSession::end_transaction(Phase next) {
    tell_abandon_ = has_transaction_;
    has_transaction_ = false;
    phase_ = next;
}

}  // namespace postern::smtp

#include "connection.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "postern/base/secret.h"
#include "postern/smtp/characters.h"

namespace postern::inbound {
namespace {

/// A body comes at this rate at least, over all of it, behind a time of grace: as Postfix's
/// smtpd_min_data_rate. Slower ones would keep their memory, and a smart host's patience, for ever.
constexpr std::uint64_t body_octets_a_second_min = 500;
constexpr std::string_view crlf = "\r\n";

/// Logged, and said to nobody.
constexpr mail::Reply left_in_body{421, {4, 4, 2}, "the sender went away inside the message"};

/// A password may stand there, in a block of ours that is not filled again soon. What a line is
/// copied from is always wiped: nobody knows yet what it will be.
void wipe(std::string_view input) {
    base::wipe({const_cast<char*>(input.data()), input.size()});
}

}  // namespace

Connection::Connection(
    Corridor& corridor, std::shared_ptr<const Terms> terms, const io::Address& address)
    : io::Timer(on_due),
      corridor_(corridor),
      terms_(std::move(terms)),
      address_(address),
      stream_(corridor.ring, *this),
      session_(terms_->session_settings) {}

Connection::~Connection() {
    forget_proxy_header();
    if (particulars_ != nullptr) {
        corridor_.particulars_pool.destroy(particulars_);
    }
    let_secure_go();
}

// --- what the stream and the clock say -----------------------------------------------------------

void Connection::on_connected(int) {
    POSTERN_ASSERT(false, "an accepted connection does not connect");
}

void Connection::on_received(base::BlockRef block, std::string_view bytes, int) {
    if (stage_ == Stage::proxy_header && !closing_) {
        take_proxy_header(std::move(block), bytes);
        return;
    }
    if (closing_) {
        return;
    }
    if (bytes.empty()) {
        sender_ended();
        return;
    }
    if (secure_ != nullptr) {
        secure_->input_block = std::move(block);
        secure_->input = bytes;
    } else {
        received_block_ = std::move(block);
        received_ = bytes;
    }
    run();
}

/// The sender has ended or reset its stream: what it asked before is answered, if it can be.
void Connection::sender_ended() {
    if (shaking_hands()) {
        if (health_check_ && !secure_->greeted) {
            close();  // it has seen what it wanted to see
        } else {
            tls_failed("the sender went away in the handshake");
        }
        return;
    }
    closing_ = true;
    parted_ = true;
    if (submission_ != nullptr && session_.in_body()) {
        refused("", "", left_in_body);
    }
    leave_submission();
    flush();
}

void Connection::on_sent(int error) {
    if (error != 0) {
        close();
        return;
    }
    if (sent_ == written_) {
        output_ = {};
        sent_ = written_ = 0;
    }
    if (secure_ != nullptr && secure_->sent == secure_->written) {
        secure_->sent = secure_->written = 0;
    }
    if (waits() || stream_.receiving() || slowed_) {
        flush();
    } else {
        run();
    }
}

void Connection::on_due(io::Timer& self) {
    auto& connection = static_cast<Connection&>(self);
    if (connection.slowed_ && !connection.closing_) {
        connection.go_on();
    } else if (connection.closing_ || connection.stream_.sending()) {
        connection.close();  // it does not read what we say
    } else if (connection.pauses()) {
        connection.set_deadline(connection.terms_->settings.data_timeout);  // it waits for us
    } else if (connection.shaking_hands()) {
        connection.tls_failed("timeout in the handshake");
    } else if (connection.stage_ != Stage::session) {
        connection.early_due();
    } else {
        connection.end(smtp::Answer::idle);
    }
}

void Connection::on_closed() {
    leave_submission();
    leave_login();
    if (admitted_) {
        io::Address::HostText text;
        corridor_.world.left(client(text));
    }
    corridor_.remove(*this);
}

// --- the session ---------------------------------------------------------------------------------

/// False: there is no memory for answers, and the connection is being closed.
bool Connection::take_output_block() {
    if (!output_) {
        output_ = corridor_.output_pool.take();
    }
    return static_cast<bool>(output_);
}

smtp::Exchange Connection::exchange() {
    smtp::Exchange exchange;
    exchange.output = {output_->data() + written_, output_->capacity - written_};
    return exchange;
}

void Connection::note_written(const smtp::Exchange& exchange) {
    written_ = static_cast<std::uint16_t>(exchange.output.data() - output_->data());
}

/// Steps the session as far as its input and the room for answers go, sends what it said, and asks
/// for what it wants next.
void Connection::run() {
    if (closing_) {
        flush();
        return;
    }
    if (shaking_hands()) {
        shake_hands();
        return;
    }
    if (stage_ == Stage::pause) {
        hold_peace();
        return;
    }
    if (!take_output_block()) {
        close();
        return;
    }
    const std::uint32_t written_before = written_;
    while (step()) {
    }
    if (received_.empty()) {
        received_block_ = {};
        // Through TLS the sender will say that it ends.
        parted_ = parted_ || (session_.has_quit() && line_size_ == 0 && secure_ == nullptr);
    }
    if (line_size_ == 0) {
        line_ = {};
    }
    if (waits()) {
        cancel();
    } else if (closing_) {
        set_deadline(linger_time);
    } else if (slowed_) {
        set_deadline(session_.take_pause());
    } else if (session_.in_body()) {
        wait_for_sender(terms_->settings.data_timeout);
    } else if (written_ > written_before) {
        wait_for_sender(terms_->settings.command_timeout);  // not for part of a command
    }
    flush();
}

/// False: the session cannot go on now.
[[gnu::always_inline]] inline bool Connection::step() {
    smtp::Exchange exchange = this->exchange();
    const bool from_line = line_size_ > 0;
    if (from_line) {
        complete_line();
    }
    exchange.input = from_line ? std::string_view(line_->data(), line_size_) : received_;
    const std::string_view input = exchange.input;
    bool secret = session_.takes_secrets();
    const smtp::Wish wish = session_.step(exchange);
    // A refused AUTH, or what was no command because that was refused before it.
    const std::string_view refused_verb = exchange.refusal.verb;
    secret = secret || session_.takes_secrets() ||
             (wish == smtp::Wish::refused && (refused_verb.empty() || refused_verb == "AUTH"));
    const bool going_on = act(wish, exchange);
    note_written(exchange);
    if (secret) {
        wipe(input.substr(0, input.size() - exchange.input.size()));
    }
    if (from_line) {
        line_size_ = static_cast<std::uint16_t>(exchange.input.size());
        std::memmove(line_->data(), exchange.input.data(), line_size_);
    } else {
        received_ = exchange.input;
    }
    if (wish == smtp::Wish::input) {
        return (from_line && !received_.empty()) || want_input();
    }
    return going_on;
}

/// Does what the session wishes. False: it cannot go on now.
bool Connection::act(smtp::Wish wish, smtp::Exchange& exchange) {
    switch (wish) {
        case smtp::Wish::input:
        case smtp::Wish::room:
            return false;
        case smtp::Wish::begin:
            begin_submission(exchange);
            return true;
        case smtp::Wish::recipient:
            return take_recipient(exchange);
        case smtp::Wish::introduced:
            introduce(exchange);
            return true;
        case smtp::Wish::body:
            begin_body(exchange);
            return true;
        case smtp::Wish::append:
            append(exchange);
            return true;
        case smtp::Wish::submit:
            submit();
            return false;
        case smtp::Wish::start_tls:
            take_starttls(
                exchange, !exchange.input.empty() || (line_size_ > 0 && !received_.empty()));
            return secure_ == nullptr;
        case smtp::Wish::check_password:
            return check_password(exchange);
        case smtp::Wish::abandon:
            leave_submission();
            return true;
        case smtp::Wish::hostile_end:
            noticed(World::Notice::hostile_end);
            [[fallthrough]];
        case smtp::Wish::refused:
            refused(exchange.refusal.verb, exchange.refusal.address, exchange.refusal.reply);
            return true;
        case smtp::Wish::close:
            closing_ = true;
            leave_submission();
            return false;
    }
    return false;
}

// --- input ---------------------------------------------------------------------------------------

/// Moves what was received to the partial line, up to that line's end. What stands behind it stays
/// where it is.
void Connection::complete_line() {
    if (received_.empty() || std::string_view(line_->data(), line_size_).ends_with(crlf)) {
        return;
    }
    const bool cr_before = line_->data()[line_size_ - 1] == '\r';
    std::size_t size = received_.size();
    if (cr_before && received_.starts_with('\n')) {
        size = 1;
    } else if (const std::size_t end = smtp::find_crlf(received_); end != std::string_view::npos) {
        size = end + crlf.size();
    }
    size = std::min(size, smtp::command_line_max - line_size_);
    std::memcpy(line_->data() + line_size_, received_.data(), size);
    wipe(received_.substr(0, size));
    line_size_ = static_cast<std::uint16_t>(line_size_ + size);
    received_.remove_prefix(size);
}

/// All input is consumed, but for a partial command line: asks for more. True: there is some.
bool Connection::want_input() {
    if (!received_.empty()) {
        line_ = corridor_.line_pool.take();
        if (!line_) {
            end(smtp::Answer::overloaded);
            return false;
        }
        std::memcpy(line_->data(), received_.data(), received_.size());
        wipe(received_);
        line_size_ = static_cast<std::uint16_t>(received_.size());
        received_ = {};
    }
    if (pauses()) {
        return false;
    }
    if (secure_ != nullptr && secure_->has_input()) {
        if (decrypt()) {
            return true;
        }
        if (closing_ || secure_->has_input()) {
            return false;  // it is over, or goes on when there is room
        }
    }
    if (corridor_.shutting_down && session_.idle() && line_size_ == 0) {
        end(smtp::Answer::shutting_down);
    } else if (session_.has_pause() && !session_.in_body()) {
        slowed_ = true;
    } else if (!stream_.receiving()) {
        stream_.receive(session_.in_body() ? io::BufferGroup::body : io::BufferGroup::command);
    }
    return false;
}

// --- output and endings --------------------------------------------------------------------------

/// Sends what is written, or, with all of it sent, ends where that was the last.
void Connection::flush() {
    if (!stream_.open() || stream_.sending()) {
        return;
    }
    if (sealed()) {
        flush_sealed();
        return;
    }
    if (closing_ && parted_ && !stream_.receiving()) {
        stream_.finish(
            {output_ ? output_->data() + sent_ : nullptr,
             static_cast<std::size_t>(written_ - sent_)},
            admitted_ ? linger_octets : std::uint64_t{0});
        return;
    }
    if (sent_ < written_) {
        stream_.send({output_->data() + sent_, static_cast<std::size_t>(written_ - sent_)});
        sent_ = written_;
        return;
    }
    output_ = {};
    sent_ = written_ = 0;
    if (closing_) {
        end_stream();
    }
}

/// All is sent: what still comes is not looked at.
void Connection::end_stream() {
    if (corridor_.cutting) {
        close();
    } else {
        const bool brief = corridor_.shutting_down || corridor_.pressed;
        set_deadline(brief ? linger_time_briefly : linger_time);
        stream_.end(linger_octets);
    }
}

void Connection::answer(const mail::Reply& reply) {
    POSTERN_ASSERT(session_.awaits_answer(), "an answer came that no sender waits for");
    submission_->inbound_owner = nullptr;
    submission_ = nullptr;
    if (!take_output_block()) {
        close();
        return;
    }
    smtp::Exchange exchange = this->exchange();
    session_.answer(exchange, reply);
    note_written(exchange);
    if (corridor_.cutting) {
        end(smtp::Answer::shutting_down);  // what was sent behind the message came too late
        return;
    }
    wait_for_sender(terms_->settings.command_timeout);
    run();
}

void Connection::answer_recipient(const mail::Reply& reply) {
    POSTERN_ASSERT(session_.awaits_recipient(), "an answer came about no recipient");
    const mail::Submission::Asked asked = std::exchange(submission_->asked, {});
    if (!take_output_block()) {
        close();
        return;
    }
    smtp::Exchange exchange = this->exchange();
    settle_recipient(exchange, asked, reply);
    note_written(exchange);
    wait_for_sender(terms_->settings.command_timeout);
    run();
}

void Connection::set_deadline(base::Duration from_now) {
    corridor_.timers.set(*this, corridor_.ring.now() + from_now);
}

/// It may take so long for the next thing; and all of a body, its pauses included, no longer than
/// what has come of it allows. Between chunks it may think once as long as for a command.
void Connection::wait_for_sender(base::Duration timeout) {
    if (corridor_.pressed) {
        timeout = std::min(timeout, Inbound::pressed_wait);
    }
    base::Instant deadline = corridor_.ring.now() + timeout;
    if (submission_ != nullptr && submission_->body_began != base::Instant{}) {
        const inbound::ListenerSettings& settings = terms_->settings;
        const bool by_data = session_.in_body() && session_.by_data();
        const auto ms = submission_->content_size() * 1000 / body_octets_a_second_min;
        deadline = std::min(
            deadline,
            submission_->body_began + settings.data_timeout +
                (by_data ? base::Duration(0) : settings.command_timeout) +
                std::chrono::milliseconds(ms));
    }
    corridor_.timers.set(*this, deadline);
}

/// The pause that the session has earned is over.
void Connection::go_on() {
    slowed_ = false;
    wait_for_sender(terms_->settings.command_timeout);
    if (!stream_.sending()) {
        run();
    }
}

/// What has come of the body is in its place.
void Connection::go_on_with_body() {
    if (closing_ || stream_.receiving() || waits() || slowed_) {
        return;  // it has not come to that
    }
    wait_for_sender(
        session_.in_body() ? terms_->settings.data_timeout : terms_->settings.command_timeout);
    if (!stream_.sending()) {
        run();
    }
}

/// Our own ending, with one of the 421s.
void Connection::end(smtp::Answer answer) {
    refused("", "", smtp::answer_row(answer).reply);
    slowed_ = false;
    leave_submission();
    leave_login();
    const bool before_tls = stage_ == Stage::proxy_header && terms_->settings.tls == Tls::implicit;
    if (before_tls || shaking_hands() || !take_output_block()) {
        close();
        return;
    }
    // Where an answer before it fills the block, that one goes alone.
    if (output_->capacity - written_ >= smtp::output_room_min) {
        smtp::Exchange exchange = this->exchange();
        session_.end(exchange, answer);
        note_written(exchange);
    }
    closing_ = true;
    set_deadline(linger_time);
    flush();
}

/// The submission goes on without us where it is owed an answer; else it is given back.
void Connection::leave_submission() {
    if (submission_ == nullptr) {
        return;
    }
    mail::Submission& submission = *std::exchange(submission_, nullptr);
    submission.inbound_owner = nullptr;
    if (!session_.awaits_answer()) {
        corridor_.world.abandon(submission);
    }
}

void Connection::close() {
    closing_ = true;
    leave_submission();
    leave_login();
    cancel();
    stream_.close();
}

void Connection::hurry() {
    const base::Instant soon = corridor_.ring.now() + Inbound::pressed_wait;
    if (stage_ == Stage::session && !pauses() && Timer::set() && deadline() > soon) {
        corridor_.timers.set(*this, soon);
    }
}

void Connection::shut_down() {
    if (!closing_ && session_.idle() && line_size_ == 0 && received_.empty()) {
        end(smtp::Answer::shutting_down);
    }
}

void Connection::cut() {
    if (closing_) {
        close();
    } else if (!session_.awaits_answer()) {
        end(smtp::Answer::shutting_down);
    }
}

/// On reset, or on the end of its stream with no complete command behind the message.
bool Connection::sender_gone() {
    if (smtp::find_crlf(received_) != std::string_view::npos) {
        return false;
    }
    switch (corridor_.ring.look_for_hangup(stream_.descriptor())) {
        case io::Ring::Hangup::no:
            return false;
        case io::Ring::Hangup::reset:
            return true;
        case io::Ring::Hangup::ended:
            break;
    }
    if (secure_ != nullptr) {
        return !may_wait_for_more();
    }
    std::array<char, smtp::command_line_max> waiting;
    const std::string_view peeked(
        waiting.data(), corridor_.ring.peek(stream_.descriptor(), waiting));
    return smtp::find_crlf(peeked) == std::string_view::npos &&
           !(received_.ends_with('\r') && peeked.starts_with('\n'));
}

// --- what the world is told ----------------------------------------------------------------------

void Connection::refused(
    std::string_view what, std::string_view address, const mail::Reply& reply) {
    io::Address::HostText text;
    corridor_.world.refused(client(text), submission_, what, address, reply);
}

void Connection::noticed(World::Notice notice) {
    io::Address::HostText text;
    corridor_.world.noticed(client(text), notice);
}

}  // namespace postern::inbound

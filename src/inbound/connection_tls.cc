#include "connection.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

/// A connection's TLS: where the handshake begins and ends, and what stands between the stream and
/// the session from then on.
namespace postern::inbound {
namespace {

/// How every record of a handshake begins (RFC 8446, section 5.1).
constexpr char handshake_record = '\x16';
/// The longest close_notify: a record of TLS 1.3 with its alert, its type and its tag. A command
/// takes more.
constexpr std::size_t close_record_octets = 2 + 1 + 16;
constexpr std::size_t record_header_octets = 5;
constexpr char data_record = '\x17';

/// Whether one of these records may; the first begins where they begin.
bool may_hold_command(std::string_view records) {
    while (records.size() >= record_header_octets) {
        const std::size_t size = static_cast<std::size_t>(static_cast<unsigned char>(records[3]))
                                     << 8 |
                                 static_cast<unsigned char>(records[4]);
        if (records.front() == data_record && size > close_record_octets) {
            return true;
        }
        records.remove_prefix(std::min(records.size(), record_header_octets + size));
    }
    return false;
}

}  // namespace

bool Connection::sealed() const {
    return secure_ != nullptr && secure_->stage != Secure::Stage::announced;
}

bool Connection::shaking_hands() const {
    return secure_ != nullptr && secure_->stage < Secure::Stage::established;
}

/// False: there is no memory for a session.
bool Connection::take_secure(bool implicit) {
    secure_ = corridor_.secure_pool.make(*terms_->settings.tls_context, implicit);
    return secure_ != nullptr;
}

void Connection::let_secure_go() {
    if (secure_ != nullptr) {
        corridor_.secure_pool.destroy(std::exchange(secure_, nullptr));
    }
}

/// False: there is no memory for what is to be sent.
bool Connection::take_sealed_block() {
    if (!secure_->output) {
        secure_->output = corridor_.sealed_pool.take();
    }
    return static_cast<bool>(secure_->output);
}

// --- the handshake -------------------------------------------------------------------------------

/// What stands behind STARTTLS in plain text was perhaps put there by another than who will speak
/// through TLS: it is not used, and nothing goes on (RFC 3207, section 5).
void Connection::take_starttls(smtp::Exchange& exchange, bool more_waits) {
    const auto refuse_as = [&](smtp::Answer answer) {
        const mail::Reply& reply = smtp::answer_row(answer).reply;
        refused(exchange.refusal.verb, "", reply);
        return reply;
    };
    if (more_waits) {
        refuse_as(smtp::Answer::behind_starttls);
        session_.end(exchange, smtp::Answer::behind_starttls);
    } else if (!take_secure(false)) {
        session_.refuse(exchange, refuse_as(smtp::Answer::tls_unavailable));
    } else {
        session_.accept(exchange);
    }
}

/// The handshake is what comes first, or is here already, behind a proxy's header.
void Connection::begin_tls() {
    stage_ = Stage::session;
    wait_for_sender(terms_->settings.command_timeout);
    if (!take_secure(true)) {
        close();
        return;
    }
    secure_->input_block = std::move(received_block_);
    secure_->input = std::exchange(received_, {});
    run();
}

/// Goes on with the handshake, by what has come. It has one deadline, as a command has: not one for
/// each of its octets.
void Connection::shake_hands() {
    if (secure_->stage == Secure::Stage::announced) {
        if (sent_ < written_ || stream_.sending()) {
            flush();
            return;
        }
        secure_->stage = Secure::Stage::handshake;
        wait_for_sender(terms_->settings.command_timeout);
    }
    if (!secure_->greeted) {
        // For a hello of which nothing has come OpenSSL takes 38 KiB, when it is asked.
        if (secure_->input.empty()) {
            if (!stream_.receiving()) {
                stream_.receive(io::BufferGroup::command);
            }
            flush();
            return;
        }
        secure_->greeted = true;
        if (secure_->implicit && secure_->input.front() != handshake_record) {
            io::Address::HostText text;
            corridor_.world.handshake(client(text), Handshake::failed);
            let_secure_go();
            end(smtp::Answer::tls_first);
            return;
        }
    }
    if (!take_sealed_block()) {
        close();
        return;
    }
    const tls::Status status =
        secure_->call([this](tls::Wire& wire) { return secure_->session.handshake(wire); });
    switch (status) {
        case tls::Status::done:
            secured();
            return;
        case tls::Status::input:
            if (!stream_.receiving()) {
                stream_.receive(io::BufferGroup::command);
            }
            flush();
            return;
        case tls::Status::room:
            flush();
            return;
        case tls::Status::ended:
        case tls::Status::failed:
            tls_failed(secure_->session.failure());
            return;
    }
}

void Connection::secured() {
    secure_->stage = Secure::Stage::established;
    session_.secured();
    if (terms_->settings.has_passwords) {
        secure_->session.wipe_what_is_read();
    }
    io::Address::HostText text;
    corridor_.world.handshake(
        client(text), secure_->session.resumed() ? Handshake::resumed : Handshake::full);
    if (secure_->implicit) {
        pause();
    } else {
        wait_for_sender(terms_->settings.command_timeout);
        run();
    }
}

/// What the session may still be told is told, and nothing more is read.
void Connection::tls_failed(std::string_view why) {
    io::Address::HostText text;
    std::array<char, 256> said;
    if (secure_->stage == Secure::Stage::handshake) {
        corridor_.world.handshake(client(text), Handshake::failed);
    }
    constexpr std::string_view begin = "TLS failed: ";
    const std::size_t size = begin.copy(said.data(), begin.size());
    const std::size_t more = why.copy(said.data() + size, said.size() - size);
    refused("", "", {421, {4, 7, 0}, {said.data(), size + more}});  // logged, and said to nobody
    secure_->stage = Secure::Stage::failed;
    secure_->input = {};
    secure_->input_block = {};
    leave_submission();
    leave_login();
    output_ = {};
    sent_ = written_ = 0;
    closing_ = true;
    parted_ = true;
    set_deadline(linger_time);
    flush();
}

// --- behind it -----------------------------------------------------------------------------------

/// Decrypts what has come, as far as one buffer goes. False: there is nothing to step on with now.
bool Connection::decrypt() {
    if (secure_->ended) {
        sender_ended();
        return false;
    }
    received_block_ =
        corridor_.ring
            .buffers(session_.in_body() ? io::BufferGroup::body : io::BufferGroup::command)
            .take();
    if (!received_block_ || !take_sealed_block()) {
        end(smtp::Answer::overloaded);
        return false;
    }
    std::size_t count = 0;
    const tls::Status status = secure_->call([&](tls::Wire& wire) {
        return secure_->session.read(
            wire, {received_block_->data(), received_block_->capacity}, count);
    });
    secure_->more = status == tls::Status::done || status == tls::Status::room;
    secure_->ended = status == tls::Status::ended;
    if (status == tls::Status::failed) {
        received_block_ = {};
        tls_failed(secure_->session.failure());
        return false;
    }
    received_ = {received_block_->data(), count};
    if (count == 0) {
        received_block_ = {};
        if (secure_->ended) {
            sender_ended();
        }
    }
    return count > 0;
}

/// Encrypts what is written, as far as it fits, and what ends the session behind the last of it.
/// False: that can not be, and the connection is over.
bool Connection::seal() {
    if (secure_->stage != Secure::Stage::established || (sent_ == written_ && !closing_)) {
        return true;
    }
    if (!take_sealed_block()) {
        close();
        return false;
    }
    if (sent_ < written_) {
        std::string_view plain(output_->data() + sent_, written_ - sent_);
        const tls::Status status =
            secure_->call([&](tls::Wire& wire) { return secure_->session.write(wire, plain); });
        if (status == tls::Status::failed) {
            tls_failed(secure_->session.failure());
            return false;
        }
        sent_ = static_cast<std::uint16_t>(written_ - plain.size());
    }
    if (closing_ && sent_ == written_ && !secure_->close_said) {
        const tls::Status status =
            secure_->call([this](tls::Wire& wire) { return secure_->session.close(wire); });
        secure_->close_said = status != tls::Status::room;
    }
    return true;
}

/// As `flush`. REQUIRES: open, nothing being sent.
void Connection::flush_sealed() {
    Secure& secure = *secure_;
    if (!seal()) {
        return;
    }
    if (sent_ == written_) {
        output_ = {};
        sent_ = written_ = 0;
    }
    const bool last = closing_ && (secure.close_said || secure.stage != Secure::Stage::established);
    const std::string_view bytes(
        secure.output ? secure.output->data() + secure.sent : nullptr,
        secure.written - secure.sent);
    secure.sent = secure.written;
    if (last && parted_ && !stream_.receiving()) {
        stream_.finish(bytes, linger_octets);
    } else if (!bytes.empty()) {
        stream_.send(bytes);
    } else {
        secure.output = {};
        secure.sent = secure.written = 0;
        if (last) {
            end_stream();
        }
    }
}

/// Of a sender that has ended its stream: may there be a command behind the message? What waits can
/// not be decrypted without being taken; but whatever is longer than a close_notify may hold one. A
/// close_notify that waits without an end of the stream says nothing: its sender may still listen.
bool Connection::may_wait_for_more() const {
    if (secure_->ended) {
        return false;
    }
    if (secure_->more || secure_->session.holds_input()) {
        return true;
    }
    std::array<char, smtp::command_line_max> waiting;
    const std::string_view peeked(
        waiting.data(), corridor_.ring.peek(stream_.descriptor(), waiting));
    return may_hold_command(secure_->input) || may_hold_command(peeked);
}

}  // namespace postern::inbound

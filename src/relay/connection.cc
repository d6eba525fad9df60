#include "connection.h"

#include <cstring>
#include <string>

#include "pool.h"

namespace postern::relay {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t output_pieces = 128;
constexpr base::Duration quit_patience = 5s;  // for the answer to QUIT
constexpr unsigned attempts_provoking = 3;
// One more: a host that goes away at each of them is set aside then, and a backup is next.
constexpr unsigned attempts_max = attempts_provoking + 1;

/// Of the host's answer; `none` where it gave no answer to the message, or several.
metrics::ReplyClass class_of(const mail::Outcome& outcome) {
    switch (outcome.kind) {
        case mail::Outcome::Kind::accepted:
            return metrics::ReplyClass::positive;
        case mail::Outcome::Kind::refused:
            return outcome.reply.permanent() ? metrics::ReplyClass::permanent
                                             : metrics::ReplyClass::temporary;
        case mail::Outcome::Kind::divided:
        case mail::Outcome::Kind::unreachable:
        case mail::Outcome::Kind::unresolved:
        case mail::Outcome::Kind::busy:
        case mail::Outcome::Kind::too_many:
        case mail::Outcome::Kind::untrusted:
        case mail::Outcome::Kind::unknown:
        case mail::Outcome::Kind::dropped:
            break;
    }
    return metrics::ReplyClass::none;
}

}  // namespace

Connection::Deadline::Deadline(Connection& c)
    : io::Timer([](io::Timer& self) { static_cast<Deadline&>(self).connection.on_deadline(); }),
      connection(c) {}

Connection::Connection(Corridor& corridor, Host& host)
    : corridor_(corridor),
      host_(host),
      stream_(corridor.ring, *this),
      session_(host.client_settings(), host.pace, *this, corridor.blocks),
      deadline_(*this),
      opened_(corridor.ring.now()),
      idle_since_(opened_) {}

bool Connection::open(base::Error& why) {
    const auto started = stream_.connect(host_.address, host_.next_source());
    if (!started) {
        why = started.error();
        return false;
    }
    set_deadline();
    return true;
}

void Connection::on_connected(int error) {
    if (error != 0) {
        broken(std::string("cannot connect: ") + std::strerror(error));
        return;
    }
    stream_.receive(io::BufferGroup::command);
}

void Connection::on_received(base::BlockRef block, std::string_view bytes, int error) {
    if (stage_ == Stage::closing) {  // whatever it is, nobody waits for it
        stream_.close();
        return;
    }
    if (bytes.empty()) {
        broken(
            error == 0 ? std::string("it closed the connection")
                       : std::string("the connection broke: ") + std::strerror(error));
        return;
    }
    host_.heard();
    if (secure_ == nullptr) {
        session_.received(bytes, corridor_.ring.now());
        if (session_.starts_tls()) {
            begin_tls();
        }
    } else {
        received_sealed(bytes);
    }
    if (stage_ != Stage::closing) {
        look_again();
        update();
    }
    if (stage_ != Stage::closing) {
        block = base::BlockRef();  // back before the next receive wants one
        stream_.receive(io::BufferGroup::command);
    }
}

void Connection::on_sent(int error) {
    if (stage_ == Stage::closing) {  // what TLS had to say at its end
        stream_.close();
        return;
    }
    if (secure_ != nullptr) {
        secure_->sent();
        if (error == 0) {
            sealed_sent();
            return;
        }
    }
    output_ = base::BlockRef();
    if (error != 0) {
        session_.send_failed();
        broken(std::string("the connection broke while sending: ") + std::strerror(error));
        return;
    }
    session_.sent(corridor_.ring.now());
    look_again();
    update();
}

void Connection::on_closed() {
    deadline_.cancel();
    output_ = base::BlockRef();
    session_.ended();
    host_.closed(*this);
}

// --- writing
// -----------------------------------------------------------------------------------------------------------------

void Connection::pump() {
    ListLink<Ready>::unlink();
    if (!stream_.open() || stream_.sending() ||
        session_.ending() != smtp::ClientSession::Ending::none) {
        return;
    }
    if (secure_ != nullptr) {
        pump_sealed();
        return;
    }
    const std::span<iovec> pieces = lay();
    if (!pieces.empty()) {
        stream_.send(pieces);
    }
    update();
}

// What may go out now, and where it lies, in output_.
std::span<iovec> Connection::lay() {
    base::BlockRef block = corridor_.blocks.take();
    POSTERN_ASSERT(block, "a connection has few blocks");
    auto* const pieces = reinterpret_cast<iovec*>(block->data());
    constexpr std::size_t pieces_octets = output_pieces * sizeof(iovec);
    smtp::Output output(
        {pieces, output_pieces}, {block->data() + pieces_octets, block->capacity - pieces_octets});
    session_.write(output, corridor_.ring.now());
    if (!output.empty()) {
        output_ = std::move(block);
    }
    return output.pieces();
}

// By the corridor, at the turn's end.
void Connection::look_again() {
    if (!ListLink<Ready>::linked()) {
        corridor_.ready.push_back(*this);
    }
}

smtp::Transfer* Connection::next() {
    if (quitting_ || too_old()) {
        return nullptr;
    }
    Transfer* const transfer = host_.pool.next(*this, host_);
    if (transfer != nullptr) {
        transfer->connection = this;
        ++host_.in_flight;
        ++unsettled_;
        transfer->submission->handed_over = corridor_.ring.now();
        corridor_.timers.set(transfer->deadline, transfer->submission->deadline);
    }
    return transfer;
}

bool Connection::sender_gone(smtp::Transfer& transfer) {
    return corridor_.world.sender_gone(*transfer.submission);
}

void Connection::held(smtp::Transfer& transfer) {
    corridor_.world.held(*transfer.submission);
}

// --- what became of messages
// -------------------------------------------------------------------------------------------------

void Connection::settled(smtp::Transfer& settled, const smtp::Verdict& verdict) {
    using Kind = smtp::Verdict::Kind;
    auto& transfer = static_cast<Transfer&>(settled);
    mail::Outcome outcome;
    --unsettled_;
    outcome.kind = mail::Outcome::Kind::unreachable;
    outcome.reply = verdict.reply;
    outcome.host = host_.text;
    outcome.host_said = verdict.host_said;
    outcome.host_has_dsn = session_.capabilities().dsn;
    switch (verdict.kind) {
        case Kind::accepted:
            outcome.kind = mail::Outcome::Kind::accepted;
            break;
        case Kind::refused:
            outcome.kind = mail::Outcome::Kind::refused;
            break;
        case Kind::divided:
            outcome.kind = mail::Outcome::Kind::divided;
            break;
        case Kind::too_many:
            outcome.kind = mail::Outcome::Kind::too_many;
            break;
        case Kind::dropped:
            outcome.kind = mail::Outcome::Kind::dropped;
            break;
        case Kind::unknown:
            outcome.kind = mail::Outcome::Kind::unknown;
            break;
        case Kind::host_trouble:
            host_.failed(std::string("it said: ") + std::string(verdict.host_said), true);
            useless_ = true;
            transfer.provoked = true;
            goes_elsewhere(transfer);
            break;
        case Kind::again:
            if (verdict.stale) {
                transfer.goes_again = true;
            } else {
                goes_elsewhere(transfer);
            }
            break;
    }
    if (!transfer.submission->is_question) {
        host_.counts.count<metrics::Metric::host_messages>(class_of(outcome));
    }
    if (!verdict.host_said.empty() && verdict.kind != Kind::host_trouble) {
        host_.answered();
    }
    if (!transfer.goes_again) {
        corridor_.settle(transfer, outcome);
    }
}

// Nothing of it was delivered here: it is tried again, at another host if there is one. Not for
// ever: what provokes trouble at one host may do so at all.
void Connection::goes_elsewhere(Transfer& transfer) {
    transfer.avoided = host_.number;
    transfer.goes_again = ++transfer.attempts < attempts_max;
    transfer.provoked = transfer.provoked || transfer.attempts >= attempts_provoking;
}

void Connection::released(smtp::Transfer& released) {
    auto& transfer = static_cast<Transfer&>(released);
    transfer.connection = nullptr;
    --host_.in_flight;
    if (transfer.goes_again) {
        transfer.goes_again = false;
        host_.pool.wait_again(transfer);
    } else {
        corridor_.release(transfer);
    }
}

// The sender must have its answer now, whatever the host still says.
void Connection::give_up(Transfer& transfer, mail::Outcome::Kind kind) {
    mail::Outcome outcome;
    outcome.kind = kind;
    if (transfer.goes_again) {  // refused here, and still waiting for what else the host says of it
        transfer.goes_again = false;
    } else {
        --unsettled_;
        if (session_.give_up(transfer)) {
            outcome.kind = mail::Outcome::Kind::unknown;
        }
    }
    outcome.host = host_.text;
    corridor_.settle(transfer, outcome);
    look_again();
    update();
}

void Connection::go_on(Transfer& transfer) {
    smtp::ClientSession::go_on(transfer);
    look_again();
}

// --- its life
// ----------------------------------------------------------------------------------------------------------------

void Connection::update() {
    if (stage_ == Stage::closing) {
        return;
    }
    if (session_.ending() != smtp::ClientSession::Ending::none) {
        session_ended();
        return;
    }
    if (useless_ && unsettled_ == 0) {  // what was refused goes elsewhere at once
        close();
        return;
    }
    if (stage_ == Stage::opening) {
        if (session_.ready()) {
            host_.known = true;
            host_.transaction_max = {
                session_.capabilities().recipients_max,
                session_.capabilities().recipient_domains_max};
            host_.lacks_smtputf8 = !session_.capabilities().smtputf8;
            idle_since_ = corridor_.ring.now();
            set_stage(Stage::idle);
        }
    } else if (!quitting_) {
        const bool idle = session_.idle() && !stream_.sending();
        if (idle && stage_ == Stage::busy) {
            idle_since_ = corridor_.ring.now();
        }
        set_stage(idle ? Stage::idle : Stage::busy);
        if (idle && too_old()) {
            quit();
        }
    }
    set_deadline();
}

void Connection::session_ended() {
    using Ending = smtp::ClientSession::Ending;
    switch (session_.ending()) {
        case Ending::none:
        case Ending::quit:
        case Ending::host_closing:
        case Ending::dropped:
            close();
            return;
        case Ending::malformed:
            broken("what it said is no SMTP reply");
            return;
        case Ending::unexpected:
            broken("it gave an answer that was not due");
            return;
        case Ending::no_tls:
            no_tls(
                session_.refused_step().empty()
                    ? std::string("TLS is required, and it does not offer STARTTLS")
                    : "TLS is required, and STARTTLS was refused: " +
                          std::string(session_.refused_said()),
                false);
            return;
        case Ending::injected:
            no_tls("it said more behind its answer to STARTTLS, in plain text", false);
            return;
        case Ending::refused:
            broken(
                std::string(session_.refused_step()) +
                " was refused: " + std::string(session_.refused_said()));
            return;
        case Ending::no_memory:
            broken("no memory for its answer");
            return;
    }
}

// Ended by the world. Of a connection that was idle this says nothing of its host: hosts close idle
// connections.
void Connection::broken(std::string_view what) {
    if (in_handshake()) {
        no_tls("the TLS handshake came to nothing: " + std::string(what), true);
        return;
    }
    const bool opening = stage_ == Stage::opening;
    const bool waited = !opening && !session_.idle();
    close();
    if (opening) {
        host_.failed(what, false);
    } else if (waited && !quitting_) {
        host_.broke(what, opened_);
    }
}

void Connection::quit() {
    quitting_ = true;
    session_.quit();
    set_stage(Stage::busy);
    idle_since_ = corridor_.ring.now();
    look_again();
    set_deadline();
}

void Connection::close() {
    if (stage_ == Stage::closing) {
        return;
    }
    set_stage(Stage::closing);
    ListLink<Ready>::unlink();
    deadline_.cancel();
    stream_.close();
}

void Connection::set_stage(Stage next) {
    if (next != stage_) {
        host_.file(*this, stage_, next);
        stage_ = next;
    }
}

bool Connection::too_old() const {
    const smtp::Capabilities& host = session_.capabilities();
    return corridor_.ring.now() - opened_ >= host_.pool.settings.max_age ||
           (host.mail_max > 0 && session_.mail_count() >= host.mail_max);
}

void Connection::set_deadline() {
    const base::Instant deadline = next_deadline();
    if (!deadline_.set() || deadline_.deadline() != deadline) {
        corridor_.timers.set(deadline_, deadline);
    }
}

base::Instant Connection::next_deadline() const {
    const Timeouts& timeouts = corridor_.timeouts;
    if (quitting_) {
        return idle_since_ + quit_patience;
    }
    switch (stage_) {
        case Stage::opening:
            if (in_handshake()) {
                return session_.awaited_since() + std::min(timeouts.connect, timeouts.reply);
            }
            return session_.awaited_since() == base::Instant{}  // the greeting
                       ? opened_ + timeouts.connect
                       : session_.awaited_since() + timeouts.reply;
        case Stage::idle:
            return std::min(
                idle_since_ + host_.pool.settings.idle, opened_ + host_.pool.settings.max_age);
        case Stage::busy:
        case Stage::closing:
            break;
    }
    switch (session_.awaited()) {
        case smtp::ClientSession::Awaited::nothing:  // a message is held: it is not the host's turn
            return corridor_.ring.now() + timeouts.reply;
        case smtp::ClientSession::Awaited::reply:
            return session_.awaited_since() + timeouts.reply;
        case smtp::ClientSession::Awaited::body_reply:
            break;
    }
    return session_.awaited_since() + timeouts.data_done;
}

void Connection::on_deadline() {
    if (stage_ == Stage::closing) {
        stream_.close();
        return;
    }
    if (quitting_) {
        close();
        return;
    }
    if (corridor_.ring.now() < next_deadline()) {
        set_deadline();
        return;
    }
    switch (stage_) {
        case Stage::opening: {
            if (in_handshake()) {
                broken("no answer in time");
                return;
            }
            const bool connected = stream_.open();
            // Others of ours work, or so they seemed: did they hear anything meanwhile?
            const bool silent = host_.last_heard() < opened_ &&
                                host_.count(Stage::idle) + host_.count(Stage::busy) > 0;
            close();
            host_.failed(
                connected ? "it did not answer in time" : "cannot connect: no answer in time",
                silent);
            return;
        }
        case Stage::idle:
            quit();
            return;
        case Stage::busy: {
            const bool silent = host_.last_heard() <= session_.awaited_since();
            close();
            host_.failed("it did not answer in time", silent);
            return;
        }
        case Stage::closing:
            return;
    }
}

}  // namespace postern::relay

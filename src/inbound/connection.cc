#include "connection.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "postern/mail/domain.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/received.h"

namespace postern::inbound {
namespace {

/// After our last answer: how long, and how much of what still comes, we read so that a reset does
/// not destroy it.
constexpr base::Duration linger_time = std::chrono::seconds(5);
constexpr base::Duration linger_time_at_end = std::chrono::seconds(1);
constexpr std::uint64_t linger_octets = std::uint64_t{16} << 20;
/// Memory for a body is asked for in steps of this.
constexpr std::uint64_t reserve_step = 32 * 1024;
/// What the next run may pin beyond its own octets: a tail block, a block of the chain, and what
/// lies around it in its buffer.
constexpr std::uint64_t reserve_ahead = 24 * 1024;

constexpr std::string_view crlf = "\r\n";

/// Logged, and said to nobody.
constexpr mail::Reply left_in_body{421, {4, 4, 2}, "the sender went away inside the message"};

/// An address whose domain alone is not ASCII, with that as A-labels, written into `into`; any
/// other as it is. Needed where SMTPUTF8 may not be: towards hosts that lack it, and in Received:,
/// so that our line is no reason to need it.
std::string_view in_a_labels(
    std::string_view address,
    std::string_view local_part,
    std::string_view domain_key,
    std::span<char> into) {
    if (smtp::is_ascii(address) || !smtp::is_ascii(local_part) || domain_key.empty()) {
        return address;
    }
    char* at = std::copy(local_part.begin(), local_part.end(), into.data());
    *at++ = '@';
    at = std::copy(domain_key.begin(), domain_key.end(), at);
    return {into.data(), static_cast<std::size_t>(at - into.data())};
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

Connection::~Connection() = default;

void Connection::begin(int descriptor) {
    stream_.adopt(descriptor);
    io::Address::HostText text;
    mail::Client client = this->client(text);
    const mail::Reply reply = corridor_.world.arrived(client, address_);
    set_deadline(terms_->settings.command_timeout);
    if (reply.code == 0) {
        admitted_ = true;
        trusted_ = client.trusted;
        exempt_ = client.exempt;
        counted_ = client.counted;
        client_generation_ = client.generation;
        client_network_ = client.network;
        stream_.send(terms_->greeting);
        return;
    }
    refused("", "", reply);
    if (!take_output_block()) {
        close();
        return;
    }
    written_ =
        static_cast<std::uint32_t>(smtp::write_reply(reply, {output_->data(), output_->capacity}));
    closing_ = true;
    flush();
}

// --- what the stream and the clock say -----------------------------------------------------------

void Connection::on_connected(int) {
    POSTERN_ASSERT(false, "an accepted connection does not connect");
}

void Connection::on_received(base::BlockRef block, std::string_view bytes, int) {
    if (closing_) {
        return;
    }
    if (bytes.empty()) {
        closing_ = true;  // the sender has ended or reset its stream: what it asked before is
                          // answered, if it can be
        if (submission_ != nullptr && session_.in_body()) {
            refused("", "", left_in_body);
        }
        leave_submission();
        flush();
        return;
    }
    received_block_ = std::move(block);
    received_ = bytes;
    run();
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
    if (session_.awaits_answer() || stream_.receiving()) {
        flush();
    } else {
        run();
    }
}

void Connection::on_due(io::Timer& self) {
    auto& connection = static_cast<Connection&>(self);
    if (connection.closing_ || connection.stream_.sending()) {
        connection.close();  // it does not read what we say
    } else {
        connection.end(smtp::Answer::idle);
    }
}

void Connection::on_closed() {
    leave_submission();
    if (admitted_) {
        io::Address::HostText text;
        corridor_.world.left(client(text), address_);
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
    written_ = static_cast<std::uint32_t>(exchange.output.data() - output_->data());
}

/// Steps the session as far as its input and the room for answers go, sends what it said, and asks
/// for what it wants next.
void Connection::run() {
    if (closing_) {
        flush();
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
    }
    if (line_size_ == 0) {
        line_ = {};
    }
    if (session_.awaits_answer()) {
        cancel();
    } else if (closing_) {
        set_deadline(linger_time);
    } else if (session_.in_body()) {
        set_deadline(terms_->settings.data_timeout);
    } else if (written_ > written_before) {
        set_deadline(terms_->settings.command_timeout);  // not for part of a command
    }
    flush();
}

/// False: the session cannot go on now.
bool Connection::step() {
    smtp::Exchange exchange = this->exchange();
    const bool from_line = line_size_ > 0;
    if (from_line) {
        complete_line();
    }
    exchange.input = from_line ? std::string_view(line_->data(), line_size_) : received_;
    const smtp::Wish wish = session_.step(exchange);
    const bool going_on = act(wish, exchange);
    note_written(exchange);
    if (from_line) {
        line_size_ = static_cast<std::uint16_t>(exchange.input.size());
        std::memmove(line_->data(), exchange.input.data(), line_size_);
    } else {
        received_ = exchange.input;
    }
    if (wish == smtp::Wish::input) {
        if (from_line && !received_.empty()) {
            return true;
        }
        want_input();
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
            take_recipient(exchange);
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
        case smtp::Wish::abandon:
            leave_submission();
            return true;
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

void Connection::begin_submission(smtp::Exchange& exchange) {
    io::Address::HostText text;
    submission_ = corridor_.world.begin(client(text));
    if (submission_ != nullptr) {
        submission_->inbound_owner = this;
        const smtp::Path& path = exchange.path;
        mail::DomainKey key;
        std::array<char, smtp::local_part_size_max + 1 + mail::domain_octets_max> room;
        const bool has_key = path.non_ascii && mail::make_domain_key(path.domain, key);
        const std::string_view told =
            has_key ? in_a_labels(path.address, path.local_part, key.view(), room) : path.address;
        const auto reverse_path = submission_->arena.copy(path.address);
        const auto a_label =
            submission_->arena.copy(told == path.address ? std::string_view() : told);
        if (reverse_path && a_label) {
            submission_->envelope.reverse_path = *reverse_path;
            submission_->envelope.reverse_path_a_label = *a_label;
            submission_->envelope.body_type = exchange.parameters.body_type;
            submission_->envelope.smtputf8 = exchange.parameters.smtputf8;
            submission_->envelope.size_declared = exchange.parameters.size;
            session_.accept(exchange);
            return;
        }
        leave_submission();
    }
    const mail::Reply& reply = smtp::answer_row(smtp::Answer::memory_short).reply;
    refused(exchange.refusal.verb, exchange.refusal.address, reply);
    session_.refuse(exchange, reply);
}

void Connection::take_recipient(smtp::Exchange& exchange) {
    base::Arena& arena = submission_->arena;
    const base::Arena::Mark mark = arena.mark();
    const smtp::Path& path = exchange.path;
    auto* recipient = arena.make<mail::Recipient>();
    const auto address = arena.copy(path.address);
    mail::Reply reply = smtp::answer_row(smtp::Answer::memory_short).reply;
    if (recipient != nullptr && address) {
        recipient->address = *address;
        recipient->local_part = address->substr(0, path.local_part.size());
        recipient->domain = address->substr(address->size() - path.domain.size());
        reply = corridor_.world.recipient(*submission_, *recipient);
    }
    if (reply.code != 0) {
        refused(exchange.refusal.verb, exchange.refusal.address, reply);
        session_.refuse(exchange, reply);
        arena.rewind(mark);
        return;
    }
    mail::Envelope& envelope = submission_->envelope;
    (envelope.last_recipient == nullptr ? envelope.first_recipient
                                        : envelope.last_recipient->next) = recipient;
    envelope.last_recipient = recipient;
    ++envelope.recipient_count;
    session_.accept(exchange);
}

void Connection::begin_body(smtp::Exchange& exchange) {
    reserved_ = 0;
    submission_->body_began = corridor_.ring.now();
    if (reserve(0) && append_received_line()) {
        session_.accept(exchange);
    } else {
        refuse_body(exchange);
    }
}

void Connection::append(smtp::Exchange& exchange) {
    const smtp::BodyPiece& piece = exchange.piece;
    mail::Body& body = submission_->body;
    const bool appended =
        reserve(piece.run.size()) &&
        (piece.in_place
             ? body.append(received_block_, piece.run, piece.begins_line, piece.has_dot_line)
             : body.append_copy(piece.run, piece.begins_line, piece.has_dot_line));
    if (!appended) {
        refuse_body(exchange);
    }
}

void Connection::refuse_body(smtp::Exchange& exchange) {
    refused("DATA", "", smtp::answer_row(smtp::Answer::memory_short).reply);
    session_.refuse_body(exchange, smtp::Answer::memory_short);
}

void Connection::submit() {
    submission_->has_eight_bit |= session_.has_eight_bit();
    submission_->has_utf8_header |= session_.has_utf8_header();
    corridor_.world.submit(*submission_);
}

/// Makes sure that a run of so many octets may be appended.
bool Connection::reserve(std::uint64_t octets) {
    const bool first = reserved_ == 0;
    // A run that is referenced pins its block, which is at most pinned_per_held_max times as large;
    // else it is copied.
    const std::uint64_t most = received_block_ ? received_block_->capacity : 0;
    const std::uint64_t needed = submission_->body.pinned() + reserve_ahead +
                                 std::min(octets * mail::Body::pinned_per_held_max, most);
    if (needed <= reserved_) {
        return true;
    }
    const std::uint64_t wanted = (needed + reserve_step - 1) / reserve_step * reserve_step;
    if (!corridor_.world.reserve(*submission_, wanted, first)) {
        return false;
    }
    reserved_ = wanted;
    return true;
}

bool Connection::append_received_line() {
    const mail::Envelope& envelope = submission_->envelope;
    std::array<char, smtp::received_octets_max> address;
    const std::string_view recipient = envelope.recipient_count == 1
                                           ? in_a_labels(
                                                 envelope.first_recipient->address,
                                                 envelope.first_recipient->local_part,
                                                 envelope.first_recipient->domain_key,
                                                 address)
                                           : std::string_view();
    std::array<char, smtp::received_octets_max> line;
    const std::size_t size = smtp::write_received(
        {.helo = submission_->client.helo,
         .client_address = submission_->client.address,
         .hostname = terms_->settings.hostname,
         .protocol = session_.protocol(),
         .id = submission_->id(),
         .recipient = recipient,
         .time = corridor_.ring.wall_now()},
        line);
    const bool ascii = smtp::is_ascii(recipient);
    submission_->has_eight_bit = submission_->has_utf8_header = !ascii;
    return submission_->body.append_copy({line.data(), size}, true, false);
}

// --- input ---------------------------------------------------------------------------------------

/// Moves what was received to the partial line, up to that line's end. What stands behind it stays
/// where it is.
void Connection::complete_line() {
    if (std::string_view(line_->data(), line_size_).ends_with(crlf)) {
        return;
    }
    const bool cr_before = line_->data()[line_size_ - 1] == '\r';
    std::size_t size = received_.size();
    if (cr_before && received_.starts_with('\n')) {
        size = 1;
    } else if (const std::size_t end = received_.find(crlf); end != std::string_view::npos) {
        size = end + crlf.size();
    }
    size = std::min(size, smtp::command_line_max - line_size_);
    std::memcpy(line_->data() + line_size_, received_.data(), size);
    line_size_ = static_cast<std::uint16_t>(line_size_ + size);
    received_.remove_prefix(size);
}

/// All input is consumed, but for a partial command line: asks for more.
void Connection::want_input() {
    if (!received_.empty()) {
        line_ = corridor_.line_pool.take();
        if (!line_) {
            end(smtp::Answer::overloaded);
            return;
        }
        std::memcpy(line_->data(), received_.data(), received_.size());
        line_size_ = static_cast<std::uint16_t>(received_.size());
        received_ = {};
    }
    if (corridor_.shutting_down && session_.idle() && line_size_ == 0) {
        end(smtp::Answer::shutting_down);
    } else if (!stream_.receiving()) {
        stream_.receive(session_.in_body() ? io::BufferGroup::body : io::BufferGroup::command);
    }
}

// --- output and endings --------------------------------------------------------------------------

/// Sends what is written, or, with all of it sent, ends where that was the last.
void Connection::flush() {
    if (!stream_.open() || stream_.sending()) {
        return;
    }
    if (sent_ < written_) {
        stream_.send({output_->data() + sent_, written_ - sent_});
        sent_ = written_;
        return;
    }
    output_ = {};
    sent_ = written_ = 0;
    if (!closing_) {
        return;
    }
    if (corridor_.cutting) {
        close();
    } else {
        set_deadline(corridor_.shutting_down ? linger_time_at_end : linger_time);
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
    set_deadline(terms_->settings.command_timeout);
    run();
}

void Connection::set_deadline(base::Duration from_now) {
    corridor_.timers.set(*this, corridor_.ring.now() + from_now);
}

/// Our own ending, with one of the 421s.
void Connection::end(smtp::Answer answer) {
    refused("", "", smtp::answer_row(answer).reply);
    leave_submission();
    if (!take_output_block()) {
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
    cancel();
    stream_.close();
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
    if (received_.find(crlf) != std::string_view::npos) {
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
    std::array<char, smtp::command_line_max> waiting;
    const std::string_view peeked(
        waiting.data(), corridor_.ring.peek(stream_.descriptor(), waiting));
    return peeked.find(crlf) == std::string_view::npos &&
           !(received_.ends_with('\r') && peeked.starts_with('\n'));
}

// --- what the world is told ----------------------------------------------------------------------

/// `text` holds the address while the value is used.
mail::Client Connection::client(io::Address::HostText& text) const {
    return {
        .address = address_.host_text(text),
        .helo = session_.hello_name(),
        .network = client_network_,
        .generation = client_generation_,
        .listener = terms_->number,
        .trusted = trusted_,
        .exempt = exempt_,
        .counted = counted_,
        .esmtp = session_.esmtp()};
}

void Connection::refused(
    std::string_view what, std::string_view address, const mail::Reply& reply) {
    io::Address::HostText text;
    corridor_.world.refused(client(text), submission_, what, address, reply);
}

}  // namespace postern::inbound

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "connection.h"
#include "postern/mail/domain.h"
#include "postern/smtp/a_labels.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/received.h"

/// A connection's message, from MAIL to its last octet: what the session parses becomes a
/// submission of the world's.
namespace postern::inbound {
namespace {

/// Memory for a body is asked for in steps of this.
constexpr std::uint64_t reserve_step = 32 * 1024;
/// What the next run may pin beyond its own octets: a tail block, a block of the chain, and what
/// lies around it in its buffer.
constexpr std::uint64_t reserve_ahead = 24 * 1024;

}  // namespace

void Connection::begin_submission(smtp::Exchange& exchange) {
    io::Address::HostText text;
    mail::Reply reply = smtp::answer_row(smtp::Answer::health_check).reply;
    if (!health_check_) {
        submission_ = corridor_.world.begin(client(text), exchange.parameters.size, reply);
    }
    if (submission_ != nullptr) {
        submission_->inbound_owner = this;
        const smtp::Path& path = exchange.path;
        mail::DomainKey key;
        std::array<char, smtp::local_part_size_max + 1 + mail::domain_octets_max> room;
        const bool has_key = path.non_ascii && mail::make_domain_key(path.domain, key);
        const auto reverse_path = submission_->arena.copy(path.address);
        const auto a_label = submission_->arena.copy(
            has_key ? smtp::in_a_labels(path.address, path.local_part, key.view(), room)
                    : std::string_view());
        const auto envelope_id = submission_->arena.copy(exchange.parameters.envelope_id);
        if (reverse_path && a_label && envelope_id) {
            submission_->envelope.reverse_path = *reverse_path;
            submission_->envelope.reverse_path_a_label = *a_label;
            submission_->envelope.body_type = exchange.parameters.body_type;
            submission_->envelope.smtputf8 = exchange.parameters.smtputf8;
            submission_->envelope.returned = exchange.parameters.returned;
            submission_->envelope.envelope_id = *envelope_id;
            submission_->envelope.size_declared = exchange.parameters.size;
            session_.accept(exchange);
            return;
        }
        leave_submission();
        reply = smtp::answer_row(smtp::Answer::memory_short).reply;
    }
    refused(exchange.refusal.verb, exchange.refusal.address, reply);
    session_.refuse(exchange, reply);
}

/// False: the world answers later.
bool Connection::take_recipient(smtp::Exchange& exchange) {
    base::Arena& arena = submission_->arena;
    const base::Arena::Mark mark = arena.mark();
    const smtp::Path& path = exchange.path;
    auto* recipient = arena.make<mail::Recipient>();
    const auto address = arena.copy(path.address);
    const smtp::RecipientParameters& parameters = exchange.recipient_parameters;
    const auto original_recipient = arena.copy(parameters.original_recipient);
    std::optional<mail::Reply> reply = smtp::answer_row(smtp::Answer::memory_short).reply;
    if (recipient != nullptr && address && original_recipient) {
        recipient->notify = parameters.notify;
        recipient->original_recipient = *original_recipient;
        recipient->address = *address;
        recipient->local_part = address->substr(0, path.local_part.size());
        recipient->domain = address->substr(address->size() - path.domain.size());
        reply = corridor_.world.recipient(*submission_, *recipient);
    }
    mail::Submission::Asked asked{recipient, mark, exchange.refusal.address};
    if (!reply) {
        asked.parameter = arena.copy(asked.parameter).value_or(*address);
        submission_->asked = asked;
        return false;
    }
    settle_recipient(exchange, asked, *reply);
    return true;
}

void Connection::settle_recipient(
    smtp::Exchange& exchange, const mail::Submission::Asked& asked, const mail::Reply& reply) {
    if (reply.code != 0) {
        refused("RCPT", asked.parameter, reply);
        session_.refuse(exchange, reply);
        submission_->arena.rewind(asked.mark);
        return;
    }
    submission_->envelope.add(*asked.recipient);
    session_.accept(exchange);
}

void Connection::begin_body(smtp::Exchange& exchange) {
    submission_->body_began = corridor_.ring.now();
    if (reserve(0) && append_received_line()) {
        session_.accept(exchange);
    } else {
        refuse_body(exchange, smtp::Answer::memory_short);
    }
}

void Connection::append(smtp::Exchange& exchange) {
    const smtp::BodyPiece& piece = exchange.piece;
    if (terms_->settings.octets_counted && !exempt_ &&
        !corridor_.world.received(*submission_, piece.run.size())) {
        refuse_body(exchange, smtp::Answer::too_many_octets);
        return;
    }
    mail::Body& body = submission_->body;
    const bool appended =
        reserve(piece.run.size()) &&
        (piece.in_place
             ? body.append(received_block_, piece.run, piece.begins_line, piece.has_dot_line)
             : body.append_copy(piece.run, piece.begins_line, piece.has_dot_line));
    if (!appended) {
        refuse_body(exchange, smtp::Answer::memory_short);
    }
}

void Connection::refuse_body(smtp::Exchange& exchange, smtp::Answer answer) {
    refused("DATA", "", smtp::answer_row(answer).reply);
    session_.refuse_body(exchange, answer);
}

void Connection::submit() {
    submission_->has_eight_bit |= session_.has_eight_bit();
    submission_->has_utf8_header |= session_.has_utf8_header();
    corridor_.world.submit(*submission_);
}

/// Makes sure that a run of so many octets may be appended.
bool Connection::reserve(std::uint64_t octets) {
    const std::uint64_t reserved = submission_->reserved_octets;
    // A run that is referenced pins its block, which is at most pinned_per_held_max times as large;
    // else it is copied.
    const std::uint64_t most = received_block_ ? received_block_->capacity : 0;
    const std::uint64_t needed = submission_->body.pinned() + reserve_ahead +
                                 std::min(octets * mail::Body::pinned_per_held_max, most);
    if (needed <= reserved) {
        return true;
    }
    const std::uint64_t wanted = (needed + reserve_step - 1) / reserve_step * reserve_step;
    return corridor_.world.reserve(*submission_, wanted, reserved == 0);
}

bool Connection::append_received_line() {
    const mail::Envelope& envelope = submission_->envelope;
    std::array<char, smtp::received_octets_max> address;
    std::string_view recipient;
    if (envelope.recipient_count == 1) {
        const mail::Recipient& one = *envelope.first_recipient;
        recipient = smtp::in_a_labels(one.address, one.local_part, one.domain_key, address);
        recipient = recipient.empty() ? one.address : recipient;
    }
    std::array<char, smtp::received_octets_max> line;
    const std::size_t size = smtp::write_received(
        {.helo = submission_->client.helo,
         .client_name = submission_->client.name,
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

}  // namespace postern::inbound

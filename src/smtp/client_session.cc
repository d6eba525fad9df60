#include "postern/smtp/client_session.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "postern/base/assert.h"

namespace postern::smtp {
namespace {

using namespace std::chrono_literals;

// An answer later than twice the usual and this is late: nothing more is put behind it.
constexpr base::Duration late_floor = 50ms;
// A connection that was idle for longer may have been closed by the host with the news still on its
// way: the first message on it keeps its last octet back until the host has answered something,
// since what was sent whole could not be tried again.
constexpr base::Duration fresh_for = 5s;
// Text of a recipient's answer that is kept in the submission's arena.
constexpr std::size_t answer_octets_max = 960;

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

bool is_positive(const HostReply& reply) {
    return reply.code / 100 == 2;
}

bool is_refusal(const HostReply& reply) {
    return reply.code / 100 == 4 || reply.code / 100 == 5;
}

std::string_view told_address(const mail::Recipient& recipient) {
    return recipient.outgoing.empty() ? recipient.address : recipient.outgoing;
}

// Of a recipient whose host has no SMTPUTF8: only the domain is not ASCII, and so it goes as
// A-label (RFC 6531, 3.6).
bool goes_as_a_label(const mail::Recipient& recipient) {
    return recipient.outgoing.empty() && is_ascii(recipient.local_part) &&
           !recipient.domain_key.empty() && is_ascii(recipient.domain_key);
}

bool needs_smtputf8(const mail::Submission& submission) {
    const mail::Envelope& envelope = submission.envelope;
    if (!is_ascii(envelope.reverse_path) || (envelope.smtputf8 && submission.has_utf8_header)) {
        return true;
    }
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        if (!is_ascii(told_address(*r))) {
            return true;
        }
    }
    return false;
}

std::uint32_t count_domains(const mail::Envelope& envelope) {
    std::uint32_t count = 0;
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        bool seen = false;
        for (const mail::Recipient* s = envelope.first_recipient; s != r && !seen; s = s->next) {
            seen = s->domain_key == r->domain_key;
        }
        count += seen ? 0 : 1;
    }
    return count;
}

constexpr mail::Reply too_large{552, {5, 3, 4}, "message is too large for the next host"};
constexpr mail::Reply eight_bit{554, {5, 6, 3}, "the next host takes no 8-bit content"};
constexpr mail::Reply utf8{554, {5, 6, 9}, "the next host takes no internationalized mail"};
constexpr mail::Reply too_many{452, {4, 5, 3}, "too many recipients for the next host"};
constexpr mail::Reply long_path{553, {5, 1, 7}, "sender's address is too long for the next host"};
constexpr mail::Reply long_address{553, {5, 1, 3}, "address is too long for the next host"};

}  // namespace

void Output::text(std::string_view text) {
    POSTERN_ASSERT(text.size() <= room_left(), "the room for commands was not asked for");
    char* const at = room_.data() + used_;
    std::memcpy(at, text.data(), text.size());
    used_ += text.size();
    refer({at, text.size()});
}

void Output::number(std::uint64_t value) {
    std::array<char, 20> digits;
    const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
    text({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

void Output::refer(std::string_view bytes) {
    if (bytes.empty()) {
        return;
    }
    octets_ += bytes.size();
    if (count_ > 0) {
        iovec& last = pieces_[count_ - 1];
        if (static_cast<const char*>(last.iov_base) + last.iov_len == bytes.data()) {
            last.iov_len += bytes.size();
            return;
        }
    }
    POSTERN_ASSERT(pieces_left() > 0, "the room for pieces was not asked for");
    pieces_[count_++] = {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
}

ClientSession::ClientSession(
    const ClientSettings& settings, Pace& pace, ClientOwner& owner, base::BlockPool& partial_pool)
    : settings_(settings), pace_(pace), owner_(owner), partial_pool_(partial_pool) {
    POSTERN_ASSERT(
        partial_pool.block_size() >= ReplyParser::octets_max, "a reply's block is too small");
}

ClientSession::~ClientSession() {
    POSTERN_ASSERT(transfers_.empty(), "a session went with messages in it");
}

// --- writing
// -----------------------------------------------------------------------------------------------------------------

void ClientSession::write(Output& output, base::Instant now) {
    POSTERN_ASSERT(outputs_ == outputs_sent_, "an output was asked for before the last was sent");
    release_done();
    if (ending_ != Ending::none || dropping_) {
        return;
    }
    const bool awaited_before = awaited() != Awaited::nothing;
    Transfer* tail = nullptr;
    std::size_t tail_octets = 0;
    if (to_write_opening_) {
        to_write_opening_ = false;
        output.text(state_ == State::quitting ? "QUIT" : state_ == State::ehlo ? "EHLO " : "HELO ");
        output.text(state_ == State::quitting ? "" : settings_.helo);
        output.text("\r\n");
    }
    while (writing_ != nullptr || begin_next(now)) {
        if (!write_transfer(*writing_, output)) {
            break;
        }
        if (writing_->whole_) {
            tail = writing_;
            tail_octets = output.octets_;
        }
        writing_ = nullptr;
        release_done();  // one that was dropped may be done already
    }
    if (transaction_left_ && idle() && !dropping_) {
        output.text("RSET\r\n");
        clearing_ = true;
        transaction_left_ = false;
    }
    if (!output.empty()) {
        ++outputs_;
        output_tail_ = tail_octets == output.octets_ ? tail : nullptr;
        if (!awaited_before) {
            progress_ = waiting_since_ = now;
        }
    }
}

// Makes the next message the one to be written.
bool ClientSession::begin_next(base::Instant now) {
    if (!ready() || in_flight_ >= settings_.pipeline_max || !may_take(now)) {
        return false;
    }
    if (!capabilities_.pipelining && (in_flight_ > 0 || clearing_)) {
        return false;
    }
    for (Transfer* transfer = owner_.next(); transfer != nullptr; transfer = owner_.next()) {
        if (const auto reply = lacking(*transfer->submission)) {
            Verdict verdict;
            verdict.kind = Verdict::Kind::refused;
            verdict.reply = *reply;
            owner_.settled(*transfer, verdict);
            owner_.released(*transfer);
            continue;
        }
        begin(*transfer, now);
        return true;
    }
    return false;
}

void ClientSession::begin(Transfer& transfer, base::Instant now) {
    mail::Submission* const submission = transfer.submission;
    const mail::Envelope& envelope = submission->envelope;
    POSTERN_ASSERT(envelope.recipient_count > 0, "a message without recipients");
    transfer.write_ = Transfer::Write::rset;
    transfer.has_rset_ = mail_count_ > 0;
    transfer.on_idle_ = mail_count_ > 0 && transfers_.empty();
    transfer.one_flight_ = capabilities_.pipelining && envelope.recipient_count == 1 &&
                           !(transfer.on_idle_ && now - progress_ > fresh_for);
    transfer.settled_ = transfer.lone_dot_ = transfer.go_ahead_ = false;
    transfer.mail_refused_ = transfer.rcpt_refused_ = false;
    transfer.body_begun_ = transfer.whole_ = false;
    transfer.asked_ = transfer.answered_ = transfer.accepted_ = 0;
    transfer.rcpt_to_write_ = transfer.rcpt_to_answer_ = envelope.first_recipient;
    transfer.cursor_ = submission->body.begin();
    transfer.offset_ = 0;
    transfer.last_output_ = 0;
    transfers_.push_back(transfer);
    writing_ = &transfer;
    ++in_flight_;
    ++mail_count_;
}

// What this host cannot take, told to the sender without trying.
std::optional<mail::Reply> ClientSession::lacking(const mail::Submission& submission) const {
    const mail::Envelope& envelope = submission.envelope;
    const Capabilities& host = capabilities_;
    if (host.size_max > 0 && submission.body.size() > host.size_max) {
        return too_large;
    }
    if (envelope.recipient_count > settings_.recipients_max ||
        (host.recipients_max > 0 && envelope.recipient_count > host.recipients_max) ||
        (host.recipient_domains_max > 0 && envelope.recipient_count > host.recipient_domains_max &&
         count_domains(envelope) > host.recipient_domains_max)) {
        return too_many;
    }
    if (envelope.reverse_path.size() > address_octets_max) {
        return long_path;
    }
    if (!host.smtputf8 &&
        (!is_ascii(envelope.reverse_path) || (envelope.smtputf8 && submission.has_utf8_header))) {
        return utf8;
    }
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        if (std::max(told_address(*r).size(), r->local_part.size() + r->domain_key.size() + 1) >
            address_octets_max) {
            return long_address;
        }
        if (!host.smtputf8 && !is_ascii(told_address(*r)) && !goes_as_a_label(*r)) {
            return utf8;
        }
    }
    if (submission.has_eight_bit && !host.eight_bit_mime && !settings_.send_8bit) {
        return eight_bit;
    }
    return std::nullopt;
}

// Writes on from where the message stands. True: all of it has been written; false: it waits for
// room or for an answer.
bool ClientSession::write_transfer(Transfer& transfer, Output& output) {
    using Write = Transfer::Write;
    for (;;) {
        if (transfer.write_ == Write::end) {
            return true;
        }
        const bool in_body = transfer.body_begun_;
        if (!in_body && !capabilities_.pipelining && transfer.asked_ != transfer.answered_) {
            return false;
        }
        if (output.pieces_left() < 4 || (!in_body && output.room_left() < command_octets_max)) {
            return false;
        }
        switch (transfer.write_) {
            case Write::rset:
                if (transfer.has_rset_) {
                    output.text("RSET\r\n");
                    ++transfer.asked_;
                }
                transfer.write_ = Write::mail;
                break;
            case Write::mail:
                write_mail(transfer, output);
                ++transfer.asked_;
                transfer.write_ = Write::rcpt;
                break;
            case Write::rcpt:
                write_rcpt(transfer, output);
                ++transfer.asked_;
                transfer.rcpt_to_write_ = transfer.rcpt_to_write_->next;
                if (transfer.rcpt_to_write_ == nullptr) {
                    transfer.write_ = capabilities_.chunking ? Write::body : Write::data;
                }
                break;
            case Write::data:
                if (!transfer.one_flight_ && !transfer.go_ahead_) {
                    return false;
                }
                output.text("DATA\r\n");
                ++transfer.asked_;
                transfer.go_ahead_ = false;
                transfer.write_ = Write::body;
                break;
            case Write::body:
                if (!transfer.go_ahead_ && !(transfer.one_flight_ && capabilities_.chunking)) {
                    return false;
                }
                return write_body(transfer, output);
            case Write::end:
                return true;
        }
    }
}

void ClientSession::write_mail(Transfer& transfer, Output& output) {
    const mail::Submission& submission = *transfer.submission;
    const std::string_view path = submission.envelope.reverse_path;
    POSTERN_ASSERT(
        path.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos,
        "an address holds what would end its command");
    output.text("MAIL FROM:<");
    output.text(path);
    output.text(">");
    if (capabilities_.size) {
        output.text(" SIZE=");
        output.number(submission.body.size());
    }
    if (submission.has_eight_bit && capabilities_.eight_bit_mime) {
        output.text(" BODY=8BITMIME");
    }
    if (capabilities_.smtputf8 && needs_smtputf8(submission)) {
        output.text(" SMTPUTF8");
    }
    output.text("\r\n");
}

void ClientSession::write_rcpt(const Transfer& transfer, Output& output) {
    const mail::Recipient& recipient = *transfer.rcpt_to_write_;
    const std::string_view address = told_address(recipient);
    const auto checked = [](std::string_view part) {
        POSTERN_ASSERT(
            part.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos,
            "an address holds what would end its command");
        return part;
    };
    output.text("RCPT TO:<");
    if (capabilities_.smtputf8 || is_ascii(address)) {
        output.text(checked(address));
    } else {
        output.text(checked(recipient.local_part));
        output.text("@");
        output.text(checked(recipient.domain_key));
    }
    output.text(">\r\n");
}

bool ClientSession::write_body(Transfer& transfer, Output& output) {
    const Output before = output;
    const iovec last_before = before.count_ > 0 ? before.pieces_[before.count_ - 1] : iovec{};
    const bool begins = !transfer.body_begun_;
    const mail::Body& body = transfer.submission->body;
    if (begins) {
        transfer.body_begun_ = true;
        ++transfer.asked_;
    }
    if (transfer.lone_dot_) {
        output.refer(".\r\n");
        transfer.write_ = Transfer::Write::end;
        return true;
    }
    const std::uint64_t last_output_before = std::exchange(transfer.last_output_, outputs_ + 1);
    if (capabilities_.chunking) {
        if (begins) {
            output.text("BDAT ");
            output.number(body.size());
            output.text(" LAST\r\n");
        }
        if (!lay_slices(transfer, output)) {
            return false;
        }
    } else {
        if (!lay_stuffed(transfer, output)) {
            return false;
        }
        output.refer(body.ends_with_crlf() ? ".\r\n" : "\r\n.\r\n");
    }
    if (!transfer.settled_ && owner_.sender_gone(transfer)) {
        output = before;
        if (before.count_ > 0) {
            output.pieces_[before.count_ - 1] = last_before;
        }
        transfer.last_output_ = last_output_before;
        Verdict verdict;
        verdict.kind = Verdict::Kind::dropped;
        settle(transfer, verdict);
        if (begins && capabilities_.chunking) {  // not a word of it is out: the connection goes on
            transfer.body_begun_ = false;
            --transfer.asked_;
            transfer.write_ = Transfer::Write::end;
            return true;
        }
        drop();
        return false;
    }
    transfer.whole_ = true;
    transfer.write_ = Transfer::Write::end;
    return true;
}

// The content as it lies. False: no piece is left.
bool ClientSession::lay_slices(Transfer& transfer, Output& output) {
    for (const mail::Slice* slice = transfer.cursor_.slice(); slice != nullptr;
         slice = transfer.cursor_.slice()) {
        if (output.pieces_left() < 2) {
            return false;
        }
        output.refer(slice->view());
        transfer.cursor_.advance();
    }
    return true;
}

// The content with a dot more in front of each line that begins with one (RFC 5321, 4.5.2). False:
// no piece is left; one is kept for the end of the data.
bool ClientSession::lay_stuffed(Transfer& transfer, Output& output) {
    for (const mail::Slice* slice = transfer.cursor_.slice(); slice != nullptr;
         slice = transfer.cursor_.slice()) {
        const std::string_view bytes = slice->view();
        while (transfer.offset_ < bytes.size()) {
            if (output.pieces_left() < 3) {
                return false;
            }
            std::size_t end = bytes.size();
            if (slice->has_dot_line) {
                // Behind the slice's beginning, `offset_` only ever stands on a line's first dot.
                if (bytes[transfer.offset_] == '.' &&
                    (transfer.offset_ > 0 || slice->begins_line)) {
                    output.refer(".");
                }
                const std::size_t found = bytes.find("\n.", transfer.offset_);
                end = found == std::string_view::npos ? end : found + 1;
            }
            output.refer(bytes.substr(transfer.offset_, end - transfer.offset_));
            transfer.offset_ = static_cast<std::uint32_t>(end);
        }
        transfer.cursor_.advance();
        transfer.offset_ = 0;
    }
    return true;
}

void ClientSession::sent(base::Instant now) {
    outputs_sent_ = outputs_;
    output_tail_ = nullptr;
    progress_ = now;
    release_done();
}

void ClientSession::send_failed() {
    tail_failed_ = true;
}

void ClientSession::quit() {
    POSTERN_ASSERT(idle(), "QUIT while a message is on its way");
    state_ = State::quitting;
    to_write_opening_ = true;
}

bool ClientSession::give_up(Transfer& transfer) {
    POSTERN_ASSERT(!transfer.settled_, "a message was given up behind its verdict");
    transfer.settled_ = true;
    if (transfer.whole_) {
        return true;
    }
    const bool data_asked =
        transfer.write_ == Transfer::Write::body && !capabilities_.chunking && !transfer.go_ahead_;
    if (transfer.body_begun_ || transfer.go_ahead_) {
        skip_body(transfer);
        if (transfer.write_ != Transfer::Write::end) {
            drop();
        }
    } else if (!data_asked) {
        skip_body(transfer);
    }
    return false;
}

// A body was begun that must not come to its end: the connection closes once all in front of it has
// been answered.
void ClientSession::drop() {
    dropping_ = true;
    close_if_dropped();
}

void ClientSession::close_if_dropped() {
    if (dropping_ && ending_ == Ending::none) {
        const Transfer* const awaited = first_awaited();
        if (awaited == nullptr || awaited == writing_) {
            end(Ending::dropped);
        }
    }
}

void ClientSession::ended() {
    for (Transfer* transfer = transfers_.back(); transfer != nullptr;
         transfer = transfers_.back()) {
        transfer->unlink();
        --in_flight_;
        if (!transfer->settled_) {
            const bool given = transfer->whole_ && ending_ != Ending::host_closing &&
                               !(tail_failed_ && transfer == output_tail_);
            Verdict verdict;
            verdict.kind = given ? Verdict::Kind::unknown : Verdict::Kind::again;
            verdict.stale = !given && transfer->on_idle_ && transfer->answered_ == 0;
            settle(*transfer, verdict);
        }
        owner_.released(*transfer);
    }
    writing_ = nullptr;
}

bool ClientSession::may_take(base::Instant now) const {
    if (capabilities_.mail_max > 0 && mail_count_ >= capabilities_.mail_max) {
        return false;
    }
    return first_awaited() == nullptr || now - waiting_since_ <= 2 * pace_.usual + late_floor;
}

// --- reading
// -----------------------------------------------------------------------------------------------------------------

void ClientSession::received(std::string_view bytes, base::Instant now) {
    batch_since_ = waiting_since_;
    while (!bytes.empty() && ending_ == Ending::none) {
        std::string_view all = bytes;
        if (partial_) {
            const std::size_t added = std::min(bytes.size(), partial_->capacity - partial_size_);
            std::memcpy(partial_->data() + partial_size_, bytes.data(), added);
            all = {partial_->data(), partial_size_ + added};
        }
        const ReplyParser::Result result = parser_.parse(all);
        switch (result.status) {
            case ReplyParser::Status::error:
                end(Ending::malformed);
                break;
            case ReplyParser::Status::partial:
                if (!partial_) {
                    partial_ = partial_pool_.take();
                    if (!partial_) {
                        end(Ending::no_memory);
                        break;
                    }
                    std::memcpy(partial_->data(), bytes.data(), bytes.size());
                }
                partial_size_ = all.size();
                bytes = {};
                break;
            case ReplyParser::Status::consumed:
                bytes.remove_prefix(result.consumed - partial_size_);
                partial_size_ = 0;
                reply(result.reply, now);
                if (ending_ == Ending::none) {
                    partial_ = base::BlockRef();
                }
                break;
        }
    }
    release_done();
}

void ClientSession::reply(const HostReply& reply, base::Instant now) {
    progress_ = waiting_since_ = now;
    switch (state_) {
        case State::greeting:
        case State::ehlo:
        case State::helo:
            opening_reply(reply);
            return;
        case State::quitting:
            end(Ending::quit);
            return;
        case State::ready:
            break;
    }
    if (reply.code == 421) {
        closing_reply(reply);
        return;
    }
    if (clearing_) {
        clearing_ = false;
        if (!is_positive(reply)) {
            end(Ending::unexpected);
        }
        return;
    }
    Transfer* const transfer = first_awaited();
    if (transfer == nullptr) {
        end(Ending::unexpected);
        return;
    }
    if (awaited_step(*transfer) == Step::body && is_positive(reply)) {
        pace_.learn(now - batch_since_);
    }
    transfer_reply(*transfer, reply);
    close_if_dropped();
}

void ClientSession::opening_reply(const HostReply& reply) {
    if (to_write_opening_) {  // an answer to what has not been asked
        end(Ending::unexpected);
        return;
    }
    // Unknown or not implemented: a host from before EHLO (RFC 5321, 3.2). Any other refusal is
    // meant.
    const bool ehlo_unknown = state_ == State::ehlo && (reply.code == 500 || reply.code == 502);
    if (!is_positive(reply) && !ehlo_unknown) {
        refused_step_ = state_ == State::greeting ? "connection"
                        : state_ == State::ehlo   ? "EHLO"
                                                  : "HELO";
        refused_said_ = reply.said();
        end(Ending::refused);
        return;
    }
    if (state_ == State::greeting || ehlo_unknown) {
        state_ = state_ == State::greeting ? State::ehlo : State::helo;
        to_write_opening_ = true;
        return;
    }
    if (state_ == State::ehlo) {
        capabilities_ = parse_capabilities(reply, settings_.ehlo_ignore);
    }
    state_ = State::ready;
}

// 421: the host closes. It answers what it is the answer to, and what stands behind it was never
// looked at.
void ClientSession::closing_reply(const HostReply& reply) {
    Transfer* const transfer = clearing_ ? nullptr : first_awaited();
    if (transfer != nullptr) {
        const Step step = awaited_step(*transfer);
        if (step != Step::rset) {
            ++transfer->answered_;
            if (step == Step::mail && worn_out(*transfer)) {
                try_afresh(*transfer, reply);
            } else {
                refuse(*transfer, reply, step == Step::rcpt);
            }
        }
    }
    end(Ending::host_closing);
}

void ClientSession::transfer_reply(Transfer& transfer, const HostReply& reply) {
    switch (awaited_step(transfer)) {
        case Step::rset:
            if (!is_positive(reply)) {
                end(Ending::unexpected);
                return;
            }
            ++transfer.answered_;
            transaction_left_ = false;
            return;
        case Step::mail:
            if (is_positive(reply)) {
                transaction_left_ = true;
            } else if (is_refusal(reply)) {
                transfer.mail_refused_ = true;
                if (reply.code == 452 && worn_out(transfer)) {
                    try_afresh(transfer, reply);
                } else {
                    refuse(transfer, reply, false);
                }
            } else {
                end(Ending::unexpected);
                return;
            }
            ++transfer.answered_;
            return;
        case Step::rcpt:
            rcpt_reply(transfer, reply);
            return;
        case Step::data:
            data_reply(transfer, reply);
            return;
        case Step::body:
            body_reply(transfer, reply);
            return;
    }
}

void ClientSession::rcpt_reply(Transfer& transfer, const HostReply& reply) {
    const bool accepted = is_positive(reply);
    if ((!accepted && !is_refusal(reply)) || (accepted && transfer.mail_refused_)) {
        end(Ending::unexpected);
        return;
    }
    mail::Submission& submission = *transfer.submission;
    mail::Recipient& recipient = *transfer.rcpt_to_answer_;
    transfer.rcpt_to_answer_ = recipient.next;
    ++transfer.answered_;
    transfer.accepted_ += accepted ? 1 : 0;
    if (!transfer.settled_ && submission.envelope.recipient_count > 1) {
        std::array<char, sender_text_octets> room;
        recipient.answer = reply_for_sender(reply, true, room);
        const std::string_view text = recipient.answer.text.substr(0, answer_octets_max);
        recipient.answer.text =
            accepted ? "" : submission.arena.copy(text).value_or(std::string_view());
        if (!accepted && !transfer.rcpt_refused_ && is_host_trouble(reply.code)) {
            refuse(transfer, reply, true);
        }
    }
    transfer.rcpt_refused_ = transfer.rcpt_refused_ || !accepted;
    if (transfer.rcpt_to_answer_ == nullptr && !transfer.settled_) {
        all_rcpts_answered(transfer, reply);
    }
}

// Section 3: all accepted, the body goes; none, the sender has the first answer if all are 5xx,
// else the first 4xx; else divided.
void ClientSession::all_rcpts_answered(Transfer& transfer, const HostReply& reply) {
    const mail::Envelope& envelope = transfer.submission->envelope;
    if (transfer.accepted_ == envelope.recipient_count) {
        transfer.go_ahead_ = !transfer.one_flight_;
        return;
    }
    if (envelope.recipient_count == 1) {
        refuse(transfer, reply, true);
        return;
    }
    Verdict verdict;
    verdict.host_said = reply.said();
    if (transfer.accepted_ > 0) {
        verdict.kind = Verdict::Kind::divided;
    } else {
        verdict.kind = Verdict::Kind::refused;
        const mail::Recipient* telling = envelope.first_recipient;
        for (const mail::Recipient* r = telling; r != nullptr; r = r->next) {
            if (r->answer.temporary()) {
                telling = r;
                break;
            }
        }
        verdict.reply = telling->answer;
    }
    settle(transfer, verdict);
    skip_body(transfer);
}

void ClientSession::data_reply(Transfer& transfer, const HostReply& reply) {
    if (reply.code == 354) {
        ++transfer.answered_;
        transfer.go_ahead_ = true;
        if (transfer.settled_) {
            if (transfer.accepted_ > 0) {  // a lone dot would deliver an empty message
                drop();
                return;
            }
            transfer.lone_dot_ = true;
        }
    } else if (is_refusal(reply)) {
        ++transfer.answered_;
        transfer.write_ = Transfer::Write::end;
        refuse(transfer, reply, false);
    } else {
        end(Ending::unexpected);
    }
}

void ClientSession::body_reply(Transfer& transfer, const HostReply& reply) {
    if (!is_positive(reply) && !is_refusal(reply)) {
        end(Ending::unexpected);
        return;
    }
    if (transfer.write_ != Transfer::Write::end) {
        // Answered before the last octet was given out. A refusal is one; but what the host takes
        // the rest of the body for cannot be known, and it must not be taken for commands.
        if (is_refusal(reply)) {
            ++transfer.answered_;
            refuse(transfer, reply, false);
        }
        end(Ending::unexpected);
        return;
    }
    ++transfer.answered_;
    // The end of the data ends the transaction, whatever the answer; a refused chunk does not (RFC
    // 3030, 2).
    transaction_left_ = transaction_left_ && capabilities_.chunking && is_refusal(reply);
    if (transfer.settled_) {
        return;
    }
    if (is_refusal(reply)) {
        refuse(transfer, reply, false);
        return;
    }
    std::array<char, sender_text_octets> room;
    Verdict verdict;
    verdict.kind = Verdict::Kind::accepted;
    verdict.reply = reply_for_sender(reply, false, room);
    verdict.host_said = reply.said();
    settle(transfer, verdict);
}

// The message's first refused step is its verdict.
void ClientSession::refuse(Transfer& transfer, const HostReply& reply, bool to_rcpt) {
    if (!transfer.settled_) {
        std::array<char, sender_text_octets> room;
        Verdict verdict;
        verdict.kind =
            is_host_trouble(reply.code) ? Verdict::Kind::host_trouble : Verdict::Kind::refused;
        verdict.reply = reply_for_sender(reply, to_rcpt, room);
        verdict.host_said = reply.said();
        settle(transfer, verdict);
    }
    skip_body(transfer);
}

// Some hosts take only so many messages on a connection and say so at MAIL, by 421 (Exim) or 452
// (OpenSMTPD), without a word of it in EHLO. That is about the connection: the message has another
// chance on another one, which may have had enough too; the answer of one that has carried nothing
// before is the message's.
bool ClientSession::worn_out(const Transfer& transfer) const {
    return transfer.has_rset_ && transfer.tries_afresh_ < tries_afresh_max;
}

void ClientSession::try_afresh(Transfer& transfer, const HostReply& reply) {
    capabilities_.mail_max = mail_count_;
    if (!transfer.settled_) {
        ++transfer.tries_afresh_;
        Verdict verdict;
        verdict.kind = Verdict::Kind::again;
        verdict.host_said = reply.said();
        verdict.stale = true;
        settle(transfer, verdict);
    }
    skip_body(transfer);
}

void ClientSession::settle(Transfer& transfer, const Verdict& verdict) {
    transfer.settled_ = true;
    owner_.settled(transfer, verdict);
}

// What was refused is written no further, where that is possible: not behind a DATA that is to be
// answered, nor inside a chunk.
void ClientSession::skip_body(Transfer& transfer) {
    const bool data_written = transfer.write_ == Transfer::Write::body && !capabilities_.chunking;
    if (!transfer.body_begun_ && !data_written) {
        transfer.write_ = Transfer::Write::end;
    }
}

void ClientSession::end(Ending ending) {
    if (ending_ == Ending::none) {
        ending_ = ending;
    }
}

ClientSession::Step ClientSession::awaited_step(const Transfer& transfer) const {
    std::uint32_t index = transfer.answered_ + (transfer.has_rset_ ? 0 : 1);
    if (index < 2) {
        return index == 0 ? Step::rset : Step::mail;
    }
    index -= 2;
    const std::uint32_t recipients = transfer.submission->envelope.recipient_count;
    if (index < recipients) {
        return Step::rcpt;
    }
    return index == recipients && !capabilities_.chunking ? Step::data : Step::body;
}

Transfer* ClientSession::first_awaited() const {
    for (Transfer* t = transfers_.front(); t != nullptr; t = transfers_.next(*t)) {
        if (t->answered_ != t->asked_) {
            return t;
        }
    }
    return nullptr;
}

ClientSession::Awaited ClientSession::awaited() const {
    if (state_ != State::ready) {
        return to_write_opening_ ? Awaited::nothing : Awaited::reply;
    }
    if (clearing_) {
        return Awaited::reply;
    }
    const Transfer* const transfer = first_awaited();
    if (transfer == nullptr) {
        return Awaited::nothing;
    }
    return awaited_step(*transfer) == Step::body && transfer->whole_ ? Awaited::body_reply
                                                                     : Awaited::reply;
}

// From the front, where all is answered and nothing is with the kernel any more.
void ClientSession::release_done() {
    for (Transfer* t = transfers_.front();
         t != nullptr && done(*t) && t->last_output_ <= outputs_sent_;
         t = transfers_.front()) {
        if (t == writing_) {
            writing_ = nullptr;
        }
        t->unlink();
        --in_flight_;
        owner_.released(*t);
    }
}

}  // namespace postern::smtp

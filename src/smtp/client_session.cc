#include "postern/smtp/client_session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/xtext.h"

namespace postern::smtp {
namespace {

using namespace std::chrono_literals;

// An answer later than twice the usual and this is late: nothing more is put behind it.
constexpr base::Duration late_floor = 50ms;
// A connection that was idle for longer may have been closed by the host with the news still on its
// way: the first message on it keeps its last octet back until the host has answered something,
// since what was sent whole could not be tried again.
constexpr base::Duration fresh_for = 5s;

std::string_view told_address(const mail::Recipient& recipient) {
    return recipient.outgoing.empty() ? recipient.address : recipient.outgoing;
}

// Of a recipient whose host has no SMTPUTF8: only the domain is not ASCII, and so it goes as
// A-label (RFC 6531, 3.6).
bool goes_as_a_label(const mail::Recipient& recipient) {
    return recipient.outgoing.empty() && is_ascii(recipient.local_part) &&
           !recipient.domain_key.empty() && is_ascii(recipient.domain_key);
}

/// The last look at what a peer has said before it stands in a command of ours.
std::string_view checked(std::string_view part) {
    POSTERN_ASSERT(!could_end_line(part), "an address holds what would end its command");
    return part;
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

constexpr mail::Reply too_large{552, {5, 3, 4}, "message is too large for the next host"};
constexpr mail::Reply eight_bit{554, {5, 6, 3}, "the next host takes no 8-bit content"};
constexpr mail::Reply utf8{554, {5, 6, 9}, "the next host takes no internationalized mail"};
constexpr mail::Reply utf8_address{
    553, {5, 6, 7}, "the next host takes no internationalized addresses"};
constexpr mail::Reply long_path{553, {5, 1, 7}, "sender's address is too long for the next host"};
constexpr mail::Reply long_address{553, {5, 1, 3}, "address is too long for the next host"};

}  // namespace

void Output::text(std::string_view text) {
    POSTERN_ASSERT(text.size() <= room_left(), "the room for commands was not asked for");
    char* const at = room_.data() + used_;
    std::copy(text.begin(), text.end(), at);  // an empty text may be nowhere
    used_ += text.size();
    refer({at, text.size()});
}

void Output::base64(std::string_view octets) {
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; !octets.empty(); octets.remove_prefix(std::min<std::size_t>(3, octets.size()))) {
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            bits = bits << 8 | (i < octets.size() ? static_cast<unsigned char>(octets[i]) : 0U);
        }
        std::array<char, 4> four;
        for (std::size_t i = 0; i < 4; ++i) {
            four[i] = i <= octets.size() ? digits[bits >> (18 - 6 * i) & 63] : '=';
        }
        text({four.data(), four.size()});
    }
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
    POSTERN_ASSERT(
        settings.auth_user.size() <= ClientSettings::auth_octets_max &&
            settings.auth_password.size() <= ClientSettings::auth_octets_max,
        "a name or password for AUTH is too long");
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
        write_opening(output);
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
        Verdict verdict;
        if (!takes_as_many(transfer->submission->envelope)) {
            verdict.kind = Verdict::Kind::too_many;
        } else if (const auto reply = lacking(*transfer->submission)) {
            verdict.kind = Verdict::Kind::refused;
            verdict.reply = *reply;
        }
        if (verdict.kind != Verdict::Kind::again) {
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
    transfer.before_mail_ = transfer.has_rset_ ? 1 : 0;
    if (settings_.xforward && !xforward_refused_ && !submission->is_question) {
        transfer.xforward_ = capabilities_.xforward;
        for (std::uint32_t i = 0; xforward_words(transfer.xforward_, i) != 0; ++i) {
            ++transfer.before_mail_;
        }
    }
    transfer.on_idle_ = mail_count_ > 0 && transfers_.empty();
    transfer.one_flight_ = capabilities_.pipelining && envelope.recipient_count == 1 &&
                           !submission->waits &&
                           !(transfer.on_idle_ && now - progress_ > fresh_for);
    transfer.settled_ = transfer.lone_dot_ = transfer.go_ahead_ = false;
    transfer.mail_refused_ = transfer.rcpt_refused_ = false;
    transfer.held_ = transfer.body_begun_ = transfer.whole_ = false;
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

// By its LIMITS (RFC 9422) and ours.
bool ClientSession::takes_as_many(const mail::Envelope& envelope) const {
    const std::uint32_t stated = capabilities_.recipients_max;
    const std::uint32_t most =
        stated == 0 ? settings_.recipients_max : std::min(settings_.recipients_max, stated);
    return envelope.fits(most, capabilities_.recipient_domains_max);
}

// What this host cannot take, told to the sender without trying.
std::optional<mail::Reply> ClientSession::lacking(const mail::Submission& submission) const {
    const mail::Envelope& envelope = submission.envelope;
    const Capabilities& host = capabilities_;
    if (host.size_max > 0 && submission.body.size() > host.size_max) {
        return too_large;
    }
    if (std::max(envelope.reverse_path.size(), envelope.reverse_path_a_label.size()) >
        address_octets_max) {
        return long_path;
    }
    const bool sender_in_ascii =
        is_ascii(envelope.reverse_path) || !envelope.reverse_path_a_label.empty();
    if (!host.smtputf8 && (!sender_in_ascii || (envelope.smtputf8 && submission.has_utf8_header))) {
        return utf8;
    }
    for (const mail::Recipient* r = envelope.first_recipient; r != nullptr; r = r->next) {
        if (std::max(told_address(*r).size(), r->local_part.size() + r->domain_key.size() + 1) >
            address_octets_max) {
            return long_address;
        }
        if (!host.smtputf8 && !is_ascii(told_address(*r)) && !goes_as_a_label(*r)) {
            return submission.is_question ? utf8_address : utf8;
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
                transfer.write_ =
                    transfer.asked_ < transfer.before_mail_ ? Write::xforward : Write::mail;
                break;
            case Write::xforward: {
                const std::uint32_t command = transfer.asked_ - (transfer.has_rset_ ? 1 : 0);
                write_xforward(transfer, xforward_words(transfer.xforward_, command), output);
                ++transfer.asked_;
                transfer.write_ =
                    transfer.asked_ < transfer.before_mail_ ? Write::xforward : Write::mail;
                break;
            }
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
                    transfer.write_ = transfer.submission->is_question ? Write::end
                                      : capabilities_.chunking         ? Write::body
                                                                       : Write::data;
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
    const mail::Envelope& envelope = submission.envelope;
    const std::string_view path = capabilities_.smtputf8 || envelope.reverse_path_a_label.empty()
                                      ? envelope.reverse_path
                                      : envelope.reverse_path_a_label;
    output.text("MAIL FROM:<");
    output.text(checked(path));
    output.text(">");
    if (capabilities_.size && !submission.is_question) {
        output.text(" SIZE=");
        output.number(submission.body.size());
    }
    if (submission.has_eight_bit && capabilities_.eight_bit_mime) {
        output.text(" BODY=8BITMIME");
    }
    if (capabilities_.smtputf8 && needs_smtputf8(submission)) {
        output.text(" SMTPUTF8");
    }
    if (capabilities_.dsn) {
        write_dsn(envelope, output);
    }
    output.text("\r\n");
}

// RFC 3461, section 5.2.1: what the sender said goes on to a host that has DSN, which answers for
// it from then on.
void ClientSession::write_dsn(const mail::Envelope& envelope, Output& output) {
    switch (envelope.returned) {
        case mail::Returned::unstated:
            break;
        case mail::Returned::full:
            output.text(" RET=FULL");
            break;
        case mail::Returned::headers:
            output.text(" RET=HDRS");
            break;
    }
    if (!envelope.envelope_id.empty()) {
        output.text(" ENVID=");
        output.text(checked(envelope.envelope_id));
    }
}

void ClientSession::write_dsn(const mail::Recipient& recipient, Output& output) {
    using enum mail::Notify;
    std::string_view before = " NOTIFY=";
    for (const auto& [notify, word] : mail::notify_words) {
        if ((recipient.notify & set_of(notify)) != 0) {
            output.text(before);
            output.text(word);
            before = ",";
        }
    }
    std::array<char, original_recipient_octets_max> room;
    std::optional<std::string_view> original;
    if (!recipient.original_recipient.empty()) {
        original = in_ascii(recipient.original_recipient, room);
    } else if (!recipient.outgoing.empty()) {
        // What a rule has rewritten: as the sender named it.
        original = write_original_recipient(recipient.address, room);
    }
    if (original) {
        output.text(" ORCPT=");
        output.text(checked(*original));
    }
}

void ClientSession::write_rcpt(const Transfer& transfer, Output& output) {
    const mail::Recipient& recipient = *transfer.rcpt_to_write_;
    const std::string_view address = told_address(recipient);
    output.text("RCPT TO:<");
    if (capabilities_.smtputf8 || is_ascii(address)) {
        output.text(checked(address));
    } else {
        output.text(checked(recipient.local_part));
        output.text("@");
        output.text(checked(recipient.domain_key));
    }
    output.text(">");
    if (capabilities_.dsn && !transfer.submission->is_question) {
        write_dsn(recipient, output);
    }
    output.text("\r\n");
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

// The content as it lies. False: no piece is left, or there is enough in them.
bool ClientSession::lay_slices(Transfer& transfer, Output& output) {
    for (const mail::Slice* slice = transfer.cursor_.slice(); slice != nullptr;
         slice = transfer.cursor_.slice()) {
        if (output.pieces_left() < 2 || output.has_enough()) {
            return false;
        }
        output.refer(slice->view());
        transfer.cursor_.advance();
    }
    return true;
}

// The content with a dot more in front of each line that begins with one (RFC 5321, 4.5.2). False:
// no piece is left, one being kept for the end of the data, or there is enough in them.
bool ClientSession::lay_stuffed(Transfer& transfer, Output& output) {
    for (const mail::Slice* slice = transfer.cursor_.slice(); slice != nullptr;
         slice = transfer.cursor_.slice()) {
        const std::string_view bytes = slice->view();
        while (transfer.offset_ < bytes.size()) {
            if (output.pieces_left() < 3 || output.has_enough()) {
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

void ClientSession::go_on(Transfer& transfer) {
    POSTERN_ASSERT(transfer.held(), "a body that was not held was told to go");
    transfer.held_ = false;
    transfer.go_ahead_ = true;
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

}  // namespace postern::smtp

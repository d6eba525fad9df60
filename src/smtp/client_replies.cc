#include <algorithm>
#include <array>
#include <cstring>

#include "postern/smtp/client_session.h"

/// The half of ClientSession that reads: what a host's replies mean.
namespace postern::smtp {
namespace {

// Text of a recipient's answer that is kept in the submission's arena.
constexpr std::size_t answer_octets_max = 960;
constexpr mail::Reply accepted_recipient{250, {2, 0, 0}, ""};  // of that, nobody asks for more

bool is_positive(const HostReply& reply) {
    return reply.code / 100 == 2;
}

bool is_refusal(const HostReply& reply) {
    return reply.code / 100 == 4 || reply.code / 100 == 5;
}

/// Some of the recipients are accepted, the others refused: do those accepted get the message?
bool divides(const mail::Submission& submission) {
    switch (submission.divide) {
        case mail::Divide::never:
            return false;
        case mail::Divide::always:
            return true;
        case mail::Divide::when_temporary:
            break;
    }
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (r->answer.permanent()) {
            return false;
        }
    }
    return true;
}

}  // namespace

void ClientSession::received(std::string_view bytes, base::Instant now) {
    batch_since_ = waiting_since_;
    while (!bytes.empty() && ending_ == Ending::none) {
        if (state_ == State::handshake) {
            // Whoever stands between us and the host may have put it there, to be taken for what
            // the host says under TLS: none of it is looked at.
            end(Ending::injected);
            break;
        }
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
    if (state_ == State::quitting) {
        end(Ending::quit);
        return;
    }
    if (state_ != State::ready) {
        opening_reply(reply);
        return;
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

// 421: the host closes. It answers what it is the answer to, and what stands behind it was never
// looked at.
void ClientSession::closing_reply(const HostReply& reply) {
    Transfer* const transfer = clearing_ ? nullptr : first_awaited();
    if (transfer != nullptr) {
        const Step step = awaited_step(*transfer);
        if (step != Step::rset && step != Step::xforward) {
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
        case Step::xforward:
            // It is about the host's log: whatever the host thinks of it, the message goes on.
            if (!is_positive(reply) && !is_refusal(reply)) {
                end(Ending::unexpected);
                return;
            }
            xforward_refused_ = xforward_refused_ || reply.code / 100 == 5;
            ++transfer.answered_;
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
    if (!transfer.settled_ && accepted) {
        recipient.answer = accepted_recipient;
    } else if (!transfer.settled_) {
        std::array<char, sender_text_octets> room;
        recipient.answer = reply_for_sender(reply, true, room);
        const std::string_view text = recipient.answer.text.substr(0, answer_octets_max);
        recipient.answer.text = submission.arena.copy(text).value_or(std::string_view());
        if (!transfer.rcpt_refused_ && is_host_trouble(reply.code)) {
            refuse(transfer, reply, true);
        }
    }
    transfer.rcpt_refused_ = transfer.rcpt_refused_ || !accepted;
    if (transfer.rcpt_to_answer_ == nullptr && !transfer.settled_) {
        all_rcpts_answered(transfer, reply);
    }
}

// Section 3: all accepted, the body goes; none, the sender has the first answer if all are 5xx,
// else the first 4xx; else divided, unless it may go to some. Where others must be asked too, those
// accepted wait for what they say.
void ClientSession::all_rcpts_answered(Transfer& transfer, const HostReply& reply) {
    const mail::Envelope& envelope = transfer.submission->envelope;
    if (transfer.submission->is_question && transfer.accepted_ > 0) {
        std::array<char, sender_text_octets> room;
        Verdict verdict;
        verdict.kind = Verdict::Kind::accepted;
        verdict.reply = reply_for_sender(reply, true, room);
        verdict.host_said = reply.said();
        settle(transfer, verdict);
        return;
    }
    if (transfer.submission->waits && transfer.accepted_ > 0) {
        transfer.held_ = true;
        owner_.held(transfer);
        return;
    }
    if (transfer.accepted_ == envelope.recipient_count ||
        (transfer.accepted_ > 0 && divides(*transfer.submission))) {
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
        // Whether the host takes mail from the null sender says nothing of the recipient; and no
        // recipient that somebody has asked about takes a host away.
        const Verdict::Kind says_nothing =
            to_rcpt ? Verdict::Kind::host_trouble : Verdict::Kind::refused;
        if (transfer.submission->is_question && verdict.kind == says_nothing) {
            verdict.kind = Verdict::Kind::again;
        }
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
    if (verdict.kind == Verdict::Kind::again || verdict.kind == Verdict::Kind::host_trouble) {
        transfer.submission->envelope.forget_answers();  // the next host, if any, has the say
    }
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
    const std::uint32_t before_mail = transfer.before_mail_;
    std::uint32_t index = transfer.answered_;
    if (index <= before_mail) {
        return index == before_mail               ? Step::mail
               : index == 0 && transfer.has_rset_ ? Step::rset
                                                  : Step::xforward;
    }
    index -= before_mail + 1;
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

#include <algorithm>

#include "deliveries.h"
#include "errand.h"
#include "postern/mail/domain.h"
#include "postern/shard/sync.h"
#include "reply_text.h"

/// What senders are told of their messages by mail (RFC 3461, section 6): notifications are
/// messages of our own, and go the way of all that is kept.
namespace postern::shard {
namespace {

/// A body's first octets.
std::string content_of(const mail::Body& body, std::size_t octets_max = std::string::npos) {
    std::string content;
    for (mail::Body::Cursor at = body.begin(); at.slice() != nullptr; at.advance()) {
        content += at.slice()->view().substr(0, octets_max - content.size());
    }
    return content;
}

base::WallTime wall_time_of(std::int64_t ms) {
    return base::WallTime(std::chrono::milliseconds(ms));
}

}  // namespace

/// Of recipients of a kept message, those of whom its sender wants to know.
void Deliveries::tell_sender(
    Attempt& attempt, const std::vector<Fate>& told, notify::Action action) {
    const spool::Kept& kept = *attempt.kept;
    const mail::Submission& submission = *attempt.submission;
    std::vector<notify::RecipientReport> reports;
    for (const Fate& fate : told) {
        const spool::KeptRecipient& recipient = kept.recipients()[fate.recipient];
        if (!notify::is_wanted(submission.envelope, recipient.notify, action)) {
            continue;
        }
        notify::RecipientReport& report = reports.emplace_back();
        report.address = recipient.address;
        report.original_recipient = recipient.original;
        if (recipient.reply != nullptr) {
            report.reply = reply_of(recipient.reply->text);
            report.host = recipient.reply->host;
        }
        if (attempt.has_outcome) {
            report.last_attempt = parts_.ring.wall_now();
        }
        if (action == notify::Action::delayed) {
            report.retried_until = wall_time_of(expiry_ms(kept, retry_for(kept, recipient)));
        }
    }
    if (!reports.empty()) {
        keep_notification(
            &attempt,
            submission,
            action,
            reports,
            wall_time_of(kept.arrival_ms()),
            kept.content_size());
    }
}

/// A host without DSN has taken a sender's message (RFC 3461, section 5.2.2).
void Deliveries::tell_relayed(const mail::Submission& submission, const mail::Outcome& outcome) {
    if (spool_ == nullptr) {
        return;
    }
    std::vector<notify::RecipientReport> reports;
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (r->answer.code < 400 &&
            notify::is_wanted(submission.envelope, r->notify, notify::Action::relayed)) {
            notify::RecipientReport& report = reports.emplace_back();
            report.address = r->address;
            report.original_recipient = r->original_recipient;
            report.reply = outcome.reply;
            report.host = outcome.host;
            report.last_attempt = parts_.ring.wall_now();
        }
    }
    if (reports.empty()) {
        return;
    }
    // Anybody may ask for these, and no message waits for them: what is not on the disk yet has a
    // bound.
    constexpr unsigned unsaved_max = 64;
    if (!keeps() || unsaved_ == unsaved_max) {
        parts_.lines.kept(
            "notification",
            world_.listener_of(submission.client).name,
            submission,
            parts_.generations.pool_name(submission.pool),
            {452, {4, 3, 1}, "not made: too little room"});
        return;
    }
    keep_notification(
        nullptr,
        submission,
        notify::Action::relayed,
        reports,
        parts_.ring.wall_now(),
        submission.body.size());
}

/// `attempt`: waits for its being stored; null: nobody does.
void Deliveries::keep_notification(
    Attempt* attempt,
    const mail::Submission& submission,
    notify::Action action,
    std::span<const notify::RecipientReport> reports,
    base::WallTime arrived,
    std::uint64_t content_size) {
    const config::Config& config = current().config;
    std::array<char, 32> id_text;
    const std::string_view id(
        id_text.data(), parts_.submissions.next_id(parts_.ring.wall_now(), id_text));
    const std::string content = content_of(submission.body, notify::content_octets_max);
    notify::Notification notification = notify::compose(
        {.action = action,
         .hostname = config.hostname,
         .id = id,
         .date = parts_.ring.wall_now(),
         .envelope = submission.envelope,
         .message_id = submission.id(),
         .arrived = arrived,
         .content = content,
         .content_size = content_size,
         .recipients = reports});

    std::string_view to = submission.envelope.reverse_path;
    if (!look_up(AddressKey(to), true).way) {
        const std::string& postmaster = config::delivery_key(config, &config::Delivery::postmaster);
        if (postmaster.empty() || !look_up(AddressKey(postmaster), true).way) {
            bury(attempt, action, id, std::move(notification.content));
            return;
        }
        to = postmaster;
    }
    keep_notification(
        attempt,
        action,
        id,
        to,
        std::move(notification),
        std::string("tells of ") + std::string(submission.id()));
}

void Deliveries::keep_notification(
    Attempt* attempt,
    notify::Action action,
    std::string_view id,
    std::string_view to,
    notify::Notification notification,
    std::string_view why) {
    journal::Message message;
    message.arrival_ms = now_ms();
    message.mode = mail::Mode::queue;
    message.body_type =
        notification.has_eight_bit ? mail::BodyType::eight_bit_mime : mail::BodyType::unstated;
    message.smtputf8 = notification.has_utf8_header;
    message.trusted = true;
    message.notification = true;
    message.has_eight_bit = notification.has_eight_bit;
    message.has_utf8_header = notification.has_utf8_header;
    message.has_dot_line = true;  // perhaps: it is looked for where that matters
    message.client = mail::unknown_address;
    journal::Recipient recipient;
    recipient.address = to;
    recipient.notify = set_of(mail::Notify::never);
    spool::Kept* const kept = spool::Kept::make(
        *journal::id_from_text(id), message, notification.content.size(), {&recipient, 1});
    parts_.lines.kept("notification", *kept, why);
    const auto [telling, is_new] =
        tellings_.emplace(kept, Telling{attempt, action, std::move(notification.content)});
    POSTERN_ASSERT(is_new, "a notification was made twice");
    ++(attempt != nullptr ? attempt->notices : unsaved_);
    spool_->keep(*kept, journal::Content(std::string_view(telling->second.content)));
}

/// A notification that can not be delivered: nobody else is told, and it is not thrown away. Where
/// its content was refused as such (RFC 3463, X.6.X), above all 8-bit content by a host that has no
/// 8BITMIME, the message that it returns is why, and may be left out: the sender knows then.
void Deliveries::bury_notification(Attempt& attempt) {
    const spool::Kept& kept = *attempt.kept;
    const spool::KeptRecipient& recipient = kept.recipients().front();
    std::string content = content_of(attempt.submission->body);
    const mail::EnhancedCode code = recipient.reply == nullptr
                                        ? mail::EnhancedCode()
                                        : reply_of(recipient.reply->text).enhanced;
    if (code.cls == 5 && code.subject == 6) {
        if (std::optional<std::string> shortened = notify::shortened(content)) {
            std::array<char, 32> id_text;
            const std::string_view id(
                id_text.data(), parts_.submissions.next_id(parts_.ring.wall_now(), id_text));
            keep_notification(
                &attempt,
                notify::Action::failed,
                id,
                recipient.address,
                {*std::move(shortened)},
                "in place of " + journal::text_of(kept.id()));
            return;
        }
    }
    parts_.lines.kept("dead letter", kept, attempt.text);
    bury(&attempt, notify::Action::failed, journal::text_of(kept.id()), std::move(content));
}

/// `attempt`: waits for it; null: nobody does.
void Deliveries::bury(
    Attempt* attempt, notify::Action action, std::string_view id, std::string content) {
    ++burying_;
    ++(attempt != nullptr ? attempt->notices : unsaved_);
    parts_.segments->bury(
        std::string(id) + ".eml", std::move(content), [this, attempt, action](bool saved) {
            post(parts_.mailbox, [this, attempt, action, saved] {
                --burying_;
                told(attempt, action, saved);
            });
        });
}

/// A notification is on stable storage, or could not be. `attempt`: waits for it; null: nobody
/// does.
void Deliveries::told(Attempt* attempt, notify::Action action, bool safe) {
    if (attempt == nullptr) {
        --unsaved_;
        return;
    }
    attempt->failure_untold =
        attempt->failure_untold || (action == notify::Action::failed && !safe);
    if (--attempt->notices == 0) {
        conclude(*attempt);
    }
}

}  // namespace postern::shard

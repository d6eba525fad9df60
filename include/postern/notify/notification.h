#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "postern/base/time.h"
#include "postern/mail/envelope.h"

/// Delivery status notifications: whom a sender is to be told of, and the message that tells it
/// (RFC 3461, 3464, 6522, 6533). Pure; off the hot path, so it allocates.
namespace postern::notify {

/// What a notification tells; each Action is a message of its own.
enum class Action : std::uint8_t {
    failed,   // it will not be tried again
    delayed,  // not delivered yet, and tried on
    relayed,  // handed to a host that has no DSN and will not say what becomes of it
};

/// Is the sender to be told that this has become of a recipient with that NOTIFY= (RFC 3461,
/// sections 4.1 and 5.2)? Where it says nothing: of failure only. Never, where there is no sender.
bool is_wanted(const mail::Envelope& envelope, mail::NotifySet notify, Action action);

/// One recipient of which a notification tells. What peers have said is made safe here: nothing is
/// asked of any text.
struct RecipientReport {
    std::string_view address;              // as the sender named it
    std::string_view original_recipient;   // its ORCPT=, as it came; empty: unstated
    mail::Reply reply;                     // the last answer about it; code 0: none
    std::optional<std::string_view> host;  // which said so; empty: the answer is our own; nothing:
                                           // not known
    std::optional<base::WallTime> last_attempt;
    std::optional<base::WallTime> retried_until;  // of one that is delayed
};

/// All that a notification is made from. Views live for the call.
struct Report {
    Action action = Action::failed;
    std::string_view hostname;       // ours
    std::string_view id;             // the notification's: unique
    base::WallTime date;             // of the notification
    const mail::Envelope& envelope;  // of the message: its recipients are not looked at
    std::string_view message_id;     // the message's ID here, as in the log
    base::WallTime arrived;
    /// The message from its first octet, our Received: included: all of it, or its first
    /// content_octets_max octets.
    std::string_view content;
    std::uint64_t content_size = 0;  // octets of all of it
    std::span<const RecipientReport> recipients;
};

/// A message that was asked for in full (RET=FULL) and is longer comes back as its header, and a
/// header as far as it fits.
constexpr std::size_t content_octets_max = 50 * 1024;

/// Canonical content: lines of at most 998 octets, each with its CRLF. It goes from the null sender
/// to the message's.
struct Notification {
    std::string content;
    bool has_eight_bit = false;    // as mail::Submission says it
    bool has_utf8_header = false;  // then it needs SMTPUTF8
};

/// REQUIRES: a sender, one recipient or more, and is_wanted() for each.
Notification compose(const Report& report);

/// The content of a notification of ours (compose()) in ASCII, with no more than the header of the
/// message that it returns. Nothing where it has no more as it is, or something else in it is not
/// ASCII.
std::optional<std::string> shortened(std::string_view content);

}  // namespace postern::notify

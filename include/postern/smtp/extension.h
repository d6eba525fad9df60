#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "postern/mail/envelope.h"
#include "postern/smtp/answer.h"

/// The extensions of SMTP that Postern speaks: one row for each, with its keyword and what EHLO
/// says behind it; and their parameters of MAIL and RCPT. Pure.
namespace postern::smtp {

enum class Extension : std::uint8_t {
    pipelining,
    size,
    eight_bit_mime,
    smtputf8,
    chunking,
    enhanced_status_codes,
    limits,
    starttls,
    auth,
    xclient,
    xforward,
    dsn,
};

/// A set of extensions.
using ExtensionSet = std::uint16_t;

constexpr ExtensionSet set_of(Extension extension) {
    return static_cast<ExtensionSet>(1U << static_cast<unsigned>(extension));
}

/// Those that are in effect only for whom the driver grants them to.
constexpr ExtensionSet granted_only = set_of(Extension::xclient) | set_of(Extension::xforward);

/// What the parameters of a MAIL said. Views into it.
struct MailParameters {
    std::uint64_t size = 0;  // octets; 0: unstated
    mail::BodyType body_type = mail::BodyType::unstated;
    bool smtputf8 = false;
    mail::Returned returned = mail::Returned::unstated;
    std::string_view envelope_id;
};

/// What those of a RCPT said. Views into it.
struct RecipientParameters {
    mail::NotifySet notify = 0;
    std::string_view original_recipient;
};

/// What EHLO's arguments are made from.
struct ExtensionSettings {
    std::uint64_t message_size_max = 0;
    std::uint32_t recipients_max = 0;
};

struct ExtensionRow {
    Extension extension;
    std::string_view keyword;
    /// What EHLO says behind the keyword, written into `into` (at least 96 octets); null: nothing.
    /// Returns the octets written.
    std::size_t (*ehlo_argument)(const ExtensionSettings& settings, std::span<char> into);
};

/// In the order in which EHLO lists them.
std::span<const ExtensionRow> extension_rows();

/// nullptr: a keyword that is none of ours. ASCII case is ignored.
const ExtensionRow* find_extension(std::string_view keyword);

/// Reads the parameters of a MAIL, blanks in front of each. `offered`: the extensions in effect.
/// Answer::none: all are good.
Answer parse_mail_parameters(
    std::string_view text, ExtensionSet offered, MailParameters& parameters);

/// Those of a RCPT.
Answer parse_recipient_parameters(
    std::string_view text, ExtensionSet offered, RecipientParameters& parameters);

}  // namespace postern::smtp

#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "postern/mail/reply.h"

namespace postern::mail {

/// BODY= of RFC 6152; what MAIL said, not what the octets are.
enum class BodyType : std::uint8_t { unstated, seven_bit, eight_bit_mime };

/// NOTIFY= of RFC 3461, section 4.1: of what the sender is to be told.
enum class Notify : std::uint8_t { never, success, failure, delay };

/// A set of them; empty: unstated.
using NotifySet = std::uint8_t;

constexpr NotifySet set_of(Notify notify) {
    return static_cast<NotifySet>(1U << static_cast<unsigned>(notify));
}

/// Their words, as NOTIFY= says them.
inline constexpr std::array notify_words = {
    std::pair{Notify::never, std::string_view("NEVER")},
    std::pair{Notify::success, std::string_view("SUCCESS")},
    std::pair{Notify::failure, std::string_view("FAILURE")},
    std::pair{Notify::delay, std::string_view("DELAY")},
};

/// RET= of RFC 3461, section 4.3: how much of the message a notification of failure returns.
enum class Returned : std::uint8_t { unstated, full, headers };

/// One recipient of a transaction. All text lives in the transaction's arena, from RCPT to the
/// transaction's end.
struct Recipient {
    std::string_view address;  // as it goes out: source route and trailing dot dropped, else as the
                               // sender wrote it
    std::string_view local_part;  // view into `address`, quotes included
    std::string_view
        domain;  // view into `address`, brackets of a literal included; empty for <postmaster>
    std::string_view domain_key;  // what routing looks up: lower-case A-labels, no trailing dot; a
                                  // literal as written, lower case
    std::string_view outgoing;  // what the smart host is told, when a rule rewrites; else empty and
                                // `address` goes out
    NotifySet notify = 0;
    std::string_view original_recipient;  // ORCPT=, as it came: "rfc822;" and xtext, or "utf-8;"
                                          // and a form of RFC 6533; empty: unstated
    std::uint32_t pool = 0;               // chosen at RCPT: index of the pool in the worker's relay
    std::uint32_t number = 0;  // among all of its message's, where not all of them are here
    std::string_view rule;     // "FILE:LINE" of the rule that chose it, for the log; of a
                               // transaction's first recipient only
    Reply answer;  // the smart host's to its RCPT, once known, of a refusal with its text, in the
                   // arena; code 0: none
    Recipient* next = nullptr;  // in the order in which they were accepted
};

/// What MAIL and the RCPTs said. Lives in the transaction's arena.
struct Envelope {
    std::string_view reverse_path;          // without angle brackets; empty: the null sender
    std::string_view reverse_path_a_label;  // where its domain alone is not ASCII: with that as
                                            // A-labels; else empty
    BodyType body_type = BodyType::unstated;
    bool smtputf8 = false;
    Returned returned = Returned::unstated;
    std::string_view envelope_id;     // ENVID=, as it came: xtext; empty: unstated
    std::uint64_t size_declared = 0;  // SIZE=, octets; 0: unstated
    Recipient* first_recipient = nullptr;
    Recipient* last_recipient = nullptr;
    std::uint32_t recipient_count = 0;

    /// Behind the others. It lives as long as they.
    void add(Recipient& recipient) {
        (last_recipient == nullptr ? first_recipient : last_recipient->next) = &recipient;
        last_recipient = &recipient;
        ++recipient_count;
    }

    /// How many domains those recipients are of that `counts` says yes to; no more than `most` are
    /// counted.
    template <class Counts>
    std::uint32_t count_domains(std::uint32_t most, Counts counts) const {
        std::uint32_t count = 0;
        for (const Recipient* r = first_recipient; r != nullptr && count < most; r = r->next) {
            if (!counts(*r)) {
                continue;
            }
            bool seen = false;
            for (const Recipient* s = first_recipient; s != r && !seen; s = s->next) {
                seen = counts(*s) && s->domain_key == r->domain_key;
            }
            count += seen ? 0 : 1;
        }
        return count;
    }

    /// Are there no more recipients, and domains of them, than these? `domains_max` 0: any.
    bool fits(std::uint32_t recipients_max, std::uint32_t domains_max) const {
        return recipient_count <= recipients_max &&
               (domains_max == 0 || recipient_count <= domains_max ||
                count_domains(domains_max + 1, [](const Recipient&) { return true; }) <=
                    domains_max);
    }

    /// The recipients' answers are those of an attempt that is over.
    void forget_answers() {
        for (Recipient* r = first_recipient; r != nullptr; r = r->next) {
            r->answer = {};
        }
    }
};

}  // namespace postern::mail

#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "postern/mail/reply.h"
#include "postern/route/table.h"

/// What a recipient gets at RCPT, by the rules and by who sends (product.md, section 1). Pure;
/// allocates nothing.
namespace postern::route {

/// What of the configuration decides beside the rules. Built once a generation; read by all
/// workers.
struct RelaySettings {
    bool soft_reject = false;  // 450 instead of 550, for the first days of a migration
    bool routed_local_parts =
        false;  // takes "user%host" and the like from clients that are not trusted
    std::vector<std::string>
        own_keys;                // our hostname and address literals, by mail::make_domain_key
    std::string postmaster;      // delivery.postmaster; empty: none
    std::string postmaster_key;  // the key of its domain
};

/// A recipient as RCPT gave it.
struct RecipientParts {
    std::string_view address;     // as it would go out, without angle brackets
    std::string_view local_part;  // as written, quotes included
    std::string_view domain_key;  // empty: <postmaster>, without a domain
};

/// Memory for a decision's texts; they live as long as it.
using DecisionText = std::array<char, 1024>;

struct Decision {
    mail::Reply reply;          // code 0: accepted; else what the sender is told
    Match match;                // the rule that decided; none where no rule did
    std::string_view outgoing;  // the address that the smart host is told, where it is not the
                                // sender's; else empty
    bool unlisted = false;      // refused since the list of the rule's pool does not have it

    bool accepted() const { return reply.code == 0; }
};

/// `trusted`: [relay] or the listener trusts the client. A recipient whose domain has no key never
/// comes here: it is impossible, and gets `impossible_domain`.
Decision decide(
    const Table& table,
    const RelaySettings& settings,
    const RecipientParts& recipient,
    bool trusted,
    DecisionText& text);

/// Where a recipient that was accepted before leads by the rules now in force: target and rewriting
/// alone, since permission, mode and lists were asked then (product.md, section 3). A sender may be
/// asked about too: the domain may have no key. Not accepted: no rule is left, or it refuses.
Decision follow(
    const Table& table,
    const RelaySettings& settings,
    const RecipientParts& recipient,
    DecisionText& text);

inline constexpr mail::Reply unlisted_recipient{550, {5, 1, 1}, "no such recipient here"};

inline constexpr mail::Reply impossible_domain{553, {5, 1, 3}, "impossible recipient domain"};

}  // namespace postern::route

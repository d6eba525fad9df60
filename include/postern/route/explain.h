#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "postern/route/decide.h"
#include "postern/route/table.h"

/// What `postern route` and `postern check` say about the rules (product.md, section 6). Pure; for
/// people, so it allocates freely.
namespace postern::route {

/// A pool as the configuration has it.
struct PoolHosts {
    std::string name;
    std::vector<std::string> hosts;  // "192.0.2.1:25"
    bool asked = false;              // about each recipient (verify)
    bool notified = false;           // mail may go there without a rule: notifications
};

/// The client of `--from`.
struct From {
    std::string address;
    bool trusted = false;  // by [relay], or by every listener
    bool proxy = false;    // of proxy_networks everywhere: its own connections send no mail
};

/// A rule whose pattern has to do with the address, and why it does not decide.
struct Candidate {
    std::uint32_t rule;
    std::string why;
};

/// Who answers for mail to it, and what says so.
struct DeliveryMode {
    enum class By : std::uint8_t { rule, pool, general };

    mail::Mode mode = mail::Mode::sync;
    By by = By::general;
    // With `general`: the listeners that have another one, by name.
    std::vector<std::pair<std::string, mail::Mode>> listeners;
};

struct Explanation {
    std::string address;  // as asked, and as it goes out: "" where that is the same
    std::string outgoing;
    // Why there can be no such recipient; then nothing below is set, but perhaps `answer`: the code
    // of RCPT's, where that is none of the domain's.
    std::string impossible;
    Match match;
    std::vector<Candidate> lost;  // the nearest first
    // The files of the list of recipients that its pool has; none: no list.
    std::vector<std::string> lists;
    bool unlisted = false;                 // it is in none of them
    std::optional<DeliveryMode> delivery;  // set by who knows the configuration; none: no pool
    std::optional<From> from;
    std::string
        answer;  // to that client's RCPT, or with none to an untrusted one; "" is acceptance
    std::string answer_to_trusted;  // to a client that [relay] trusts
};

/// `address`: user@domain, or postmaster, with or without angle brackets.
Explanation explain(
    const Table& table,
    const RelaySettings& settings,
    std::string_view address,
    const std::optional<From>& from);

/// On one line: "550 5.7.1 text".
std::string to_text(const mail::Reply& reply);
/// A paragraph, with a newline at its end.
std::string to_text(
    const Explanation& explanation, const Table& table, std::span<const PoolHosts> pools);
/// One JSON object, without a newline.
std::string to_json(
    const Explanation& explanation, const Table& table, std::span<const PoolHosts> pools);

/// Rules by kind, and what is allowed but hardly meant.
struct Report {
    std::array<std::uint32_t, 6> rules_of_kind{};  // by Pattern
    std::vector<std::string> warnings;             // about a rule: "FILE:LINE:1: what"
};

/// "domain", "exact domain" and so on, as counts name them.
std::string_view name_of(Pattern kind);

/// Those of `rules` that name a public suffix ("co.uk") without saying who may send to it. libpsl
/// takes longer for a name than everything else that a rule needs, so this is not part of load(): a
/// reload warns after the swap.
std::vector<std::string> public_suffix_warnings(
    const Table& table, std::span<const std::uint32_t> rules);

/// Warns of rules that change nothing, of public suffixes that anyone may send to because nothing
/// was stated, of pools that no rule uses, and of smart hosts that are one of our own `listeners`
/// ("0.0.0.0:25").
Report check(
    const Table& table, std::span<const PoolHosts> pools, std::span<const std::string> listeners);

}  // namespace postern::route

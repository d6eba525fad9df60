#include "grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "postern/mail/local_part.h"

namespace postern::route {

namespace {

constexpr std::size_t npos = std::string_view::npos;

/// What a reply line of 512 octets (RFC 5321, 4.5.3.1.5) leaves beside "550 5.1.2 " and CRLF.
constexpr std::size_t answer_octets_max = 500;

bool fail(Fault& fault, std::string what, std::size_t at = 0) {
    fault = {std::move(what), at};
    return false;
}

bool has(std::string_view text, char c) {
    return text.find(c) != npos;
}

bool is_number(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == npos;
}

/// Whether `inner` is an IPv4 or IPv6 address ("IPv6:" before it allowed); `canonical` is then as
/// targets have it, the latter in brackets.
bool read_address(std::string_view inner, std::string& canonical) {
    mail::DomainKey key;
    constexpr std::string_view tag = "[ipv6:";
    if (mail::make_domain_key(fmt::format("[{}]", inner), key) ||
        mail::make_domain_key(fmt::format("{}{}]", tag, inner), key)) {
        std::string_view text = key.view();
        canonical = text.starts_with(tag) ? fmt::format("[{}", text.substr(tag.size()))
                                          : std::string(text.substr(1, text.size() - 2));
        return true;
    }
    return false;
}

// ---- patterns ----

/// What other programs write where a pattern stands here; looked at when the word is none of ours.
/// In `right_form` {0} is the word, {1} the part of it that counts.
struct ForeignPattern {
    bool (*is)(std::string_view word, std::string_view& part);
    const char* right_form;
};

constexpr ForeignPattern foreign_patterns[] = {
    {[](std::string_view w, std::string_view& part) {
         part = w.substr(std::min<std::size_t>(2, w.size()));
         return w.starts_with("*.");
     },
     "'{0}' is written '.{1}' here (every subdomain), or '{1}' (the domain and every subdomain)"},
    {[](std::string_view w, std::string_view& part) {
         part = w.substr(w.find('@') + 1);
         return !part.empty() && (w.starts_with("@") || w.starts_with("*@"));
     },
     "'{0}' is written '#{1}' here (that domain alone), or '{1}' (with every subdomain)"},
    {[](std::string_view w, std::string_view&) {
         bool slashes = w.front() == '/' && w.rfind('/') > 0 && !has(w.substr(w.rfind('/')), '@');
         return slashes || w.front() == '^' || w.front() == '~';
     },
     "'{0}': there are no regular expressions here; a pattern is example.com, #example.com, "
     ".example.com, user@example.com, [192.0.2.7] or *"},
    {[](std::string_view w, std::string_view& part) {
         part = w.substr(1);
         return w.front() == '!' && !has(w, '@');
     },
     "'{0}': there are no exceptions here; '{1}' gets a rule of its own, and the longest match "
     "wins"},
    {[](std::string_view w, std::string_view& part) {
         part = w.substr(1, w.size() - std::min<std::size_t>(2, w.size()));
         return w.front() == '<';
     },
     "'{0}' is written '{1}' here, without angle brackets"},
    {[](std::string_view w, std::string_view&) {
         return has(w, '*') && w.size() > 1 && !has(w, '@');
     },
     "'{0}': '*' stands alone here (whatever no other rule matches); subdomains are .example.com"},
    {[](std::string_view w, std::string_view&) { return w.find(":/") != npos && !has(w, '@'); },
     "'{0}' is another program's map; rules stand in the files that rules.files names"},
    {[](std::string_view w, std::string_view&) {
         std::string address;
         return !has(w, '@') && has(w, '/') && read_address(w.substr(0, w.find('/')), address);
     },
     "'{0}': a network is no pattern; which clients may send to whom stands in [relay]"},
    {[](std::string_view w, std::string_view& part) {
         part = w.substr(0, w.size() - 1);
         return w.size() > 2 && w.back() == ':' && !w.ends_with("::");
     },
     "'{0}' is written '{1}' here, without the colon"},
    {[](std::string_view w, std::string_view& part) {
         std::string address;
         part = has(w, ':') ? "IPv6:" : "";
         return w.front() != '[' && read_address(w, address);
     },
     "an address stands in brackets: '[{1}{0}]'"},
};

bool set_domain(
    std::string_view text, std::size_t at, ParsedPattern& pattern, Fault& fault, bool literal) {
    mail::DomainFault why;
    if (!mail::make_domain_key(text, pattern.domain, &why)) {
        return fail(fault, fmt::format("'{}' is no domain: {}", text, why.what), at + why.at);
    }
    if (!literal && pattern.domain.is_literal()) {
        return fail(fault, "an address literal has no subdomains; it is written '[192.0.2.7]'");
    }
    pattern.labels = pattern.domain.label_count;
    pattern.name = pattern.domain.view();
    return true;
}

bool set_user(std::string_view word, ParsedPattern& pattern, Fault& fault) {
    std::size_t at = word.rfind('@');
    mail::LocalPartKey local_part;
    if (!mail::make_local_part_key(word.substr(0, at), local_part) || local_part.size == 0 ||
        local_part.view() == "*") {
        return fail(fault, "a local part has 1 to 64 octets (RFC 5321, 4.5.3.1.1)");
    }
    if (!set_domain(word.substr(at + 1), at + 1, pattern, fault, true)) {
        return false;
    }
    pattern.memory.assign(local_part.view()).append("@").append(pattern.name);
    pattern.name = pattern.memory;
    return true;
}

/// A kind of pattern: the first row whose `is` says so reads the word.
struct PatternRow {
    Pattern kind;
    bool (*is)(std::string_view word);
    bool (*read)(std::string_view word, ParsedPattern& pattern, Fault& fault);
};

constexpr PatternRow patterns[] = {
    {Pattern::everything,
     [](std::string_view w) { return w == "*"; },
     [](std::string_view w, ParsedPattern& p, Fault&) {
         p.name = w;
         return true;
     }},
    {Pattern::user, [](std::string_view w) { return has(w, '@'); }, set_user},
    {Pattern::exact,
     [](std::string_view w) { return w.front() == '#' || w.front() == '='; },
     [](std::string_view w, ParsedPattern& p, Fault& f) {
         return set_domain(w.substr(1), 1, p, f, false);
     }},
    {Pattern::subdomains,
     [](std::string_view w) { return w.front() == '.'; },
     [](std::string_view w, ParsedPattern& p, Fault& f) {
         return set_domain(w.substr(1), 1, p, f, false);
     }},
    {Pattern::literal,
     [](std::string_view w) { return w.front() == '['; },
     [](std::string_view w, ParsedPattern& p, Fault& f) { return set_domain(w, 0, p, f, true); }},
    {Pattern::domain,
     [](std::string_view) { return true; },
     [](std::string_view w, ParsedPattern& p, Fault& f) { return set_domain(w, 0, p, f, false); }},
};

// ---- targets ----

constexpr const char* targets_allowed =
    "a target is a pool's name, host.name[:port], host:port, 192.0.2.1[:port], "
    "[2001:db8::1][:port], mx:DOMAIN[:port], as:DOMAIN, reject[:TEXT] or defer[:TEXT]";

std::string known_pools(const std::vector<std::string>& pools) {
    return pools.empty() ? "the configuration has none"
                         : fmt::format("the configuration has {}", fmt::join(pools, ", "));
}

bool read_port(std::string_view text, std::size_t at, unsigned& port, Fault& fault) {
    unsigned value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > 65535) {
        return fail(fault, fmt::format("'{}' is no port; allowed: 1 to 65535", text), at);
    }
    port = value;
    return true;
}

/// `address` in its canonical form, and what follows it: nothing, or a colon and a port.
bool set_address(
    std::string_view address, std::string_view rest, std::size_t at, Target& target, Fault& fault) {
    unsigned port = 25;
    if (!rest.empty()) {
        if (rest.front() != ':') {
            return fail(fault, "behind an address stands nothing, or a colon and a port", at);
        }
        if (!read_port(rest.substr(1), at + 1, port, fault)) {
            return false;
        }
    }
    target = {TargetKind::address, fmt::format("{}:{}", address, port)};
    return true;
}

bool read_bracketed(std::string_view word, StatementContext& context, Fault& fault) {
    std::size_t end = word.find(']');
    std::string address;
    if (end == npos) {
        return fail(fault, "the bracket is not closed; an address is [192.0.2.1] or [2001:db8::1]");
    }
    std::string_view inner = word.substr(1, end - 1);
    if (!read_address(inner, address)) {
        return fail(
            fault,
            fmt::format(
                "brackets stand round an address only; '{}' is written '{}{}' here",
                word,
                inner,
                word.substr(end + 1)));
    }
    return set_address(address, word.substr(end + 1), end + 1, context.target, fault);
}

bool read_v4(std::string_view word, StatementContext& context, Fault& fault) {
    std::size_t end = std::min(word.find(':'), word.size());
    std::string address;
    return read_address(word.substr(0, end), address) &&
           set_address(address, word.substr(end), end, context.target, fault);
}

/// host.name[:port]; `begin`: octets of the word before it.
bool read_host(
    std::string_view word,
    std::size_t begin,
    TargetKind kind,
    StatementContext& context,
    Fault& fault) {
    std::string_view host = word.substr(begin);
    std::size_t colon = std::min(host.find(':'), host.size());
    unsigned port = 25;
    mail::DomainKey key;
    mail::DomainFault why;
    if (colon < host.size() && !read_port(host.substr(colon + 1), begin + colon + 1, port, fault)) {
        return false;
    }
    if (begin == 0 && host.substr(0, colon).find_first_not_of("0123456789.") == npos) {
        return fail(
            fault, fmt::format("'{}' is no IPv4 address; allowed: 192.0.2.1[:port]", word), 0);
    }
    if (!mail::make_domain_key(host.substr(0, colon), key, &why) || key.is_literal()) {
        return fail(
            fault,
            fmt::format(
                "'{}' is no host name: {}",
                host.substr(0, colon),
                why.what != nullptr ? why.what : "an address stands there without this"),
            begin + why.at);
    }
    context.target = {kind, fmt::format("{}:{}", key.view(), port)};
    return true;
}

bool read_as(std::string_view word, StatementContext& context, Fault& fault) {
    mail::DomainKey key;
    mail::DomainFault why;
    std::string_view name = word.substr(3);
    if (!mail::make_domain_key(name, key, &why)) {
        return fail(
            fault,
            fmt::format("as: stands before a domain; '{}' is none: {}", name, why.what),
            3 + why.at);
    }
    context.statement.as = key.view();
    return true;
}

/// reject or defer, alone or with a colon and a text.
bool read_answer(std::string_view word, TargetKind kind, StatementContext& context, Fault& fault) {
    std::size_t colon = word.find(':');
    std::string_view text = colon == npos ? std::string_view() : word.substr(colon + 1);
    if (colon != npos && text.empty()) {
        return fail(fault, "behind the colon stands a text, in quotes where it has blanks", colon);
    }
    if (text.size() > answer_octets_max) {
        return fail(
            fault,
            fmt::format("the text has {} octets; allowed: {}", text.size(), answer_octets_max));
    }
    for (char c : text) {
        if (c < ' ' || c > '~') {
            return fail(fault, "the text of an answer is printable ASCII");
        }
    }
    context.target = {kind, std::string(text)};
    return true;
}

bool read_pool(std::string_view word, StatementContext& context, Fault& fault) {
    if (std::find(context.pools.begin(), context.pools.end(), word) != context.pools.end()) {
        context.target = {TargetKind::pool, std::string(word)};
        return true;
    }
    return fail(
        fault,
        fmt::format("no pool '{}'; {}; {}", word, known_pools(context.pools), targets_allowed));
}

bool begins_answer(std::string_view word, std::string_view verb) {
    return word.starts_with(verb) && (word.size() == verb.size() || word[verb.size()] == ':');
}

bool is_v4_and_port(std::string_view word) {
    std::string address;
    std::string_view host = word.substr(0, word.find(':'));
    return has(host, '.') && read_address(host, address);
}

/// A kind of target: the first row whose `is` says so reads the word.
struct TargetRow {
    bool (*is)(std::string_view word);
    bool (*read)(std::string_view word, StatementContext& context, Fault& fault);
};

constexpr TargetRow target_rows[] = {
    {[](std::string_view w) { return begins_answer(w, "reject"); },
     [](std::string_view w, StatementContext& c, Fault& f) {
         return read_answer(w, TargetKind::reject, c, f);
     }},
    {[](std::string_view w) { return begins_answer(w, "defer"); },
     [](std::string_view w, StatementContext& c, Fault& f) {
         return read_answer(w, TargetKind::defer, c, f);
     }},
    {[](std::string_view w) { return w.starts_with("as:"); }, read_as},
    {[](std::string_view w) { return w.starts_with("mx:"); },
     [](std::string_view w, StatementContext& c, Fault& f) {
         return read_host(w, 3, TargetKind::mx, c, f);
     }},
    {[](std::string_view w) { return w.front() == '['; }, read_bracketed},
    {is_v4_and_port, read_v4},
    {[](std::string_view w) { return has(w, '.') || has(w, ':'); },
     [](std::string_view w, StatementContext& c, Fault& f) {
         return read_host(w, 0, TargetKind::host, c, f);
     }},
    {[](std::string_view) { return true; }, read_pool},
};

/// What other programs write where a target stands here. In `right_form` {0} is the word, {1} what
/// counts of it.
struct ForeignTarget {
    bool (*is)(std::string_view word, std::string& part);
    const char* right_form;
};

/// "[host]:25" as "host:25": brackets that keep others from looking up MX records.
std::string without_brackets(std::string_view text) {
    std::string address;
    std::size_t end = text.find(']');
    if (text.empty() || text.front() != '[' || end == npos ||
        read_address(text.substr(1, end - 1), address)) {
        return std::string(text);
    }
    return std::string(text.substr(1, end - 1)).append(text.substr(end + 1));
}

bool is_answer(std::string_view word) {
    return begins_answer(word, "reject") || begins_answer(word, "defer");
}

constexpr std::string_view transports[] = {
    "smtp", "relay", "esmtp", "dsmtp", "smtps", "lmtp", "smtp+tls", "smtp+notls"};

constexpr ForeignTarget foreign_targets[] = {
    {[](std::string_view w, std::string& part) {
         const std::string_view address = w.substr(0, w.find('%'));
         return w.front() != '[' && std::count(address.begin(), address.end(), ':') > 1 &&
                read_address(address, part);
     },
     "'{0}': an IPv6 address stands in brackets, and without a zone: '{1}'"},
    {[](std::string_view w, std::string&) { return w.find("unix:") != npos && !is_answer(w); },
     "'{0}': a smart host is reached by SMTP over TCP alone, as HOST:PORT"},
    {[](std::string_view w, std::string& part) {
         std::size_t colon = w.find(':');
         bool known = std::find(std::begin(transports), std::end(transports), w.substr(0, colon)) !=
                      std::end(transports);
         if (colon == npos || !known || is_number(w.substr(colon + 1))) {
             return false;
         }
         std::string_view rest = w.substr(colon + 1);
         rest.remove_prefix(rest.starts_with("//") ? 2 : 0);
         part = rest.empty() ? "host:port" : without_brackets(rest);
         return true;
     },
     "'{0}' is written '{1}' here: a target names no transport"},
    {[](std::string_view w, std::string& part) {
         part = without_brackets(w.substr(1));
         return w.front() == ':' && w.size() > 1;
     },
     "'{0}' is written '{1}' here, without the colon before it"},
    {[](std::string_view w, std::string& part) {
         part = std::string("reject:").append(w.substr(std::min<std::size_t>(6, w.size())));
         return w.starts_with("error:");
     },
     "'{0}' is written '{1}' here"},
    {[](std::string_view w, std::string& part) {
         part = std::string("defer:").append(w.substr(std::min<std::size_t>(6, w.size())));
         return w.starts_with("retry:");
     },
     "'{0}' is written '{1}' here"},
    {[](std::string_view w, std::string&) { return w.starts_with("discard:"); },
     "'{0}': mail is never dropped silently; allowed: reject[:TEXT] or defer[:TEXT]"},
    {[](std::string_view w, std::string& part) {
         part = w == "REJECT" ? "reject" : "defer";
         return w == "REJECT" || w == "DEFER";
     },
     "'{0}' is written '{1}' here, in small letters, a text behind a colon"},
    {[](std::string_view w, std::string&) { return has(w, ',') && !is_answer(w); },
     "'{0}': several hosts make a pool: [pool.NAME] with hosts = [...], and NAME is the target"},
    {[](std::string_view w, std::string& part) {
         part = w.substr(0, w.size() - std::min<std::size_t>(3, w.size()));
         return w.ends_with("/mx") && !is_answer(w);
     },
     "'{0}' is written 'mx:{1}' here"},
    {[](std::string_view w, std::string& part) {
         std::size_t colons = w.find("::");
         part =
             colons == npos ? "" : fmt::format("{}:{}", w.substr(0, colons), w.substr(colons + 2));
         return colons != npos && w.front() != '[' && !is_answer(w);
     },
     "'{0}' is written '{1}' here, with one colon"},
    {[](std::string_view w, std::string&) { return has(w, '@') && !is_answer(w); },
     "'{0}': a target is no mail address; addresses stay as they are, but for rewrite=DOMAIN"},
    {[](std::string_view w, std::string&) { return w.front() == '#'; },
     "'{0}' is no target; behind the '#' of a comment stands a blank"},
};

// ---- options ----

bool set_permission(Statement::Permission permission, StatementContext& context, Fault& fault) {
    if (context.statement.permission != Statement::Permission::unstated) {
        return fail(fault, "a rule has one of always-relay and restricted, once");
    }
    context.statement.permission = permission;
    return true;
}

bool set_delivery(std::string_view value, std::size_t at, StatementContext& context, Fault& fault) {
    if (context.statement.delivery) {
        return fail(fault, "delivery= stands here a second time; a rule has it once");
    }
    for (const mail::Mode mode : {mail::Mode::sync, mail::Mode::hybrid, mail::Mode::queue}) {
        if (value == name_of(mode)) {
            context.statement.delivery = mode;
            return true;
        }
    }
    return fail(
        fault, fmt::format("delivery={} is unknown; allowed: sync, hybrid, queue", value), at);
}

bool set_rewrite(std::string_view value, std::size_t at, StatementContext& context, Fault& fault) {
    mail::DomainKey key;
    mail::DomainFault why;
    if (!context.statement.rewrite.empty()) {
        return fail(fault, "rewrite= stands here a second time; a rule has it once");
    }
    if (!mail::make_domain_key(value, key, &why) || key.is_literal()) {
        return fail(
            fault,
            fmt::format(
                "rewrite= needs a domain; '{}' is none: {}",
                value,
                why.what != nullptr ? why.what : "it is an address literal"),
            at + why.at);
    }
    context.statement.rewrite = key.view();
    return true;
}

struct OptionRow {
    std::string_view name;  // with its "=", where a value follows
    bool beside_answer;     // may stand beside reject and defer
    bool (*set)(std::string_view value, std::size_t at, StatementContext& context, Fault& fault);
};

constexpr OptionRow options[] = {
    {"always-relay",
     true,
     [](std::string_view, std::size_t, StatementContext& c, Fault& f) {
         return set_permission(Statement::Permission::always_relay, c, f);
     }},
    {"restricted",
     true,
     [](std::string_view, std::size_t, StatementContext& c, Fault& f) {
         return set_permission(Statement::Permission::restricted, c, f);
     }},
    {"delivery=", false, set_delivery},
    {"rewrite=", false, set_rewrite},
};

}  // namespace

bool parse_pattern(std::string_view word, bool quoted, ParsedPattern& pattern, Fault& fault) {
    if (word.empty()) {
        return fail(fault, "the pattern is empty");
    }
    if (!quoted && has(word, '@') && (word.front() == '#' || word.front() == '=')) {
        return fail(
            fault,
            fmt::format(
                "'{}': the '#' of a comment stands before a blank; a local part that begins with "
                "'{}' stands in quotes",
                word,
                word.front()));
    }
    for (const PatternRow& row : patterns) {
        if (row.is(word)) {
            pattern.kind = row.kind;
            if (row.read(word, pattern, fault)) {
                return true;
            }
            break;
        }
    }
    for (const ForeignPattern& row : foreign_patterns) {
        std::string_view part;
        if (row.is(word, part)) {
            return fail(fault, fmt::format(fmt::runtime(row.right_form), word, part));
        }
    }
    return false;
}

bool parse_target(std::string_view word, StatementContext& context, Fault& fault) {
    if (word.empty()) {
        return fail(fault, fmt::format("the target is empty; {}", targets_allowed));
    }
    for (const ForeignTarget& row : foreign_targets) {
        std::string part;
        if (row.is(word, part)) {
            return fail(fault, fmt::format(fmt::runtime(row.right_form), word, part));
        }
    }
    for (const TargetRow& row : target_rows) {
        if (row.is(word)) {
            return row.read(word, context, fault);
        }
    }
    return false;
}

bool parse_option(std::string_view word, StatementContext& context, Fault& fault) {
    bool is_answer_target =
        context.target.kind == TargetKind::reject || context.target.kind == TargetKind::defer;
    for (const OptionRow& row : options) {
        bool takes_value = row.name.back() == '=';
        if (takes_value ? word.starts_with(row.name) : word == row.name) {
            if (is_answer_target && !row.beside_answer) {
                return fail(
                    fault, fmt::format("{} means nothing beside reject and defer", row.name));
            }
            return row.set(word.substr(row.name.size()), row.name.size(), context, fault);
        }
    }
    return fail(
        fault,
        fmt::format(
            "'{}' is no option; allowed: always-relay, restricted, delivery=MODE, rewrite=DOMAIN",
            word));
}

}  // namespace postern::route

#include "from_postfix.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "postern/base/network.h"
#include "postern/base/result.h"

namespace postern::app {
namespace {

constexpr std::string_view blanks = " \t\r\v\f";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = std::min(text.find_first_not_of(blanks), text.size());
    text.remove_prefix(begin);
    return text.substr(0, text.find_last_not_of(blanks) + 1);
}

/// A key and its value, from the logical line that begins at `line`.
struct Entry {
    const PostfixFile* file;
    std::size_t line;
    std::string key;  // in small letters: Postfix looks names up so
    std::string value;
};

std::string at(const Entry& entry, std::string_view what) {
    return fmt::format("{}:{}: {}", entry.file->name, entry.line, what);
}

/// A table's entries (postmap(1)): a line that begins with a blank goes on with the one before it,
/// over comments and empty lines too. The first of two with the same key counts.
std::vector<Entry> read_entries(const PostfixFile& file, std::vector<std::string>& errors) {
    std::vector<Entry> entries;
    std::string_view rest = file.text;
    for (std::size_t number = 1; !rest.empty(); ++number) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const std::string_view text = trimmed(line);
        if (text.empty() || text.front() == '#') {
            continue;
        }
        if (blanks.find(line.front()) == std::string_view::npos) {
            entries.push_back({&file, number, {}, std::string(text)});
        } else if (!entries.empty()) {
            entries.back().value.append(" ").append(text);
        } else {
            errors.push_back(fmt::format(
                "{}:{}: the line begins with a blank, and none stands before it that it could go "
                "on with",
                file.name,
                number));
        }
    }
    std::map<std::string, std::size_t> lines;
    std::erase_if(entries, [&](Entry& entry) {
        const std::string whole = std::move(entry.value);
        const std::size_t end = std::min(whole.find_first_of(blanks), whole.size());
        entry.key = whole.substr(0, end);
        std::transform(entry.key.begin(), entry.key.end(), entry.key.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        entry.value = trimmed(std::string_view(whole).substr(end));
        const auto [first, fresh] = lines.emplace(entry.key, entry.line);
        if (!fresh) {
            errors.push_back(
                at(entry,
                   fmt::format(
                       "'{}' stands in line {} already, and Postfix takes that one",
                       entry.key,
                       first->second)));
        }
        return !fresh;
    });
    return entries;
}

bool is_transport_map(const std::vector<Entry>& entries) {
    return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
        const std::string_view first =
            std::string_view(entry.value).substr(0, entry.value.find_first_of(blanks));
        return first.find(':') != std::string_view::npos;
    });
}

// ---- targets ----

/// Transports that are no SMTP towards another host. The rest of master.cf is the operator's own.
struct NoEqual {
    std::string_view transport;
    const char* why;
};

constexpr const char* on_this_machine =
    "delivers on the machine itself, and Postern only hands mail on: name the host that has the "
    "mailboxes";

constexpr NoEqual no_equals[] = {
    {"local", on_this_machine},
    {"virtual", on_this_machine},
    {"lmtp", "speaks LMTP, and Postern speaks SMTP to its hosts: name an SMTP port of that host"},
    {"discard",
     "drops mail silently, and Postern answers for every message: write reject or defer"},
};

/// "error:5.1.2 text" and "retry:text" (error(8)): the status decides, where one is given.
std::string answer_of(std::string_view transport, std::string_view text) {
    bool temporary = transport == "retry";
    const std::size_t status = std::min(text.find_first_of(blanks), text.size());
    if (text.size() > 2 && text[1] == '.' && (text[0] == '4' || text[0] == '5') &&
        text.substr(0, status).find_first_not_of("0123456789.") == std::string_view::npos) {
        temporary = text[0] == '4';
        text = trimmed(text.substr(status));
    }
    std::string target = temporary ? "defer" : "reject";
    if (text.empty()) {
        return target;
    }
    target += ":\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            target += '\\';
        }
        target += c;
    }
    return target + '"';
}

/// "host", "host:port", "[host]" or "[host]:port" (smtp(8)).
base::Result<std::string> host_of(std::string_view nexthop) {
    const bool bracketed = nexthop.front() == '[';
    const std::size_t end =
        bracketed ? nexthop.find(']') : std::min(nexthop.find(':'), nexthop.size());
    if (end == std::string_view::npos) {
        return base::Error{fmt::format("'{}': the bracket is not closed", nexthop)};
    }
    std::string_view host = bracketed ? nexthop.substr(1, end - 1) : nexthop.substr(0, end);
    std::string_view port = nexthop.substr(std::min(end + (bracketed ? 1 : 0), nexthop.size()));
    if (!port.empty() && port.front() == ':') {
        port.remove_prefix(1);
    } else if (!port.empty()) {
        return base::Error{
            fmt::format("'{}': behind a bracket stands a colon and a port", nexthop)};
    }
    if (port.find_first_not_of("0123456789") != std::string_view::npos) {
        return base::Error{fmt::format("'{}' is no number: a port is one here", port)};
    }
    constexpr std::string_view tag = "ipv6:";
    if (bracketed && host.size() > tag.size() &&
        std::equal(
            tag.begin(), tag.end(), host.begin(), [](char a, char b) { return a == (b | 0x20); })) {
        host.remove_prefix(tag.size());
    }
    std::string text(host);
    if (base::IpAddress::parse(text).has_value()) {
        if (!bracketed) {
            return base::Error{fmt::format(
                "'{}' is an address without brackets, for which Postfix finds no host; with them "
                "it is a target",
                nexthop)};
        }
        if (host.find(':') != std::string_view::npos) {
            text = fmt::format("[{}]", host);
        }
    } else if (!bracketed) {
        text.insert(0, "mx:");
    } else if (host.find('.') == std::string_view::npos && port.empty()) {
        port = "25";  // without it the name would be a pool's
    }
    return port.empty() ? text : fmt::format("{}:{}", text, port);
}

/// What a rule says for an entry's value. `domain`: whose MX records are asked where the value
/// names no host; empty: those of many domains, which no rule says.
base::Result<std::string> target_of(std::string_view value, std::string_view domain) {
    const std::size_t colon = std::min(value.find(':'), value.size());
    const std::string_view transport = trimmed(value.substr(0, colon));
    const std::string_view nexthop = trimmed(value.substr(std::min(colon + 1, value.size())));
    if (transport == "error" || transport == "retry") {
        return answer_of(transport, nexthop);
    }
    for (const NoEqual& row : no_equals) {
        if (transport == row.transport) {
            return base::Error{fmt::format("'{}:' {}", transport, row.why)};
        }
    }
    if (!transport.empty() && transport != "smtp" && transport != "relay") {
        return base::Error{fmt::format(
            "'{0}' is a service of your own master.cf: where it is an SMTP client under another "
            "name, write smtp:{1}; whatever else it does has no equal",
            transport,
            nexthop)};
    }
    if (nexthop.empty() && transport.empty()) {
        return base::Error{
            "says 'as if there were no table', which main.cf decides: name the host, or write "
            "smtp: for the domain's own MX records"};
    }
    if (nexthop.empty() && domain.empty()) {
        return base::Error{
            "asks the MX records of each recipient's own domain, and a rule names one host or one "
            "domain: name a smart host"};
    }
    if (nexthop.empty()) {
        return fmt::format("mx:{}", domain);
    }
    if (nexthop.find_first_of(", \t") != std::string_view::npos) {
        return base::Error{fmt::format(
            "'{}': several hosts make a pool: [pool.NAME] with the first in hosts and the others "
            "in backup, and NAME is the target",
            nexthop)};
    }
    return host_of(nexthop);
}

// ---- both tables ----

/// The names above `domain`, the nearest first: "b.test" and "test" for "a.b.test".
template <class Visit>
void for_each_parent(std::string_view domain, Visit visit) {
    for (std::size_t dot = domain.find('.'); dot != std::string_view::npos;
         dot = domain.find('.')) {
        domain.remove_prefix(dot + 1);
        visit(domain);
    }
}

class Translator {
   public:
    explicit Translator(std::span<const PostfixFile> files) {
        for (const PostfixFile& file : files) {
            std::vector<Entry> entries = read_entries(file, result_.errors);
            std::vector<Entry>& all = is_transport_map(entries) ? transport_ : relay_;
            result_.relay_domains_known |= &all == &relay_ && !entries.empty();
            std::move(entries.begin(), entries.end(), std::back_inserter(all));
        }
    }

    PostfixRules run(const route::Secrets& secrets) {
        for (const Entry& entry : transport_) {
            values_.emplace(entry.key, &entry);
        }
        for (const Entry& entry : relay_) {
            relayed_.insert(entry.key);
        }
        for (const Entry& entry : transport_) {
            add_transport(entry);
        }
        for (const Entry& entry : relay_) {
            add_relay(entry);
        }
        if (below_first_ != nullptr) {
            result_.errors.push_back(
                at(*below_first_,
                   fmt::format(
                       "Postfix also takes all subdomains of '{}'{} and asks the MX records of "
                       "each, and a rule names one host or one domain: name a smart host, as in "
                       "'.{} HOST'",
                       below_first_->key,
                       below_count_ == 1 ? std::string()
                                         : fmt::format(" and of {} more here", below_count_ - 1),
                       below_first_->key)));
        }
        keep_valid(secrets);
        return std::move(result_);
    }

   private:
    struct Rule {
        const Entry* entry;
        std::string text;
    };

    void fail(const Entry& entry, const std::string& why) {
        result_.errors.push_back(at(entry, why));
    }

    /// Whether Postfix takes mail for `domain` from anyone: parent_domain_matches_subdomains has
    /// relay_domains by default.
    bool is_relayed(std::string_view domain) const {
        bool found = relayed_.contains(domain);
        for_each_parent(
            domain, [&](std::string_view parent) { found |= relayed_.contains(parent); });
        return found;
    }

    void add(
        const Entry& entry,
        std::string_view pattern,
        std::string_view target,
        std::string_view domain) {
        std::string text = fmt::format("{} {}", pattern, target);
        const bool single = !domain.empty() && domain.find('.') == std::string_view::npos;
        if (!domain.empty() && result_.relay_domains_known && !is_relayed(domain)) {
            text += " restricted";
        } else if (single) {  // a rule for one label has to say it
            text += result_.relay_domains_known ? " always-relay" : " restricted";
        }
        rules_.push_back({&entry, std::move(text)});
    }

    void add_transport(const Entry& entry) {
        const std::string& key = entry.key;
        if (entry.value.empty()) {
            return fail(entry, "the line has no value, and Postfix ignores it");
        }
        if (key.find_first_of("\"\\") != std::string::npos) {
            return fail(entry, "a quoted local part: write its rule by hand, without these quotes");
        }
        if (key.back() == '.') {
            return fail(entry, "Postfix never finds a name with a dot at its end");
        }
        const std::size_t at_sign = key.rfind('@');
        std::string pattern = key;
        std::string_view domain = key;
        std::string_view own = key;  // whose MX records an empty nexthop means
        if (key == "*") {
            domain = own = {};
        } else if (at_sign == 0) {
            return fail(
                entry,
                fmt::format(
                    "Postfix looks up no '{0}' here: the whole domain is '{1}'",
                    key,
                    key.substr(1)));
        } else if (at_sign != std::string::npos) {
            domain = own = domain.substr(at_sign + 1);
        } else if (key.front() == '.') {
            domain.remove_prefix(1);
            own = {};
        } else if (key.front() != '[') {
            pattern.insert(0, "#");
        }
        const base::Result<std::string> target = target_of(entry.value, own);
        if (!target) {
            return fail(entry, target.error().text);
        }
        add(entry, pattern, *target, domain);
    }

    /// The entry that decides for subdomains of `domain`, or for itself where it has none.
    const Entry* covering(std::string_view domain) const {
        const Entry* nearest = nullptr;
        for_each_parent(domain, [&](std::string_view parent) {
            const auto found = values_.find(fmt::format(".{}", parent));
            if (nearest == nullptr && found != values_.end()) {
                nearest = found->second;
            }
        });
        const auto all = values_.find("*");
        return nearest == nullptr && all != values_.end() ? all->second : nearest;
    }

    void add_relay(const Entry& entry) {
        const std::string& domain = entry.key;
        if (domain.front() == '.' || domain.back() == '.') {
            return fail(
                entry,
                "Postfix never finds a name with a dot at its begin or end, unless "
                "parent_domain_matches_subdomains was changed");
        }
        const Entry* above = covering(domain);
        std::string itself;
        if (!values_.contains(domain)) {
            const auto target =
                above == nullptr ? fmt::format("mx:{}", domain) : target_of(above->value, domain);
            if (target) {
                itself = *target;
            } else {
                fail(entry, target.error().text);
            }
        }
        std::string below;
        if (!values_.contains("." + domain)) {
            const auto target = above == nullptr ? base::Error{} : target_of(above->value, {});
            if (target) {
                below = *target;
            } else if (below_count_++ == 0) {
                below_first_ = &entry;
            }
        }
        if (!itself.empty() && itself == below) {
            return add(entry, domain, itself, domain);
        }
        if (!itself.empty()) {
            add(entry, "#" + domain, itself, domain);
        }
        if (!below.empty()) {
            add(entry, "." + domain, below, domain);
        }
    }

    /// The rules that load() takes; what it says of the others is said of their entries.
    void keep_valid(const route::Secrets& secrets) {
        if (rules_.empty()) {
            return;
        }
        constexpr std::string_view name = "rules";
        std::string text;
        for (const Rule& rule : rules_) {
            text += rule.text;
            text += '\n';
        }
        const route::Source source{name, text};
        const route::Loaded loaded = route::load({&source, 1}, {}, secrets);
        std::set<std::size_t> refused;
        for (const std::string& error : loaded.errors) {  // "rules:LINE:COLUMN: why"
            const char* begin = error.data() + name.size() + 1;
            std::size_t line = 0;
            std::from_chars(begin, error.data() + error.size(), line);
            if (line == 0 || line > rules_.size()) {
                result_.errors.push_back(error);
            } else if (refused.insert(line - 1).second) {
                fail(
                    *rules_[line - 1].entry,
                    fmt::format(
                        "'{}': {}", rules_[line - 1].text, error.substr(error.find(": ") + 2)));
            }
        }
        for (std::size_t i = 0; i < rules_.size(); ++i) {
            if (!refused.contains(i)) {
                result_.rules.push_back(std::move(rules_[i].text));
            }
        }
    }

    std::vector<Entry> transport_;
    std::vector<Entry> relay_;
    std::map<std::string, const Entry*, std::less<>> values_;  // the transport map's, by key
    std::set<std::string, std::less<>> relayed_;
    std::vector<Rule> rules_;
    const Entry* below_first_ = nullptr;  // relayed, and nothing says where its subdomains go
    std::size_t below_count_ = 0;
    PostfixRules result_;
};

}  // namespace

PostfixRules rules_from_postfix(std::span<const PostfixFile> files, const route::Secrets& secrets) {
    return Translator(files).run(secrets);
}

}  // namespace postern::app

#include "postern/route/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "postern/mail/domain.h"
#include "postern/mail/local_part.h"

namespace postern::route {

namespace {

std::string answer_text(const Decision& decision) {
    return decision.accepted() ? std::string() : to_text(decision.reply);
}

/// Collects the rules whose pattern is the address, its domain, or a domain above it.
class Candidates {
   public:
    Candidates(const Table& table, std::uint32_t winner) : table_(table), winner_(winner) {}

    void add_users(const RecipientParts& parts) {
        mail::LocalPartKey key;
        const bool nameable = mail::make_local_part_key(parts.local_part, key);
        if (nameable) {
            add(table_.rule_of_name(fmt::format("{}@{}", key.view(), parts.domain_key)), "");
        }
        const std::string_view front =
            mail::before_delimiter(key.view(), table_.recipient_delimiter());
        if (!front.empty()) {
            add(table_.rule_of_name(fmt::format("{}@{}", front, parts.domain_key)),
                "a rule for the whole local part goes before it");
        }
    }

    void add_domains(std::string_view key) {
        bool itself = true;
        for (std::string_view name = key;;) {
            auto [exact, subdomains, domain] = table_.rules_of_domain(name);
            add(exact, itself ? beaten() : "it is for that domain alone, not for its subdomains");
            add(subdomains,
                itself ? "it is for the subdomains, not for the domain itself" : beaten());
            add(domain, beaten());
            std::size_t dot = name.find('.');
            if (dot == std::string_view::npos) {
                break;
            }
            name.remove_prefix(dot + 1);
            itself = false;
        }
    }

    void add(std::uint32_t rule, std::string why) {
        if (rule != none && rule != winner_) {
            lost.push_back({rule, std::move(why)});
        }
    }

    /// Why a rule that matches does not decide.
    std::string beaten() const {
        if (winner_ == none) {
            return {};
        }
        switch (table_.text_of(winner_).kind) {
            case Pattern::user:
                return "a rule for one recipient goes before those for domains";
            case Pattern::exact:
            case Pattern::subdomains:
            case Pattern::domain:
                return fmt::format(
                    "'{}' is longer, or for the same domain goes before it",
                    table_.pattern_of(winner_));
            case Pattern::literal:
            case Pattern::everything:
                break;
        }
        return "another rule matches";
    }

    std::vector<Candidate> lost;

   private:
    const Table& table_;
    std::uint32_t winner_;
};

/// Whether the hosts of the target have the last word on each recipient.
bool is_asked(const Target& target, std::span<const PoolHosts> pools) {
    return target.kind == TargetKind::pool &&
           std::any_of(pools.begin(), pools.end(), [&](const PoolHosts& pool) {
               return pool.asked && pool.name == target.text;
           });
}

std::string target_text(const Target& target, std::span<const PoolHosts> pools) {
    switch (target.kind) {
        case TargetKind::pool:
            for (const PoolHosts& pool : pools) {
                if (pool.name == target.text) {
                    return fmt::format("pool {}: {}", pool.name, fmt::join(pool.hosts, ", "));
                }
            }
            return fmt::format("pool {}", target.text);
        case TargetKind::address:
        case TargetKind::host:
            return fmt::format("the host {}", target.text);
        case TargetKind::mx:
            return fmt::format("the MX hosts of {}", target.text);
        case TargetKind::reject:
            return target.text.empty() ? "reject" : fmt::format("reject: {}", target.text);
        case TargetKind::defer:
            return target.text.empty() ? "defer" : fmt::format("defer: {}", target.text);
    }
    return {};
}

std::string_view text_of(DeliveryMode::By by) {
    switch (by) {
        case DeliveryMode::By::rule:
            return "the rule";
        case DeliveryMode::By::pool:
            return "the pool";
        case DeliveryMode::By::general:
            break;
    }
    return "delivery.mode";
}

std::string rule_text(const Table& table, std::uint32_t rule) {
    RuleText text = table.text_of(rule);
    return fmt::format("{} ({}:{})", table.pattern_of(rule), text.file, text.line);
}

nlohmann::json rule_json(const Table& table, std::uint32_t rule) {
    RuleText text = table.text_of(rule);
    nlohmann::json json = nlohmann::json::object();
    json["pattern"] = table.pattern_of(rule);
    json["file"] = std::string(text.file);
    json["line"] = text.line;
    return json;
}

}  // namespace

std::string to_text(const mail::Reply& reply) {
    return fmt::format(
        "{} {}.{}.{} {}",
        reply.code,
        reply.enhanced.cls,
        reply.enhanced.subject,
        reply.enhanced.detail,
        reply.text);
}

Explanation explain(
    const Table& table,
    const RelaySettings& settings,
    std::string_view address,
    const std::optional<From>& from) {
    Explanation explanation;
    if (address.size() >= 2 && address.front() == '<' && address.back() == '>') {
        address = address.substr(1, address.size() - 2);
    }
    explanation.address = address;
    explanation.from = from;
    mail::DomainKey key;
    mail::DomainFault fault;
    RecipientParts parts{address, address, {}};
    std::size_t at = address.rfind('@');
    if (at != std::string_view::npos) {
        parts.local_part = address.substr(0, at);
        if (!mail::make_domain_key(address.substr(at + 1), key, &fault)) {
            explanation.impossible = fault.what;
            return explanation;
        }
        parts.domain_key = key.view();
    }
    if (parts.local_part.empty()) {
        explanation.impossible = "the local part is empty";
        return explanation;
    }
    DecisionText text;
    const Decision to_trusted = decide(table, settings, parts, true, text);
    explanation.answer_to_trusted = answer_text(to_trusted);
    if (to_trusted.match.found()) {
        const std::uint32_t target = table.action(to_trusted.match.action).target;
        if (const Recipients* list = table.recipients_of(target)) {
            explanation.lists = list->files();
            explanation.unlisted = to_trusted.unlisted;
        }
    }
    Decision decision = decide(table, settings, parts, from && from->trusted, text);
    explanation.match = decision.match;
    explanation.outgoing = decision.outgoing;
    explanation.answer = answer_text(decision);
    if (!parts.domain_key.empty()) {
        if (!decision.match.found()) {  // refused for its form: what the rules say is still asked
            explanation.match = table.look_up({parts.domain_key, parts.local_part});
        }
        Candidates candidates(table, explanation.match.rule);
        candidates.add_users(parts);
        candidates.add_domains(parts.domain_key);
        candidates.add(table.everything().rule, "it is for what no other rule matches");
        explanation.lost = std::move(candidates.lost);
    }
    return explanation;
}

std::string to_text(
    const Explanation& explanation, const Table& table, std::span<const PoolHosts> pools) {
    std::string text = fmt::format("{}\n", explanation.address);
    auto line = [&](std::string_view name, std::string_view value) {
        text += fmt::format("  {:<10}{}\n", name, value);
    };
    if (!explanation.impossible.empty()) {
        line(
            "answer",
            fmt::format(
                "{}: {}",
                explanation.answer.empty() ? "553 5.1.3" : explanation.answer,
                explanation.impossible));
        return text;
    }
    if (explanation.match.found()) {
        const Action& action = table.action(explanation.match.action);
        line("rule", rule_text(table, explanation.match.rule));
        line("target", target_text(table.targets()[action.target], pools));
        line(
            "who",
            action.restricted ? "clients that [relay] trusts (restricted)"
                              : "anyone (always-relay)");
        if (explanation.delivery) {
            const DeliveryMode& delivery = *explanation.delivery;
            line(
                "delivery", fmt::format("{}, by {}", name_of(delivery.mode), text_of(delivery.by)));
            for (const auto& [listener, mode] : delivery.listeners) {
                line("", fmt::format("{} at the listener {}", name_of(mode), listener));
            }
        }
    } else {
        line("rule", "none");
    }
    if (!explanation.lists.empty()) {
        const std::string files = fmt::format("{}", fmt::join(explanation.lists, ", "));
        line(
            "listed",
            explanation.unlisted ? fmt::format("no: recipient is not in {}", files)
                                 : fmt::format("yes, in {}", files));
    }
    if (explanation.match.found() &&
        is_asked(table.targets()[table.action(explanation.match.action).target], pools)) {
        line("asked", "the pool's hosts, at RCPT, whether the recipient exists (verify)");
    }
    if (!explanation.outgoing.empty()) {
        line("goes to", explanation.outgoing);
    }
    for (const Candidate& candidate : explanation.lost) {
        line("lost", fmt::format("{}: {}", rule_text(table, candidate.rule), candidate.why));
    }
    auto answer = [](const std::string& reply) { return reply.empty() ? "accepted" : reply; };
    if (explanation.from) {
        line(
            "from",
            fmt::format(
                "{} ({}): {}",
                explanation.from->address,
                explanation.from->proxy     ? "a proxy, no client"
                : explanation.from->trusted ? "trusted"
                                            : "not trusted",
                answer(explanation.answer)));
    } else {
        line("answer", fmt::format("to anyone: {}", answer(explanation.answer)));
        line("", fmt::format("to trusted clients: {}", answer(explanation.answer_to_trusted)));
    }
    return text;
}

std::string to_json(
    const Explanation& explanation, const Table& table, std::span<const PoolHosts> pools) {
    nlohmann::json json = nlohmann::json::object();
    json["address"] = explanation.address;
    if (!explanation.impossible.empty()) {
        json["impossible"] = explanation.impossible;
        return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    }
    json["rule"] = nullptr;
    if (explanation.match.found()) {
        const Action& action = table.action(explanation.match.action);
        const Target& target = table.targets()[action.target];
        json["rule"] = rule_json(table, explanation.match.rule);
        json["restricted"] = action.restricted;
        json["delivery"] = nullptr;
        if (explanation.delivery) {
            const DeliveryMode& delivery = *explanation.delivery;
            json["delivery"] = {
                {"mode", name_of(delivery.mode)},
                {"by", text_of(delivery.by)},
                {"listeners", nlohmann::json::object()}};
            for (const auto& [listener, mode] : delivery.listeners) {
                json["delivery"]["listeners"][listener] = name_of(mode);
            }
        }
        constexpr const char* kinds[] = {"pool", "address", "host", "mx", "reject", "defer"};
        json["target"]["kind"] = kinds[static_cast<int>(target.kind)];
        json["target"]["text"] = target.text;
        json["target"]["asked"] = is_asked(target, pools);
        if (target.kind == TargetKind::pool || target.kind == TargetKind::address) {
            json["target"]["hosts"] = nlohmann::json::array();
            if (target.kind == TargetKind::address) {
                json["target"]["hosts"].push_back(target.text);
            }
            for (const PoolHosts& pool : pools) {
                if (pool.name == target.text) {
                    json["target"]["hosts"] = pool.hosts;
                }
            }
        }
    }
    json["outgoing"] = explanation.outgoing.empty() ? explanation.address : explanation.outgoing;
    json["recipients"] = nullptr;
    if (!explanation.lists.empty()) {
        json["recipients"] = {{"files", explanation.lists}, {"listed", !explanation.unlisted}};
    }
    json["lost"] = nlohmann::json::array();
    for (const Candidate& candidate : explanation.lost) {
        nlohmann::json lost = rule_json(table, candidate.rule);
        lost["why"] = candidate.why;
        json["lost"].push_back(lost);
    }
    auto answer = [](const std::string& reply) {
        nlohmann::json value = nlohmann::json::object();
        value["accepted"] = reply.empty();
        value["reply"] = reply;
        return value;
    };
    if (explanation.from) {
        json["from"] = answer(explanation.answer);
        json["from"]["address"] = explanation.from->address;
        json["from"]["trusted"] = explanation.from->trusted;
        json["from"]["proxy"] = explanation.from->proxy;
    } else {
        json["to_anyone"] = answer(explanation.answer);
        json["to_trusted"] = answer(explanation.answer_to_trusted);
    }
    return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace postern::route

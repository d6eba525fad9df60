#include "postern/route/difference.h"

#include <fmt/format.h>

#include <string_view>
#include <unordered_map>

namespace postern::route {
namespace {

bool is_domain(Pattern kind) {
    return kind == Pattern::domain || kind == Pattern::exact || kind == Pattern::subdomains;
}

std::size_t place_of(Pattern kind) {
    return kind == Pattern::exact ? 0 : kind == Pattern::subdomains ? 1 : 2;
}

/// The rule of `table` with that pattern, or none.
std::uint32_t rule_with(const Table& table, const RuleText& pattern) {
    if (pattern.kind == Pattern::everything) {
        return table.everything().rule;
    }
    return is_domain(pattern.kind) ? table.rules_of_domain(pattern.name)[place_of(pattern.kind)]
                                   : table.rule_of_name(pattern.name);
}

class Comparison {
   public:
    Comparison(const Table& before, const Table& after) : before_(before), after_(after) {
        Numbers known;
        for (const Target& target : before.targets()) {
            known.emplace(key(target), static_cast<std::uint32_t>(known.size()));
        }
        for (const Target& target : after.targets()) {
            targets_.push_back(number(known, key(target)));
        }
        known.clear();
        for (const Action& action : before.actions()) {
            known.emplace(key(action, action.target), static_cast<std::uint32_t>(known.size()));
        }
        for (const Action& action : after.actions()) {
            actions_.push_back(number(known, key(action, targets_[action.target])));
        }
    }

    Difference run() {
        difference_.before = before_.rule_count();
        difference_.after = after_.rule_count();
        std::uint32_t kept = 0;
        for (std::uint32_t rule = 0; rule < after_.rule_count(); ++rule) {
            const RuleText text = after_.text_of(rule);
            const std::uint32_t old = rule_with(before_, text);
            if (old == none) {
                ++difference_.added;
                difference_.rules_added.push_back(rule);
                warn_of_vanished(rule, text);
                count_if_moved(text, true);
                continue;
            }
            ++kept;
            if (actions_[after_.action_of(rule)] != before_.action_of(old)) {
                ++difference_.changed;
                count_if_moved(text, true);
            }
        }
        difference_.removed = before_.rule_count() - kept;
        for (std::uint32_t rule = 0; difference_.removed > 0 && rule < before_.rule_count();
             ++rule) {
            const RuleText text = before_.text_of(rule);
            if (rule_with(after_, text) == none) {
                count_if_moved(text, false);
            }
        }
        return std::move(difference_);
    }

   private:
    using Numbers = std::unordered_map<std::string, std::uint32_t>;

    static std::string key(const Target& target) {
        return fmt::format("{} {}", static_cast<int>(target.kind), target.text);
    }

    /// `target`: as the old table numbers it.
    static std::string key(const Action& action, std::uint32_t target) {
        return fmt::format(
            "{} {} {} {}",
            target,
            action.delivery ? mail::name_of(*action.delivery) : "",
            action.restricted,
            action.rewrite);
    }

    static std::uint32_t number(const Numbers& known, const std::string& key) {
        const auto found = known.find(key);
        return found == known.end() ? none : found->second;
    }

    /// `#X T` stands in the new files where `X T` stood: that is a rule, not a comment.
    void warn_of_vanished(std::uint32_t rule, const RuleText& text) {
        if (text.kind != Pattern::exact) {
            return;
        }
        const std::size_t plain = place_of(Pattern::domain);
        const std::uint32_t old = before_.rules_of_domain(text.name)[plain];
        if (old == none || after_.rules_of_domain(text.name)[plain] != none ||
            targets_[after_.action(after_.action_of(rule)).target] !=
                before_.action(before_.action_of(old)).target) {
            return;
        }
        difference_.warnings.push_back(fmt::format(
            "{}:{}:1: '#{}' is the rule for that domain alone, not a comment, and '{}' ({}:{}) is "
            "gone; a comment has a blank or another # behind its #",
            text.file,
            text.line,
            text.name,
            text.name,
            before_.text_of(old).file,
            before_.text_of(old).line));
    }

    /// Each domain once: at the first rule of the new table that names it and differs, or else at
    /// the first of the old one.
    void count_if_moved(const RuleText& text, bool in_after) {
        if (!is_domain(text.kind)) {
            return;
        }
        if (!in_after && differs_in_after(text.name, 3)) {
            return;
        }
        if (in_after ? differs_in_after(text.name, place_of(text.kind))
                     : gone(text.name, place_of(text.kind))) {
            return;  // counted at another rule
        }
        if (moved(before_.look_up({text.name, {}}), after_.look_up({text.name, {}})) ||
            moved(before_.covering_subdomains(text.name), after_.covering_subdomains(text.name))) {
            ++difference_.domains_moved;
        }
    }

    /// Does one of the domain's rules in the new table, of the first `places`, differ from before?
    bool differs_in_after(std::string_view name, std::size_t places) const {
        const auto old = before_.rules_of_domain(name);
        const auto now = after_.rules_of_domain(name);
        for (std::size_t i = 0; i < places; ++i) {
            if (now[i] != none && (old[i] == none || actions_[after_.action_of(now[i])] !=
                                                         before_.action_of(old[i]))) {
                return true;
            }
        }
        return false;
    }

    bool gone(std::string_view name, std::size_t places) const {
        const auto old = before_.rules_of_domain(name);
        const auto now = after_.rules_of_domain(name);
        for (std::size_t i = 0; i < places; ++i) {
            if (old[i] != none && now[i] == none) {
                return true;
            }
        }
        return false;
    }

    bool moved(const Match& old, const Match& now) const {
        if (!old.found() || !now.found()) {
            return false;
        }
        const std::uint32_t from = before_.action(old.action).target;
        const std::uint32_t to = after_.action(now.action).target;
        return is_host(before_.targets()[from]) && is_host(after_.targets()[to]) &&
               targets_[to] != from;
    }

    static bool is_host(const Target& target) {
        return target.kind != TargetKind::reject && target.kind != TargetKind::defer;
    }

    const Table& before_;
    const Table& after_;
    Difference difference_;
    std::vector<std::uint32_t> targets_;  // of the new table, as the old one numbers them, or none
    std::vector<std::uint32_t> actions_;  // the same
};

}  // namespace

Difference compare(const Table& before, const Table& after) {
    return Comparison(before, after).run();
}

}  // namespace postern::route

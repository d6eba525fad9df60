#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bucket.h"
#include "parsed.h"
#include "postern/mail/domain.h"

namespace postern::route {

/// Makes the table of what was parsed. One use each.
class Builder {
   public:
    Builder(
        std::span<const Source> sources,
        const RuleSettings& settings,
        const Secrets& secrets,
        Parsed parsed);

    Loaded build();

   private:
    void set_recipients();
    void set_actions();
    void size_block();
    bool fill_block();
    bool insert(std::uint32_t rule, std::span<const Table::Hash> suffixes);
    Table::Slot put(const Table::Hash& hash, std::uint8_t mark);
    void set_rule(Table::Slot slot, std::uint32_t rule);
    void split(Table::Slot slot, std::uint32_t rule);
    std::uint32_t action_index(const Action& action);
    std::uint32_t action_of(const ParsedRule& rule);
    void resolve_as();
    void take_over(std::uint32_t rule, std::uint32_t from);
    void check_open_relay();
    void error(std::uint32_t rule, std::size_t at, std::string_view what);
    void duplicate(std::uint32_t rule, std::uint32_t first);
    /// Octet of its line where a word of the rule begins: 0 the pattern, 1 the target.
    std::size_t word_at(std::uint32_t rule, unsigned word) const;
    std::string_view name_of(const ParsedRule& rule) const;
    std::string_view domain_of(const ParsedRule& rule) const;
    const Statement& statement_of(std::uint32_t rule) const;

    bool is_as(std::uint32_t rule) const { return !statement_of(rule).as.empty(); }

    std::span<const Source> sources_;
    const RuleSettings& settings_;
    Parsed parsed_;
    std::unique_ptr<Table> table_;
    std::unordered_map<std::string, std::uint32_t> actions_;
    std::vector<std::array<std::uint32_t, 2>> statement_actions_;  // with each default permission
    std::uint32_t nodes_max_ = 0;
    std::uint32_t nodes_ = 0;
    std::size_t errors_before_ = 0;
};

}  // namespace postern::route

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parsed.h"
#include "postern/mail/domain.h"

/// The rule grammar: one table of patterns, one of targets, one of options, one of what other
/// programs write. A kind of any of them is a row (grammar.cc).
namespace postern::route {

/// Why a word is wrong. `at`: octet of the word.
struct Fault {
    std::string what;
    std::size_t at = 0;
};

/// A pattern as the table keeps it.
struct ParsedPattern {
    Pattern kind = Pattern::domain;
    std::string_view name;  // view into `memory` or `domain`
    unsigned labels = 0;    // of its domain; 0: a literal, or "*"
    mail::DomainKey domain;
    std::string memory;  // of user@domain
};

/// `quoted`: the word stood in quotes, at least in part.
[[nodiscard]] bool parse_pattern(
    std::string_view word, bool quoted, ParsedPattern& pattern, Fault& fault);

/// What a statement is read into and against.
struct StatementContext {
    const std::vector<std::string>& pools;
    Statement& statement;
    Target target;  // unless the statement is as:
};

[[nodiscard]] bool parse_target(std::string_view word, StatementContext& context, Fault& fault);
[[nodiscard]] bool parse_option(std::string_view word, StatementContext& context, Fault& fault);

}  // namespace postern::route

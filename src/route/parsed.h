#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/route/rules.h"

/// What the grammar makes of the files, for the builder.
namespace postern::route {

/// Target and options as a line states them. Lines with the same words share one.
struct Statement {
    enum class Permission : std::uint8_t { unstated, always_relay, restricted };

    std::uint32_t target = none;  // index in Parsed::targets; none: as
    std::string as;               // the key of the name whose rule is taken over
    Permission permission = Permission::unstated;
    std::optional<mail::Mode> delivery;
    std::string rewrite;
};

struct ParsedRule {
    std::uint32_t name;  // offset in Parsed::names
    std::uint32_t line;
    std::uint32_t text;       // offset of the line in its file
    std::uint32_t statement;  // index in Parsed::statements
    std::uint16_t file;
    std::uint16_t size;   // octets of the name
    std::uint8_t labels;  // of its domain; 0: a literal, or "*"
    Pattern kind;
};

struct Parsed {
    std::vector<ParsedRule> rules;
    std::string names;
    std::vector<Statement> statements;
    std::vector<Target> targets;
    std::vector<std::string> errors;
};

Parsed parse(std::span<const Source> sources, const RuleSettings& settings);

/// The line that begins at `begin`, without its end.
std::string_view line_at(std::string_view text, std::size_t begin);

/// "FILE:LINE:COLUMN", the column counted in characters up to the octet `at`.
std::string place(
    std::string_view file, std::size_t line, std::string_view line_text, std::size_t at);

}  // namespace postern::route

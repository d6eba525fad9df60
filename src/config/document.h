#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// A TOML document as a plain tree in the file's order. The one place that knows the TOML library.
namespace postern::config {

struct Place {
    std::uint32_t line = 1;
    std::uint32_t column = 1;
    auto operator<=>(const Place&) const = default;
};

struct Member;

struct Node {
    enum class Kind : std::uint8_t { boolean, integer, text, list, table, other };
    Kind kind = Kind::other;
    Place place;
    bool boolean = false;
    std::int64_t integer = 0;
    std::string text;
    std::vector<Node> items;      // of a list
    std::vector<Member> members;  // of a table, in the file's order
};

struct Member {
    std::string key;
    Place place;
    Node value;
};

struct SyntaxError {
    Place place;
    std::string text;
};

/// The first syntax error is the only one: what follows it can not be told apart from its
/// consequences.
std::variant<Node, SyntaxError> read_document(std::string_view text);

}  // namespace postern::config

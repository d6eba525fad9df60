#include "document.h"

// Built without exceptions, the library's assertions also catch what a file can hold ("[%"): it
// checks the same again right behind them and reports an error, so they are turned off.
#ifdef NDEBUG
#error "NDEBUG turns the library's assertions into assumptions"
#endif
#define TOML_ASSERT(condition) static_assert(true)
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>

namespace postern::config {
namespace {

Place place_of(const toml::source_region& source) {
    // Tables that only a longer header implies have no place of their own.
    return source.begin ? Place{source.begin.line, source.begin.column} : Place{};
}

Node copy(const toml::node& from) {
    Node node;
    node.place = place_of(from.source());
    if (const auto* boolean = from.as_boolean()) {
        node.kind = Node::Kind::boolean;
        node.boolean = boolean->get();
    } else if (const auto* integer = from.as_integer()) {
        node.kind = Node::Kind::integer;
        node.integer = integer->get();
    } else if (const auto* text = from.as_string()) {
        node.kind = Node::Kind::text;
        node.text = text->get();
    } else if (const auto* list = from.as_array()) {
        node.kind = Node::Kind::list;
        for (const toml::node& item : *list) {
            node.items.push_back(copy(item));
        }
    } else if (const auto* table = from.as_table()) {
        node.kind = Node::Kind::table;
        for (const auto& [key, value] : *table) {
            node.members.push_back({std::string(key.str()), place_of(key.source()), copy(value)});
        }
        std::stable_sort(
            node.members.begin(), node.members.end(), [](const Member& a, const Member& b) {
                return a.place < b.place;
            });
    }
    return node;
}

}  // namespace

std::variant<Node, SyntaxError> read_document(std::string_view text) {
    const toml::parse_result result = toml::parse(text);
    if (!result) {
        return SyntaxError{
            place_of(result.error().source()), std::string(result.error().description())};
    }
    return copy(result.table());
}

}  // namespace postern::config

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "document.h"
#include "keys.h"
#include "postern/config/parse.h"

/// One value of the file into one member of Config, typed and checked.
namespace postern::config {

/// What a reading gathers. Not an error channel of one function: every value is read, whatever was
/// wrong before it.
struct Findings {
    std::string file;
    std::vector<Problem> errors;
    std::vector<Problem> warnings;
    std::vector<NamedFile> files;

    void error(Place place, std::string text) {
        errors.push_back({file, place.line, place.column, std::move(text)});
    }

    void warn(Place place, std::string text) {
        warnings.push_back({file, place.line, place.column, std::move(text)});
    }
};

/// What the manual calls a key's type.
enum class Type : std::uint8_t { boolean, count, size, percent, duration, choice, text, list };

template <class M>
constexpr Type type_of() {
    if constexpr (std::is_same_v<M, bool>) {
        return Type::boolean;
    } else if constexpr (std::is_same_v<M, std::uint32_t>) {
        return Type::count;
    } else if constexpr (std::is_same_v<M, Size>) {
        return Type::size;
    } else if constexpr (std::is_same_v<M, Percent>) {
        return Type::percent;
    } else if constexpr (std::is_same_v<M, base::Duration>) {
        return Type::duration;
    } else if constexpr (std::is_enum_v<M>) {
        return Type::choice;
    } else if constexpr (
        std::is_same_v<M, std::string> || std::is_same_v<M, std::filesystem::path> ||
        std::is_same_v<M, Endpoint> || std::is_same_v<M, AdminAddress> ||
        std::is_same_v<M, LogOutput>) {
        return Type::text;
    } else {
        return Type::list;
    }
}

Type type_of(const Slot& slot);

std::string_view type_name(Type type);

/// What may stand there, in words: for messages and for the manual.
std::string describe(Type type, std::string_view allowed);

/// What a value is to become, and for which key.
struct Wanted {
    std::string name;  // "limits.message_size": for messages
    Type type;
    std::string_view allowed;
    Check check = nullptr;
    Expand expand = nullptr;  // for lists of files
    bool secret = false;      // the value is not repeated
    Findings& findings;
};

/// Reads `node` into `into`, or says what is wrong and leaves `into` as it was: the default.
void read_value(const Node& node, const Wanted& wanted, const Slot& into);

/// `text` with everything but printable ASCII escaped.
std::string printable(std::string_view text);

/// `text` in quotes, made safe to print and cut to a readable length.
std::string in_quotes(std::string_view text);

/// "A | B" in pieces.
std::vector<std::string_view> split_choices(std::string_view allowed);

}  // namespace postern::config

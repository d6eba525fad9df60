#include "postern/mail/local_part.h"

namespace postern::mail {

namespace {

/// Calls `take(octet)` for each octet of the unquoted form, until it says false.
template <class Take>
bool unquoted(std::string_view text, Take take) {
    bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
    if (quoted) {
        text = text.substr(1, text.size() - 2);
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (quoted && text[i] == '\\' && i + 1 < text.size()) {
            ++i;
        }
        if (!take(text[i])) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool make_local_part_key(std::string_view local_part, LocalPartKey& key) {
    key.size = 0;
    return unquoted(local_part, [&](char c) {
        key.octets[key.size++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        return key.size <= local_part_octets_max;
    });
}

std::string_view before_delimiter(std::string_view local_part, std::string_view delimiters) {
    const std::size_t end = local_part.find_first_of(delimiters);
    return end == std::string_view::npos ? std::string_view() : local_part.substr(0, end);
}

bool is_routed_local_part(std::string_view local_part) {
    bool first = true;
    return !unquoted(local_part, [&](char c) {
        bool routes =
            c == '@' || c == '%' || c == '!' || c == ':' || (first && (c == '/' || c == '|'));
        first = false;
        return !routes;
    });
}

}  // namespace postern::mail

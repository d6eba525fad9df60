#include "postern/smtp/path.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "postern/mail/domain.h"
#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

constexpr auto npos = std::string_view::npos;

/// Dot-string; returns the octets it takes.
std::size_t dot_string(std::string_view text, bool& non_ascii) {
    std::size_t at = 0;
    std::size_t atom_begin = 0;
    while (at < text.size()) {
        if (is_atext(text[at])) {
            ++at;
        } else if (text[at] == '.' && at > atom_begin) {
            atom_begin = ++at;
        } else if (const std::size_t size = utf8_non_ascii(text.substr(at)); size > 0) {
            non_ascii = true;
            at += size;
        } else {
            break;
        }
    }
    return at > atom_begin ? at : 0;
}

/// Quoted-string, its quotes included; returns the octets it takes.
std::size_t quoted_string(std::string_view text, bool& non_ascii) {
    std::size_t at = 1;
    while (at < text.size()) {
        const char c = text[at];
        if (c == '"') {
            return at + 1;
        }
        if (c == '\\') {
            if (at + 1 >= text.size() || text[at + 1] < ' ' || text[at + 1] > '~') {
                return 0;
            }
            at += 2;
        } else if (c >= ' ' && c <= '~') {
            ++at;
        } else if (const std::size_t size = utf8_non_ascii(text.substr(at)); size > 0) {
            non_ascii = true;
            at += size;
        } else {
            return 0;
        }
    }
    return 0;
}

bool is_v6_address(std::string_view text) {
    std::array<char, 64> terminated{};
    std::array<unsigned char, 16> octets{};
    if (text.size() >= terminated.size() || text.find('\0') != npos) {
        return false;
    }
    std::copy(text.begin(), text.end(), terminated.begin());
    return inet_pton(AF_INET6, terminated.data(), octets.data()) == 1;
}

/// Drops the source route in front of a mailbox, "@a,@b:" (RFC 5321, section 4.1.1.3 and appendix
/// C). False: it is malformed.
bool drop_source_route(std::string_view text, std::size_t& at) {
    while (at < text.size() && text[at] == '@') {
        const std::size_t end = text.find_first_of(",:>", at);
        if (end == npos || text[end] == '>' ||
            check_domain(text.substr(at + 1, end - at - 1)) != PathError::none) {
            return false;
        }
        at = end + 1;
        if (text[end] == ':') {
            return at < text.size() && text[at] != '@';
        }
        if (at >= text.size() || text[at] != '@') {
            return false;
        }
    }
    return true;
}

/// The domain behind the '@', up to the '>' at `end`.
PathError take_domain(std::string_view text, Path& path) {
    if (text.empty()) {
        return PathError::syntax;
    }
    path.domain = text;
    if (text.starts_with('[')) {
        return is_address_literal(text) ? PathError::none : PathError::domain;
    }
    if (text.ends_with('.')) {
        path.domain.remove_suffix(1);
    }
    if (!is_ascii(text)) {
        path.non_ascii = true;
    }
    return check_domain(path.domain);
}

}  // namespace

PathError check_domain(std::string_view text) {
    bool non_ascii = false;
    std::size_t at = 0;
    std::size_t label_begin = 0;
    const auto label_fits = [&] {
        return at > label_begin && text[label_begin] != '-' && text[at - 1] != '-' &&
               (at - label_begin <= label_size_max || non_ascii);
    };
    while (at < text.size()) {
        if (is_alphanumeric(text[at]) || text[at] == '-' || text[at] == '_') {
            ++at;
        } else if (text[at] == '.') {
            if (!label_fits()) {
                return PathError::domain;
            }
            label_begin = ++at;
        } else if (const std::size_t size = utf8_non_ascii(text.substr(at)); size > 0) {
            non_ascii = true;
            at += size;
        } else {
            // Shaped like a domain with a character in it that no domain has, or not shaped like
            // one at all.
            return is_visible(text[at]) && text[at] != '@' && text[at] != '<' ? PathError::domain
                                                                              : PathError::syntax;
        }
    }
    const std::size_t size_max = non_ascii ? utf8_domain_size_max : domain_size_max;
    return label_fits() && text.size() <= size_max ? PathError::none : PathError::domain;
}

bool is_address_literal(std::string_view text) {
    if (text.size() < 3 || text.front() != '[' || text.back() != ']') {
        return false;
    }
    const std::string_view content = text.substr(1, text.size() - 2);
    const std::size_t colon = content.find(':');
    if (colon == npos) {
        return mail::is_v4_address(content);
    }
    const std::string_view tag = content.substr(0, colon);
    const std::string_view value = content.substr(colon + 1);
    if (equal_ignoring_case(tag, "IPv6")) {
        return is_v6_address(value);
    }
    const auto is_dcontent = [](char c) {
        return is_visible(c) && c != '[' && c != '\\' && c != ']';
    };
    const auto is_ldh = [](char c) { return is_alphanumeric(c) || c == '-'; };
    return !tag.empty() && tag.back() != '-' && std::all_of(tag.begin(), tag.end(), is_ldh) &&
           !value.empty() && value.size() <= domain_size_max &&
           std::all_of(value.begin(), value.end(), is_dcontent);
}

std::size_t parse_path(std::string_view text, PathKind kind, Path& path, PathError& error) {
    path = {};
    error = PathError::syntax;
    if (!text.starts_with('<')) {
        return 0;
    }
    if (kind == PathKind::reverse && text.starts_with("<>")) {
        error = PathError::none;
        return 2;
    }
    std::size_t at = 1;
    if (!drop_source_route(text, at) || at >= text.size()) {
        return 0;
    }
    const std::size_t begin = at;
    const std::string_view rest = text.substr(begin);
    const std::size_t local_size = rest.starts_with('"') ? quoted_string(rest, path.non_ascii)
                                                         : dot_string(rest, path.non_ascii);
    if (local_size == 0) {
        return 0;
    }
    path.local_part = rest.substr(0, local_size);
    at += local_size;
    if (at >= text.size()) {
        return 0;
    }
    if (local_size > local_part_size_max) {
        error = PathError::too_long;
        return 0;
    }
    if (text[at] == '>') {
        // RFC 5321, section 4.5.1: <postmaster> without a domain is the only such recipient.
        if (kind != PathKind::forward || !equal_ignoring_case(path.local_part, "postmaster")) {
            return 0;
        }
        path.address = path.local_part;
        error = PathError::none;
        return at + 1;
    }
    const std::size_t end = text.find('>', at);
    if (text[at] != '@' || end == npos) {
        return 0;
    }
    error = take_domain(text.substr(at + 1, end - at - 1), path);
    if (error != PathError::none) {
        return 0;
    }
    path.address = text.substr(begin, local_size + 1 + path.domain.size());
    return end + 1;
}

}  // namespace postern::smtp

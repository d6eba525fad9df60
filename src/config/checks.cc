#include "checks.h"

#include <algorithm>
#include <charconv>

namespace postern::config {
namespace {

constexpr std::size_t label_size_max = 63;
constexpr std::size_t name_size_max = 253;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_printable(char c) {
    return c > ' ' && c < '\x7f';
}

char upper(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_label(std::string_view label) {
    return !label.empty() && label.size() <= label_size_max && label.front() != '-' &&
           label.back() != '-' && std::all_of(label.begin(), label.end(), [](char c) {
               return is_digit(c) || is_letter(c) || c == '-';
           });
}

bool is_host_name(std::string_view name) {
    if (name.empty() || name.size() > name_size_max) {
        return false;
    }
    while (true) {
        const std::size_t dot = name.find('.');
        const std::string_view label = name.substr(0, dot);
        if (!is_label(label)) {
            return false;
        }
        if (dot == std::string_view::npos) {
            // A name of numbers alone would pass for an IPv4 address (RFC 3696, 2).
            return !std::all_of(label.begin(), label.end(), is_digit);
        }
        name.remove_prefix(dot + 1);
    }
}

/// What stands between the brackets of a literal: an address, "IPv6:" allowed in front of an IPv6
/// one.
std::optional<base::IpAddress> parse_literal(std::string_view text) {
    constexpr std::string_view tag = "IPV6:";
    const bool tagged = text.size() > tag.size() &&
                        std::equal(tag.begin(), tag.end(), text.begin(), [](char a, char b) {
                            return a == upper(b);
                        });
    const auto address = base::IpAddress::parse(tagged ? text.substr(tag.size()) : text);
    return tagged && address && address->is_v4() ? std::nullopt : address;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size() || port == 0) {
        return std::nullopt;
    }
    return port;
}

}  // namespace

bool check_host_name(std::string& text) {
    return is_host_name(text);
}

bool check_helo(std::string& text) {
    if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
        return parse_literal(std::string_view(text).substr(1, text.size() - 2)).has_value();
    }
    return is_host_name(text);
}

bool check_optional_name(std::string& text) {
    return text.empty() || is_host_name(text);
}

bool check_optional_mailbox(std::string& text) {
    const std::size_t at = text.rfind('@');
    return text.empty() || (at != std::string::npos && at > 0 &&
                            is_host_name(std::string_view(text).substr(at + 1)) &&
                            std::all_of(text.begin(), text.end(), is_printable));
}

bool check_optional_pool(std::string& text) {
    return text.empty() || is_pool_name(text);
}

bool check_delimiter(std::string& text) {
    return text.empty() || (text.size() == 1 && is_printable(text.front()) && text.front() != '@' &&
                            text.front() != '"');
}

bool check_ehlo_keyword(std::string& text) {
    std::transform(text.begin(), text.end(), text.begin(), upper);
    return !text.empty() && text.front() != '-' &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return is_digit(c) || is_letter(c) || c == '-';
           });
}

bool check_own_extension(std::string& text) {
    constexpr std::string_view separator = ", ";
    if (!check_ehlo_keyword(text)) {
        return false;
    }
    std::string_view list = own_extensions;
    for (;;) {
        const std::size_t end = list.find(separator);
        if (end == std::string_view::npos || list.substr(0, end) == text) {
            return list.substr(0, end) == text;
        }
        list.remove_prefix(end + separator.size());
    }
}

bool check_address(std::string& text) {
    const auto address = base::IpAddress::parse(text);
    if (address) {
        text = address->text();
    }
    return address.has_value();
}

bool check_word(std::string& text) {
    return std::all_of(text.begin(), text.end(), is_printable);
}

bool check_auth_user(std::string& text) {
    constexpr std::size_t size_max = 255;  // RFC 4616, section 2
    return text.size() <= size_max && check_word(text);
}

std::optional<Endpoint> parse_endpoint(std::string_view text, std::optional<std::uint16_t> port) {
    Endpoint endpoint;
    std::string_view rest;
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const auto address = parse_literal(text.substr(1, end - 1));
        if (!address) {
            return std::nullopt;
        }
        endpoint.host = address->text();
        endpoint.is_address = true;
        rest = text.substr(end + 1);
    } else {
        const std::size_t colon = std::min(text.find(':'), text.size());
        const std::string_view host = text.substr(0, colon);
        rest = text.substr(colon);
        const auto address = base::IpAddress::parse(host);
        if (address ? !address->is_v4() : !is_host_name(host)) {
            return std::nullopt;
        }
        endpoint.host = host;
        std::transform(host.begin(), host.end(), endpoint.host.begin(), lower);
        endpoint.is_address = address.has_value();
    }
    if (!rest.empty()) {
        port = rest.front() == ':' ? parse_port(rest.substr(1)) : std::nullopt;
    }
    if (!port) {
        return std::nullopt;
    }
    endpoint.port = *port;
    return endpoint;
}

bool is_pool_name(std::string_view name) {
    return !name.empty() && name.size() <= label_size_max && name != "reject" && name != "defer" &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return is_digit(c) || is_letter(c) || c == '-' || c == '_';
           });
}

}  // namespace postern::config

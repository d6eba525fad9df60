#include "postern/smtp/client_attribute.h"

#include <algorithm>
#include <charconv>

#include "postern/base/network.h"
#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

constexpr std::string_view unavailable = "[UNAVAILABLE]";
constexpr std::string_view unavailable_now = "[TEMPUNAVAIL]";

bool is_word(StatedAttribute&) {
    return true;
}

/// What may stand in a Received: line as a name (as HELO's argument does).
bool is_name(StatedAttribute& stated) {
    return stated.value().find_first_of("()<>@,;\"\\[]") == std::string_view::npos;
}

/// An IPv6 address has "IPV6:" in front, and stands without it from here on.
bool is_address(StatedAttribute& stated) {
    constexpr std::string_view prefix = "IPV6:";
    const bool prefixed = equal_ignoring_case(stated.value().substr(0, prefix.size()), prefix);
    if (prefixed) {
        stated.size = static_cast<std::uint16_t>(stated.size - prefix.size());
        std::copy_n(stated.octets.data() + prefix.size(), stated.size, stated.octets.data());
    }
    const bool has_colon = stated.value().find(':') != std::string_view::npos;
    return has_colon == prefixed && base::IpAddress::parse(stated.value()).has_value();
}

bool is_port(StatedAttribute& stated) {
    const std::string_view value = stated.value();
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), port);
    return error == std::errc{} && end == value.data() + value.size();
}

bool is_protocol(StatedAttribute& stated) {
    return equal_ignoring_case(stated.value(), "SMTP") ||
           equal_ignoring_case(stated.value(), "ESMTP");
}

bool is_source(StatedAttribute& stated) {
    return equal_ignoring_case(stated.value(), "LOCAL") ||
           equal_ignoring_case(stated.value(), "REMOTE");
}

struct Row {
    std::string_view name;
    ClientAttribute attribute;
    // Whether the value is good; null: not an attribute of that command.
    bool (*client)(StatedAttribute&);
    bool (*forward)(StatedAttribute&);
};

using enum ClientAttribute;

// A name that is forwarded is another server's word, for the log and for the next server: what it
// took from its client is not held to be a name here.
// clang-format off
constexpr std::array rows = {
    Row{"NAME",     name,                is_name,     is_word  },
    Row{"ADDR",     address,             is_address,  is_address},
    Row{"PORT",     port,                is_port,     is_port  },
    Row{"PROTO",    protocol,            is_protocol, is_word  },
    Row{"HELO",     helo,                is_word,     is_word  },
    Row{"LOGIN",    login,               is_word,     nullptr  },
    Row{"DESTADDR", destination_address, is_address,  nullptr  },
    Row{"DESTPORT", destination_port,    is_port,     nullptr  },
    Row{"SOURCE",   source,              nullptr,     is_source},
    Row{"IDENT",    ident,               nullptr,     is_word  },
};

// clang-format on

int hex_digit(char c) {
    if (is_digit(c)) {
        return c - '0';
    }
    const char lower = to_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// RFC 3461, section 4. What is not printable ASCII becomes '?': it goes into lines of ours. False:
/// no xtext, empty, or too long.
bool decode(std::string_view xtext, StatedAttribute& stated) {
    stated.size = 0;
    for (std::size_t i = 0; i < xtext.size(); ++i) {
        if (stated.size == stated.octets.size()) {
            return false;
        }
        char c = xtext[i];
        if (c == '+') {
            const int high = i + 2 < xtext.size() ? hex_digit(xtext[i + 1]) : -1;
            const int low = high >= 0 ? hex_digit(xtext[i + 2]) : -1;
            if (low < 0) {
                return false;
            }
            c = static_cast<char>(high * 16 + low);
            i += 2;
        } else if (!is_visible(c)) {
            return false;
        }
        stated.octets[stated.size++] = is_visible(c) ? c : '?';
    }
    return stated.size != 0;
}

}  // namespace

bool take_attribute(std::string_view& text, Introduction kind, StatedAttribute& stated) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const std::size_t equals = word.find('=');
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& candidate) {
        return equal_ignoring_case(candidate.name, word.substr(0, equals));
    });
    if (equals == std::string_view::npos || row == rows.end()) {
        return false;
    }
    const auto is_good = kind == Introduction::client ? row->client : row->forward;
    if (is_good == nullptr || !decode(word.substr(equals + 1), stated)) {
        return false;
    }
    stated.attribute = row->attribute;
    if (equal_ignoring_case(stated.value(), unavailable) ||
        equal_ignoring_case(stated.value(), unavailable_now)) {
        stated.size = 0;
        return true;
    }
    return is_good(stated);
}

}  // namespace postern::smtp

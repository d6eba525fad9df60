#include "postern/smtp/extension.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

std::size_t size_argument(const ExtensionSettings& settings, std::span<char> into) {
    const auto [end, error] =
        std::to_chars(into.data(), into.data() + into.size(), settings.message_size_max);
    return static_cast<std::size_t>(end - into.data());
}

std::size_t limits_argument(const ExtensionSettings& settings, std::span<char> into) {
    constexpr std::string_view name = "RCPTMAX=";
    char* at = std::copy(name.begin(), name.end(), into.data());
    at = std::to_chars(at, into.data() + into.size(), settings.recipients_max).ptr;
    return static_cast<std::size_t>(at - into.data());
}

std::size_t xclient_argument(const ExtensionSettings&, std::span<char> into) {
    constexpr std::string_view attributes = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
    return static_cast<std::size_t>(
        std::copy(attributes.begin(), attributes.end(), into.data()) - into.data());
}

std::size_t xforward_argument(const ExtensionSettings&, std::span<char> into) {
    constexpr std::string_view attributes = "NAME ADDR PORT PROTO HELO SOURCE IDENT";
    return static_cast<std::size_t>(
        std::copy(attributes.begin(), attributes.end(), into.data()) - into.data());
}

/// RFC 1870, section 3: 1*20DIGIT.
Answer parse_size(std::optional<std::string_view> value, MailParameters& parameters) {
    constexpr std::size_t digits_max = 20;
    if (!value || value->empty() || value->size() > digits_max ||
        !std::all_of(value->begin(), value->end(), is_digit)) {
        return Answer::bad_parameter;
    }
    const auto [end, error] =
        std::from_chars(value->data(), value->data() + value->size(), parameters.size);
    if (error == std::errc::result_out_of_range) {
        parameters.size = std::numeric_limits<std::uint64_t>::max();
    }
    return Answer::none;
}

/// RFC 6152, section 2. BINARYMIME (RFC 3030) is not offered.
Answer parse_body(std::optional<std::string_view> value, MailParameters& parameters) {
    if (!value || value->empty()) {
        return Answer::bad_parameter;
    }
    if (equal_ignoring_case(*value, "7BIT")) {
        parameters.body_type = mail::BodyType::seven_bit;
    } else if (equal_ignoring_case(*value, "8BITMIME")) {
        parameters.body_type = mail::BodyType::eight_bit_mime;
    } else {
        return Answer::bad_parameter;
    }
    return Answer::none;
}

std::size_t auth_argument(const ExtensionSettings&, std::span<char> into) {
    constexpr std::string_view mechanisms = "PLAIN LOGIN";
    return static_cast<std::size_t>(
        std::copy(mechanisms.begin(), mechanisms.end(), into.data()) - into.data());
}

/// RFC 4954, section 5: an address as xtext (RFC 3461, section 4), or "<>". Whom somebody else has
/// authenticated counts for nothing here.
Answer parse_auth(std::optional<std::string_view> value, MailParameters&) {
    if (!value || value->empty()) {
        return Answer::bad_parameter;
    }
    const auto is_hex = [](char c) { return is_digit(c) || (c >= 'A' && c <= 'F'); };
    for (std::size_t i = 0; i < value->size(); ++i) {
        const char c = (*value)[i];
        if (!is_ascii(c)) {
            return Answer::bad_parameter;
        }
        if (c == '+') {
            if (value->size() - i < 3 || !is_hex((*value)[i + 1]) || !is_hex((*value)[i + 2])) {
                return Answer::bad_parameter;
            }
            i += 2;
        }
    }
    return Answer::none;
}

/// RFC 6531, section 3.4: no value.
Answer parse_smtputf8(std::optional<std::string_view> value, MailParameters& parameters) {
    parameters.smtputf8 = true;
    return value ? Answer::bad_parameter : Answer::none;
}

using enum Extension;

// clang-format off
constexpr std::array rows = {
    ExtensionRow{pipelining,            "PIPELINING",          nullptr,         "",         nullptr       },
    ExtensionRow{size,                  "SIZE",                size_argument,   "SIZE",     parse_size    },
    ExtensionRow{eight_bit_mime,        "8BITMIME",            nullptr,         "BODY",     parse_body    },
    ExtensionRow{smtputf8,              "SMTPUTF8",            nullptr,         "SMTPUTF8", parse_smtputf8},
    ExtensionRow{chunking,              "CHUNKING",            nullptr,         "",         nullptr       },
    ExtensionRow{enhanced_status_codes, "ENHANCEDSTATUSCODES", nullptr,         "",         nullptr       },
    ExtensionRow{limits,                "LIMITS",              limits_argument, "",         nullptr       },
    ExtensionRow{starttls,              "STARTTLS",            nullptr,         "",         nullptr       },
    ExtensionRow{auth,                  "AUTH",                auth_argument,   "AUTH",     parse_auth    },
    ExtensionRow{xclient,               "XCLIENT",             xclient_argument, "",        nullptr       },
    ExtensionRow{xforward,              "XFORWARD",            xforward_argument, "",       nullptr       },
};

// clang-format on

/// One esmtp-param of RFC 5321, section 4.1.2.
struct Parameter {
    std::string_view keyword;
    std::optional<std::string_view> value;
};

/// Takes the next parameter from `text`, the blanks in front of it included. False: it is
/// malformed.
bool take_parameter(std::string_view& text, Parameter& parameter) {
    const std::size_t begin = text.find_first_not_of(' ');
    if (begin == 0 || begin == std::string_view::npos) {
        return false;
    }
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());

    const std::size_t equals = word.find('=');
    parameter.keyword = word.substr(0, equals);
    const bool good_keyword =
        !parameter.keyword.empty() && parameter.keyword.front() != '-' &&
        std::all_of(parameter.keyword.begin(), parameter.keyword.end(), [](char c) {
            return is_alphanumeric(c) || c == '-';
        });
    if (!good_keyword || equals == std::string_view::npos) {
        parameter.value = std::nullopt;
        return good_keyword;
    }
    parameter.value = word.substr(equals + 1);
    return !parameter.value->empty() &&
           std::all_of(parameter.value->begin(), parameter.value->end(), [](char c) {
               return (is_visible(c) && c != '=') || !is_ascii(c);
           });
}

}  // namespace

std::span<const ExtensionRow> extension_rows() {
    return rows;
}

const ExtensionRow* find_extension(std::string_view keyword) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const ExtensionRow& candidate) {
        return equal_ignoring_case(candidate.keyword, keyword);
    });
    return row == rows.end() ? nullptr : &*row;
}

Answer parse_mail_parameters(
    std::string_view text, ExtensionSet offered, MailParameters& parameters) {
    ExtensionSet seen = 0;
    while (!text.empty()) {
        Parameter parameter;
        if (!take_parameter(text, parameter)) {
            return Answer::bad_parameter;
        }
        const auto row = std::find_if(rows.begin(), rows.end(), [&](const ExtensionRow& candidate) {
            return (offered & set_of(candidate.extension)) != 0 && !candidate.parameter.empty() &&
                   equal_ignoring_case(candidate.parameter, parameter.keyword);
        });
        if (row == rows.end()) {
            return Answer::unknown_parameter;
        }
        if ((seen & set_of(row->extension)) != 0) {
            return Answer::bad_parameter;  // given twice
        }
        seen |= set_of(row->extension);
        const Answer answer = row->parse_parameter(parameter.value, parameters);
        if (answer != Answer::none) {
            return answer;
        }
    }
    return Answer::none;
}

Answer parse_recipient_parameters(std::string_view text) {
    if (text.empty()) {
        return Answer::none;
    }
    Parameter parameter;
    return take_parameter(text, parameter) ? Answer::unknown_parameter : Answer::bad_parameter;
}

}  // namespace postern::smtp

#include "postern/smtp/extension.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "postern/smtp/characters.h"
#include "postern/smtp/xtext.h"

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
    while (!value->empty()) {
        if (take_xtext(*value).size == 0) {
            return Answer::bad_parameter;
        }
    }
    return Answer::none;
}

/// RFC 6531, section 3.4: no value.
Answer parse_smtputf8(std::optional<std::string_view> value, MailParameters& parameters) {
    parameters.smtputf8 = true;
    return value ? Answer::bad_parameter : Answer::none;
}

/// RFC 3461, section 4.3.
Answer parse_ret(std::optional<std::string_view> value, MailParameters& parameters) {
    const std::string_view word = value.value_or(std::string_view());
    if (equal_ignoring_case(word, "FULL")) {
        parameters.returned = mail::Returned::full;
    } else if (equal_ignoring_case(word, "HDRS")) {
        parameters.returned = mail::Returned::headers;
    } else {
        return Answer::bad_parameter;
    }
    return Answer::none;
}

/// "Printable (graphic and white space)", which is what may stand in a notification's field (RFC
/// 3461, sections 4.2 and 4.4). Of white space that is the blank: a TAB is none that prints.
bool prints(const XtextCharacter& character) {
    return character.size > 1 || is_visible(character.octets[0]) || character.octets[0] == ' ';
}

/// RFC 3461, section 4.4.
Answer parse_envid(std::optional<std::string_view> value, MailParameters& parameters) {
    if (!value || value->size() > envelope_id_octets_max) {
        return Answer::bad_parameter;
    }
    for (std::string_view rest = *value; !rest.empty();) {
        const XtextCharacter character = take_xtext(rest);
        if (character.size == 0 || !prints(character)) {
            return Answer::bad_parameter;
        }
    }
    parameters.envelope_id = *value;
    return Answer::none;
}

/// RFC 3461, section 4.1: NEVER alone, or the others, each once.
Answer parse_notify(std::optional<std::string_view> value, RecipientParameters& parameters) {
    using enum mail::Notify;
    constexpr auto& words = mail::notify_words;
    std::string_view rest = value.value_or(std::string_view());
    for (bool more = true; more;) {
        const std::string_view word = rest.substr(0, rest.find(','));
        more = word.size() < rest.size();
        rest.remove_prefix(word.size() + (more ? 1 : 0));
        const auto known = std::find_if(words.begin(), words.end(), [&](const auto& candidate) {
            return equal_ignoring_case(candidate.second, word);
        });
        if (known == words.end() || (parameters.notify & set_of(known->first)) != 0) {
            return Answer::bad_parameter;
        }
        parameters.notify |= set_of(known->first);
    }
    const bool never_and_more =
        (parameters.notify & set_of(never)) != 0 && parameters.notify != set_of(never);
    return never_and_more ? Answer::bad_parameter : Answer::none;
}

/// RFC 3461, section 4.2, and RFC 6533, section 3.
Answer parse_orcpt(std::optional<std::string_view> value, RecipientParameters& parameters) {
    if (!value || value->size() > original_recipient_octets_max) {
        return Answer::bad_parameter;
    }
    OriginalRecipient original(*value);
    if (original.type().empty() || original.empty()) {
        return Answer::bad_parameter;
    }
    while (!original.empty()) {
        const XtextCharacter character = original.take();
        if (character.size == 0 || !prints(character)) {
            return Answer::bad_parameter;
        }
    }
    parameters.original_recipient = *value;
    return Answer::none;
}

using enum Extension;

// clang-format off
constexpr std::array rows = {
    ExtensionRow{pipelining,            "PIPELINING",          nullptr          },
    ExtensionRow{size,                  "SIZE",                size_argument    },
    ExtensionRow{eight_bit_mime,        "8BITMIME",            nullptr          },
    ExtensionRow{smtputf8,              "SMTPUTF8",            nullptr          },
    ExtensionRow{chunking,              "CHUNKING",            nullptr          },
    ExtensionRow{enhanced_status_codes, "ENHANCEDSTATUSCODES", nullptr          },
    ExtensionRow{limits,                "LIMITS",              limits_argument  },
    ExtensionRow{starttls,              "STARTTLS",            nullptr          },
    ExtensionRow{auth,                  "AUTH",                auth_argument    },
    ExtensionRow{xclient,               "XCLIENT",             xclient_argument },
    ExtensionRow{xforward,              "XFORWARD",            xforward_argument},
    ExtensionRow{dsn,                   "DSN",                 nullptr          },
};

/// A parameter that an extension has brought.
template <class Parameters>
struct ParameterRow {
    Extension extension;
    std::string_view keyword;
    /// Reads its value (nullopt: no "=" behind the keyword). Answer::none: it is good.
    Answer (*parse)(std::optional<std::string_view> value, Parameters& parameters);
};

constexpr std::array mail_rows = {
    ParameterRow<MailParameters>{size,           "SIZE",     parse_size    },
    ParameterRow<MailParameters>{eight_bit_mime, "BODY",     parse_body    },
    ParameterRow<MailParameters>{smtputf8,       "SMTPUTF8", parse_smtputf8},
    ParameterRow<MailParameters>{auth,           "AUTH",     parse_auth    },
    ParameterRow<MailParameters>{dsn,            "RET",      parse_ret     },
    ParameterRow<MailParameters>{dsn,            "ENVID",    parse_envid   },
};
constexpr std::array recipient_rows = {
    ParameterRow<RecipientParameters>{dsn, "NOTIFY", parse_notify},
    ParameterRow<RecipientParameters>{dsn, "ORCPT",  parse_orcpt },
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

template <class Rows, class Parameters>
Answer parse_parameters(
    std::string_view text, ExtensionSet offered, const Rows& known, Parameters& parameters) {
    unsigned seen = 0;
    while (!text.empty()) {
        Parameter parameter;
        if (!take_parameter(text, parameter)) {
            return Answer::bad_parameter;
        }
        const auto row = std::find_if(known.begin(), known.end(), [&](const auto& candidate) {
            return (offered & set_of(candidate.extension)) != 0 &&
                   equal_ignoring_case(candidate.keyword, parameter.keyword);
        });
        if (row == known.end()) {
            return Answer::unknown_parameter;
        }
        const unsigned bit = 1U << (row - known.begin());
        if ((seen & bit) != 0) {
            return Answer::bad_parameter;  // given twice
        }
        seen |= bit;
        const Answer answer = row->parse(parameter.value, parameters);
        if (answer != Answer::none) {
            return answer;
        }
    }
    return Answer::none;
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
    return parse_parameters(text, offered, mail_rows, parameters);
}

Answer parse_recipient_parameters(
    std::string_view text, ExtensionSet offered, RecipientParameters& parameters) {
    return parse_parameters(text, offered, recipient_rows, parameters);
}

}  // namespace postern::smtp

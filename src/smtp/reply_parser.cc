#include "postern/smtp/reply_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "postern/base/assert.h"

namespace postern::smtp {
namespace {

constexpr std::size_t reply_line_octets = 512;  // RFC 5321, 4.5.3.1.5: code and CRLF included
constexpr int sender_lines_max = 8;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// A line's code, or 0 for what is no reply line: three digits, the first from 2 to 5, then a blank,
// a hyphen or nothing.
std::uint16_t line_code(std::string_view line) {
    if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) ||
        !is_digit(line[2])) {
        return 0;
    }
    if (line.size() > 3 && line[3] != ' ' && line[3] != '-') {
        return 0;
    }
    return static_cast<std::uint16_t>((line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0');
}

// The enhanced code (RFC 2034, 4) at the beginning of a line's text. `size`: its octets.
std::optional<mail::EnhancedCode> enhanced_code(std::string_view text, std::size_t& size) {
    if (text.size() < 5 || (text[0] != '2' && text[0] != '4' && text[0] != '5') || text[1] != '.') {
        return std::nullopt;
    }
    mail::EnhancedCode code{.cls = static_cast<std::uint16_t>(text[0] - '0')};
    const char* const end = text.data() + text.size();
    const char* at = text.data() + 2;
    const auto number = [&](std::uint16_t& value) {
        const auto [behind, error] = std::from_chars(at, std::min(at + 3, end), value);
        const bool read = error == std::errc{};
        at = behind;
        return read;
    };
    if (!number(code.subject) || at == end || *at != '.') {
        return std::nullopt;
    }
    ++at;
    if (!number(code.detail) || (at != end && *at != ' ')) {
        return std::nullopt;
    }
    size = static_cast<std::size_t>(at - text.data());
    return code;
}

std::size_t decimal_digits(unsigned value) {
    return value < 10 ? 1 : value < 100 ? 2 : 3;
}

bool equal_ignoring_case(std::string_view text, std::string_view upper) {
    return text.size() == upper.size() &&
           std::equal(text.begin(), text.end(), upper.begin(), [](char a, char b) {
               return (a >= 'a' && a <= 'z' ? static_cast<char>(a - 32) : a) == b;
           });
}

// The next word at blanks; empty behind the last.
std::string_view next_word(std::string_view& text) {
    const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    const std::size_t end = std::min(text.find_first_of(" \t", begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    text.remove_prefix(end);
    return word;
}

template <class Number>
void read_number(std::string_view text, Number& into) {
    Number value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && end == text.data() + text.size()) {
        into = value;
    }
}

void read_limits(std::string_view limits, Capabilities& capabilities) {
    for (std::string_view word = next_word(limits); !word.empty(); word = next_word(limits)) {
        const std::size_t equals = word.find('=');
        if (equals == std::string_view::npos) {
            continue;
        }
        const std::string_view name = word.substr(0, equals);
        const std::string_view value = word.substr(equals + 1);
        if (equal_ignoring_case(name, "MAILMAX")) {
            read_number(value, capabilities.mail_max);
        } else if (equal_ignoring_case(name, "RCPTMAX")) {
            read_number(value, capabilities.recipients_max);
        } else if (equal_ignoring_case(name, "RCPTDOMAINMAX")) {
            read_number(value, capabilities.recipient_domains_max);
        }
    }
}

void read_mechanisms(std::string_view mechanisms, Capabilities& capabilities) {
    for (std::string_view word = next_word(mechanisms); !word.empty();
         word = next_word(mechanisms)) {
        capabilities.auth_plain = capabilities.auth_plain || equal_ignoring_case(word, "PLAIN");
        capabilities.auth_login = capabilities.auth_login || equal_ignoring_case(word, "LOGIN");
    }
}

void read_xforward(std::string_view words, Capabilities& capabilities) {
    constexpr std::string_view names[] = {
        "NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"};
    for (std::string_view word = next_word(words); !word.empty(); word = next_word(words)) {
        for (std::size_t i = 0; i < std::size(names); ++i) {
            if (equal_ignoring_case(word, names[i])) {
                capabilities.xforward |= set_of(static_cast<Xforward>(i));
            }
        }
    }
}

}  // namespace

bool HostReply::Lines::next(std::string_view& text) {
    if (rest_.empty()) {
        return false;
    }
    const std::size_t end = rest_.find('\n');
    const std::string_view line = rest_.substr(0, end - 1);
    text = line.substr(std::min<std::size_t>(4, line.size()));
    rest_.remove_prefix(end + 1);
    return true;
}

ReplyParser::Result ReplyParser::parse(std::string_view bytes) {
    const auto ended = [this](Result result) {
        *this = ReplyParser();
        return result;
    };
    for (;;) {
        const std::size_t window = std::min(bytes.size(), line_begin_ + line_octets_max);
        const void* const found =
            scanned_ < window ? std::memchr(bytes.data() + scanned_, '\n', window - scanned_)
                              : nullptr;
        if (found == nullptr) {
            if (window == line_begin_ + line_octets_max || bytes.size() >= octets_max) {
                return ended({Status::error, 0, {}});
            }
            scanned_ = bytes.size();
            return {Status::partial, 0, {}};
        }
        const auto line_end =
            static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data()) + 1;
        const std::size_t size = line_end - line_begin_;
        if (size < 2 || bytes[line_end - 2] != '\r' || line_end > octets_max ||
            ++lines_ > lines_max) {
            return ended({Status::error, 0, {}});
        }
        const std::string_view line = bytes.substr(line_begin_, size - 2);
        const std::uint16_t code = line_code(line);
        if (code == 0 || (code_ != 0 && code != code_)) {
            return ended({Status::error, 0, {}});
        }
        if (line.size() == 3 || line[3] == ' ') {
            return ended({Status::consumed, line_end, {code, bytes.substr(0, line_end)}});
        }
        code_ = code;
        line_begin_ = scanned_ = line_end;
    }
}

Capabilities parse_capabilities(const HostReply& reply, std::span<const std::string> ignore) {
    Capabilities capabilities;
    HostReply::Lines lines = reply.lines();
    std::string_view text;
    lines.next(text);  // the first line is a greeting
    while (lines.next(text)) {
        const std::string_view first = next_word(text);
        // "AUTH=PLAIN" is how it was written before RFC 2554, and by some hosts beside the other.
        const std::string_view keyword = first.substr(0, first.find('='));
        if (std::any_of(ignore.begin(), ignore.end(), [&](const std::string& ignored) {
                return equal_ignoring_case(keyword, ignored);
            })) {
            continue;
        }
        if (equal_ignoring_case(keyword, "PIPELINING")) {
            capabilities.pipelining = true;
        } else if (equal_ignoring_case(keyword, "CHUNKING")) {
            capabilities.chunking = true;
        } else if (equal_ignoring_case(keyword, "8BITMIME")) {
            capabilities.eight_bit_mime = true;
        } else if (equal_ignoring_case(keyword, "SMTPUTF8")) {
            capabilities.smtputf8 = true;
        } else if (equal_ignoring_case(keyword, "DSN")) {
            capabilities.dsn = true;
        } else if (equal_ignoring_case(keyword, "STARTTLS")) {
            capabilities.starttls = true;
        } else if (equal_ignoring_case(keyword, "AUTH")) {
            read_mechanisms(first.substr(std::min(keyword.size() + 1, first.size())), capabilities);
            read_mechanisms(text, capabilities);
        } else if (equal_ignoring_case(keyword, "XFORWARD")) {
            read_xforward(text, capabilities);
        } else if (equal_ignoring_case(keyword, "SIZE")) {
            capabilities.size = true;
            read_number(next_word(text), capabilities.size_max);
        } else if (equal_ignoring_case(keyword, "LIMITS")) {
            read_limits(text, capabilities);
        }
    }
    return capabilities;
}

mail::Reply reply_for_sender(const HostReply& reply, bool to_rcpt, std::span<char> room) {
    POSTERN_ASSERT(room.size() >= sender_text_octets, "too little room for a sender's answer");
    mail::Reply passed;
    passed.code = reply.code / 100 == 2          ? 250
                  : reply.code == 421            ? 451
                  : reply.code == 552 && to_rcpt ? 452
                                                 : reply.code;
    const auto cls = static_cast<std::uint16_t>(passed.code / 100);
    passed.enhanced = {.cls = cls, .subject = 0, .detail = 0};

    HostReply::Lines lines = reply.lines();
    std::string_view text;
    std::size_t used = 0;
    std::size_t text_max = 0;
    for (int line = 0; line < sender_lines_max && lines.next(text); ++line) {
        std::size_t size = 0;
        if (const auto code = enhanced_code(text, size)) {
            if (line == 0 && code->cls == cls) {
                passed.enhanced = *code;
            }
            text.remove_prefix(std::min(size + 1, text.size()));
        }
        if (line == 0) {  // "250-2.0.0 " in front of each line, CRLF behind
            text_max = reply_line_octets - 4 -
                       (4 + decimal_digits(passed.enhanced.subject) +
                        decimal_digits(passed.enhanced.detail)) -
                       2;
        } else {
            room[used++] = '\n';
        }
        for (const char c : text.substr(0, text_max)) {
            room[used++] = c >= ' ' && c <= '~' ? c : '?';
        }
    }
    passed.text = std::string_view(room.data(), used);
    return passed;
}

bool is_host_trouble(std::uint16_t code) {
    return code == 502 || code == 503 || code == 521 || (code >= 530 && code <= 538) || code == 555;
}

}  // namespace postern::smtp

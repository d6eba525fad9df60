#include "postern/smtp/answer.h"

#include <algorithm>
#include <array>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

using enum Answer;

// HELO's and EHLO's answers carry no enhanced code (RFC 2034, section 4), nor does a 3xx.
// clang-format off
constexpr std::array rows = {
    AnswerRow{none,                     {0, {}, ""},                                                           false},
    AnswerRow{ok,                       {250, {2, 0, 0}, "ok"},                                                false},
    AnswerRow{sender_ok,                {250, {2, 1, 0}, "sender ok"},                                         false},
    AnswerRow{recipient_ok,             {250, {2, 1, 5}, "recipient ok"},                                      false},
    AnswerRow{chunk_ok,                 {250, {2, 0, 0}, "chunk received"},                                    false},
    AnswerRow{send_data,                {354, {}, "send the message, end it with a line of one dot"},          false},
    AnswerRow{start_tls,                {220, {2, 0, 0}, "ready to start TLS"},                                false},
    AnswerRow{auth_go_on,               {334, {}, ""},                                                         false},
    AnswerRow{auth_name,                {334, {}, "VXNlcm5hbWU6"},                                             false},
    AnswerRow{auth_password,            {334, {}, "UGFzc3dvcmQ6"},                                             false},
    AnswerRow{vrfy,                     {252, {2, 5, 0}, "cannot verify; send mail and see"},                  false},
    AnswerRow{help,                     {214, {2, 0, 0}, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP: RFC 5321"}, false},
    AnswerRow{goodbye,                  {221, {2, 0, 0}, "goodbye"},                                           false},
    AnswerRow{not_tls,                  {500, {5, 5, 2}, "this is TLS, and plain SMTP comes first here, closing"}, false},
    AnswerRow{not_http,                 {221, {2, 7, 0}, "this is a mail server, it does not speak HTTP"},     false},
    AnswerRow{unrecognized,             {500, {5, 5, 1}, "command not recognized"},                            true },
    AnswerRow{bad_syntax,               {500, {5, 5, 2}, "syntax error: a line ends in CRLF and holds no other CR, LF or NUL"}, true },
    AnswerRow{line_too_long,            {500, {5, 5, 2}, "line too long"},                                     true },
    AnswerRow{not_implemented,          {502, {5, 5, 1}, "command not implemented"},                           true },
    AnswerRow{argument_missing,         {501, {5, 5, 4}, "syntax error: an argument is missing or malformed"}, true },
    AnswerRow{argument_unwanted,        {501, {5, 5, 4}, "syntax error: this command takes no argument"},      true },
    AnswerRow{bad_parameter,            {501, {5, 5, 4}, "syntax error in a parameter"},                       true },
    AnswerRow{unknown_parameter,        {555, {5, 5, 4}, "parameter not recognized or not implemented"},       true },
    AnswerRow{sender_syntax,            {501, {5, 1, 7}, "syntax error in the sender's address"},              true },
    AnswerRow{sender_domain,            {553, {5, 1, 7}, "the sender's domain is not possible"},               true },
    AnswerRow{sender_too_long,          {501, {5, 1, 7}, "path too long"},                                     true },
    AnswerRow{hello_argument,           {501, {}, "syntax error: a domain name or address literal is wanted"}, true },
    AnswerRow{hello_first,              {503, {5, 5, 1}, "send EHLO or HELO first"},                           true },
    AnswerRow{transaction_open,         {503, {5, 5, 1}, "a transaction has begun already"},                   true },
    AnswerRow{mail_first,               {503, {5, 5, 1}, "send MAIL first"},                                   true },
    AnswerRow{recipient_first,          {503, {5, 5, 1}, "send RCPT first"},                                   true },
    AnswerRow{data_in_chunks,           {503, {5, 5, 1}, "the message has begun with BDAT"},                   true },
    AnswerRow{tls_already,              {503, {5, 5, 1}, "TLS is active already"},                             true },
    AnswerRow{auth_needs_tls,           {538, {5, 7, 11}, "AUTH needs TLS"},                                   true },
    AnswerRow{auth_unknown_mechanism,   {504, {5, 5, 4}, "unknown mechanism; PLAIN and LOGIN are known"},      true },
    AnswerRow{auth_twice,               {503, {5, 5, 1}, "already authenticated"},                             true },
    AnswerRow{auth_cancelled,           {501, {5, 7, 0}, "authentication cancelled"},                          true },
    AnswerRow{not_base64,               {501, {5, 5, 2}, "this is no base64"},                                 true },
    AnswerRow{auth_line_too_long,       {500, {5, 5, 6}, "line too long"},                                     true },
    AnswerRow{auth_failed,              {535, {5, 7, 8}, "wrong name or password"},                            true },
    AnswerRow{not_authorized,           {550, {5, 7, 0}, "this command is not for you"},                       true },
    AnswerRow{auth_unavailable,         {454, {4, 7, 0}, "passwords cannot be checked now, try again later"},  false},
    AnswerRow{recipient_syntax,         {501, {5, 1, 3}, "syntax error in the recipient's address"},           false},
    AnswerRow{recipient_domain,         {553, {5, 1, 3}, "the recipient's domain is not possible"},            false},
    AnswerRow{recipient_too_long,       {501, {5, 1, 3}, "path too long"},                                     false},
    AnswerRow{no_recipients,            {554, {5, 5, 1}, "no valid recipients"},                               false},
    AnswerRow{sender_needs_smtputf8,    {553, {5, 6, 7}, "a non-ASCII sender needs the parameter SMTPUTF8"},   false},
    AnswerRow{recipient_needs_smtputf8, {553, {5, 6, 7}, "a non-ASCII recipient needs SMTPUTF8 at MAIL"},      false},
    AnswerRow{too_large,                {552, {5, 3, 4}, "message too large"},                                 false},
    AnswerRow{too_many_recipients,      {452, {4, 5, 3}, "too many recipients"},                               false},
    AnswerRow{bare_newline,             {550, {5, 5, 2}, "the message holds a CR or LF that is not a CRLF"},   false},
    AnswerRow{loop,                     {554, {5, 4, 6}, "too many Received: lines, a mail loop"},             false},
    AnswerRow{memory_short,             {452, {4, 3, 1}, "memory is short, try again later"},                  false},
    AnswerRow{tls_unavailable,          {454, {4, 7, 0}, "TLS is not available now, memory is short"},         false},
    AnswerRow{health_check,             {550, {5, 7, 1}, "the proxy named no client, and a health check sends no mail"}, false},
    AnswerRow{too_many_octets,          {450, {4, 7, 1}, "too many octets from your address in a minute, try again later"}, false},
    AnswerRow{behind_starttls,          {554, {5, 5, 1}, "nothing may come behind STARTTLS before TLS does, closing"}, false},
    AnswerRow{tls_first,                {554, {5, 7, 0}, "this port speaks TLS from the first octet, closing"}, false},
    AnswerRow{too_many_errors,          {421, {4, 7, 0}, "too many errors, closing"},                          false},
    AnswerRow{too_many_wrong_recipients, {421, {4, 7, 0}, "too many wrong recipients, closing"},               false},
    AnswerRow{endless_line,             {421, {4, 7, 0}, "a line without end, closing"},                       false},
    AnswerRow{endless_chunk,            {501, {5, 5, 4}, "a chunk that is larger than any, closing"},          true },
    AnswerRow{early_talker,             {554, {5, 5, 1}, "you spoke before the greeting, closing"},            false},
    AnswerRow{idle,                     {421, {4, 4, 2}, "timeout, closing"},                                  false},
    AnswerRow{shutting_down,            {421, {4, 3, 2}, "shutting down, try again later"},                    false},
    AnswerRow{overloaded,               {421, {4, 3, 1}, "memory is short, closing"},                          false},
};

// clang-format on

constexpr bool in_order() {
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].answer != static_cast<Answer>(i)) {
            return false;
        }
    }
    return rows.back().answer == overloaded;
}

static_assert(in_order(), "the table has a row for each answer, in the order of the enum");

// Not to_chars: these run while they are compiled, too.
constexpr char* write_number(char* at, unsigned number) {
    if (number >= 10) {
        at = write_number(at, number / 10);
    }
    *at++ = static_cast<char>('0' + number % 10);
    return at;
}

constexpr char* write_line(char* at, const mail::Reply& reply, std::string_view text, bool last) {
    at = write_number(at, reply.code);
    *at++ = last ? ' ' : '-';
    if (reply.enhanced.present()) {
        at = write_number(at, reply.enhanced.cls);
        *at++ = '.';
        at = write_number(at, reply.enhanced.subject);
        *at++ = '.';
        at = write_number(at, reply.enhanced.detail);
        *at++ = ' ';
    }
    text = text.substr(0, reply_line_text_max);
    at = std::transform(
        text.begin(), text.end(), at, [](char c) { return is_visible(c) || c == ' ' ? c : '?'; });
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

/// A row as it goes over the wire: nothing of it is known only later.
struct Line {
    std::array<char, 120> octets{};
    std::uint8_t size = 0;
};

constexpr std::array<Line, rows.size()> all_lines() {
    std::array<Line, rows.size()> lines;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const mail::Reply& reply = rows[i].reply;
        char* const begin = lines[i].octets.data();
        lines[i].size =
            static_cast<std::uint8_t>(write_line(begin, reply, reply.text, true) - begin);
    }
    return lines;
}

constexpr std::array lines = all_lines();

}  // namespace

const AnswerRow& answer_row(Answer answer) {
    return rows[static_cast<std::size_t>(answer)];
}

std::string_view answer_line(Answer answer) {
    const Line& line = lines[static_cast<std::size_t>(answer)];
    return {line.octets.data(), line.size};
}

std::size_t write_reply(const mail::Reply& reply, std::span<char> into) {
    POSTERN_ASSERT(into.size() >= reply_octets_max, "a reply was written into too little room");
    POSTERN_ASSERT(reply.code >= 200 && reply.code <= 599, "a reply has a code from 200 to 599");
    std::string_view text = reply.text;
    char* at = into.data();
    for (std::size_t line = 1;; ++line) {
        const std::size_t end = text.find('\n');
        const bool last = end == std::string_view::npos || line == reply_lines_max;
        at = write_line(at, reply, text.substr(0, end), last);
        if (last) {
            return static_cast<std::size_t>(at - into.data());
        }
        text.remove_prefix(end + 1);
    }
}

}  // namespace postern::smtp

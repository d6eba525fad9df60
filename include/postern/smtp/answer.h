#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "postern/mail/reply.h"

/// What Postern itself says to senders: one row for each answer. Pure, immutable.
namespace postern::smtp {

enum class Answer : std::uint8_t {
    none,
    // positive
    ok,
    sender_ok,
    recipient_ok,
    chunk_ok,
    send_data,
    start_tls,
    auth_go_on,
    auth_name,
    auth_password,
    vrfy,
    help,
    goodbye,
    not_tls,
    not_http,
    // bad commands: each counts towards errors_max
    unrecognized,
    bad_syntax,
    line_too_long,
    not_implemented,
    argument_missing,
    argument_unwanted,
    bad_parameter,
    unknown_parameter,
    sender_syntax,
    sender_domain,
    sender_too_long,
    hello_argument,
    hello_first,
    transaction_open,
    mail_first,
    recipient_first,
    data_in_chunks,
    tls_already,
    auth_needs_tls,
    auth_unknown_mechanism,
    auth_twice,
    auth_cancelled,
    not_base64,
    auth_line_too_long,
    auth_failed,
    not_authorized,
    // refusals
    auth_unavailable,
    recipient_syntax,
    recipient_domain,
    recipient_too_long,
    no_recipients,
    sender_needs_smtputf8,
    recipient_needs_smtputf8,
    too_large,
    too_many_recipients,
    bare_newline,
    loop,
    memory_short,
    tls_unavailable,
    health_check,
    too_many_octets,
    // our own endings
    behind_starttls,
    tls_first,
    too_many_errors,
    too_many_wrong_recipients,
    endless_line,
    endless_chunk,
    early_talker,
    idle,
    shutting_down,
    overloaded,
};

struct AnswerRow {
    Answer answer;
    mail::Reply reply;
    bool bad_command;  // counts towards errors_max
};

const AnswerRow& answer_row(Answer answer);

/// What write_reply writes for that row, which is one line. REQUIRES: not `none`.
std::string_view answer_line(Answer answer);

/// The most octets that write_reply needs.
constexpr std::size_t reply_lines_max = 8;
constexpr std::size_t reply_line_text_max = 512;
constexpr std::size_t reply_octets_max = reply_lines_max * (reply_line_text_max + 24);

/// Writes `reply` as it goes over the wire: its lines (at most reply_lines_max of
/// reply_line_text_max octets), each with the code and the enhanced code if it has one; what is not
/// printable ASCII as '?'. Returns the octets written. REQUIRES: into.size() >= reply_octets_max.
std::size_t write_reply(const mail::Reply& reply, std::span<char> into);

}  // namespace postern::smtp

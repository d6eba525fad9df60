#include "postern/smtp/received.h"

#include <algorithm>

#include "postern/base/assert.h"
#include "postern/mail/date.h"

namespace postern::smtp {
namespace {

constexpr std::size_t line_size_max = 998;  // RFC 5322, section 2.1.1, without the CRLF

struct Writer {
    char* at;

    void text(std::string_view part) { at = std::copy(part.begin(), part.end(), at); }
};

}  // namespace

std::size_t write_received(const ReceivedFields& fields, std::span<char> into) {
    const std::size_t variable = fields.helo.size() + fields.client_name.size() +
                                 fields.client_address.size() + fields.hostname.size() +
                                 fields.protocol.size() + fields.id.size() +
                                 fields.recipient.size();
    constexpr std::size_t fixed = 128;  // more than all that is the same in each line
    POSTERN_ASSERT(
        into.size() >= received_octets_max && variable + fixed <= received_octets_max,
        "a Received: line was written into too little room");
    const std::string_view gap = variable + fixed > line_size_max ? "\r\n\t" : " ";

    Writer out{into.data()};
    out.text("Received: from ");
    out.text(fields.helo);
    if (fields.client_name.empty()) {
        out.text(" (unknown [");
    } else {
        out.text(" (");
        out.text(fields.client_name);
        out.text(" [");
    }
    out.text(fields.client_address.find(':') != std::string_view::npos ? "IPv6:" : "");
    out.text(fields.client_address);
    out.text("])");
    out.text(gap);
    out.text("by ");
    out.text(fields.hostname);
    out.text(" (Postern) with ");
    out.text(fields.protocol);
    out.text(" id ");
    out.text(fields.id);
    if (!fields.recipient.empty()) {
        out.text(gap);
        out.text("for <");
        out.text(fields.recipient);
        out.text(">");
    }
    out.text("; ");
    out.at += mail::write_date(fields.time, {out.at, mail::date_octets});
    out.text("\r\n");
    return static_cast<std::size_t>(out.at - into.data());
}

}  // namespace postern::smtp

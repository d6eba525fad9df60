#include "postern/smtp/received.h"

#include <algorithm>
#include <array>

#include "postern/base/assert.h"

namespace postern::smtp {
namespace {

constexpr std::size_t line_size_max = 998;  // RFC 5322, section 2.1.1, without the CRLF

struct Writer {
    char* at;

    void text(std::string_view part) { at = std::copy(part.begin(), part.end(), at); }

    void number(unsigned value, unsigned digits) {
        for (unsigned i = digits; i-- > 0; value /= 10) {
            at[i] = static_cast<char>('0' + value % 10);
        }
        at += digits;
    }

    /// RFC 5322, section 3.3, in UTC.
    void date(base::WallTime time) {
        using namespace std::chrono;
        constexpr std::array<std::string_view, 7> days{
            "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        constexpr std::array<std::string_view, 12> months{
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        const auto day = floor<std::chrono::days>(time);
        const year_month_day date(day);
        const hh_mm_ss clock(floor<seconds>(time - day));
        text(days[weekday(day).c_encoding()]);
        text(", ");
        number(static_cast<unsigned>(date.day()), 2);
        text(" ");
        text(months[static_cast<unsigned>(date.month()) - 1]);
        text(" ");
        number(static_cast<unsigned>(static_cast<int>(date.year())), 4);
        text(" ");
        number(static_cast<unsigned>(clock.hours().count()), 2);
        text(":");
        number(static_cast<unsigned>(clock.minutes().count()), 2);
        text(":");
        number(static_cast<unsigned>(clock.seconds().count()), 2);
        text(" +0000");
    }
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
    out.date(fields.time);
    out.text("\r\n");
    return static_cast<std::size_t>(out.at - into.data());
}

}  // namespace postern::smtp

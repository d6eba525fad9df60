#include "postern/notify/notification.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "postern/base/assert.h"
#include "postern/mail/date.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/path.h"
#include "postern/smtp/xtext.h"
#include "safe_text.h"

namespace postern::notify {
namespace {

/// Longer than any that may be, and short enough for a line with what stands around them.
constexpr std::size_t address_octets_max = 900;
constexpr std::size_t host_octets_max = 300;
constexpr std::size_t id_octets_max = 100;
constexpr std::size_t type_octets_max = 40;
/// Of what a peer has said.
constexpr std::size_t reply_lines_max = 8;
constexpr std::size_t reply_line_octets_max = 500;

/// What differs between the actions: all but the fields' values.
struct Words {
    std::string_view name;  // RFC 3464, section 2.3.3
    std::string_view subject;
    std::string_view text;
    int status_class;
};

const Words& words_of(Action action) {
    static constexpr Words failed{
        "failed",
        "Undelivered mail: returned to sender",
        "Your message could not be delivered to the recipients below, and will not be\r\n"
        "tried again.\r\n",
        5};
    static constexpr Words delayed{
        "delayed",
        "Delayed mail: still being tried",
        "Your message has not been delivered to the recipients below yet. It is still\r\n"
        "being tried: you need not send it again.\r\n",
        4};
    static constexpr Words relayed{
        "relayed",
        "Relayed mail: no further notice to be expected",
        "Your message has been handed on for the recipients below, as you asked to be\r\n"
        "told, to hosts that do not tell when they deliver it.\r\n",
        2};
    switch (action) {
        case Action::failed:
            return failed;
        case Action::delayed:
            return delayed;
        case Action::relayed:
            return relayed;
    }
    POSTERN_ASSERT(false, "a notification of nothing");
    return failed;
}

std::string date_text(base::WallTime time) {
    std::array<char, mail::date_octets> room;
    return {room.data(), mail::write_date(time, room)};
}

std::string host_text(std::string_view host) {
    return safe(host, host_octets_max, Characters::ascii);
}

/// As a name of type dns (RFC 3464, section 2.1.2): without the port, and an address as a literal
/// (RFC 5321, section 4.1.3).
std::string mta_name(std::string_view host) {
    const std::string_view name = host.substr(0, host.rfind(':'));
    if (name.starts_with('[')) {
        return host_text("[IPv6:" + std::string(name.substr(1)));
    }
    const std::string literal = fmt::format("[{}]", name);
    return host_text(smtp::is_address_literal(literal) ? literal : name);
}

std::string id_text(std::string_view id) {
    return safe(id, id_octets_max, Characters::ascii);
}

std::string address_text(std::string_view address) {
    return safe(address, address_octets_max, Characters::utf8);
}

std::string decoded_envelope_id(std::string_view xtext) {
    std::string id;
    while (!xtext.empty()) {
        const smtp::XtextCharacter character = smtp::take_xtext(xtext);
        if (character.size == 0) {
            break;
        }
        id += character.view();
    }
    return id_text(id);
}

/// "rfc822; a@b", its address decoded; empty: there is none.
std::string original_recipient(std::string_view value) {
    smtp::OriginalRecipient original(value);
    std::string address;
    while (!original.empty()) {
        const smtp::XtextCharacter character = original.take();
        if (character.size == 0) {
            break;
        }
        address += character.view();
    }
    if (original.type().empty() || address.empty()) {
        return {};
    }
    const Characters characters = original.is_utf8() ? Characters::utf8 : Characters::ascii;
    return id_text(original.type().substr(0, type_octets_max)) + "; " +
           safe(address, address_octets_max, characters);
}

/// The class, subject and detail of RFC 3463: of the enhanced code, else of the reply's, where they
/// are possible with what is told.
std::string status(const mail::Reply& reply, Action action) {
    constexpr unsigned number_max = 999;
    const auto is_possible = [&](int cls) {
        return cls == words_of(action).status_class || (action == Action::failed && cls == 4);
    };
    const mail::EnhancedCode& code = reply.enhanced;
    if (is_possible(code.cls) && code.subject <= number_max && code.detail <= number_max) {
        return fmt::format("{}.{}.{}", code.cls, code.subject, code.detail);
    }
    const int cls = reply.reply_class();
    return fmt::format("{}.0.0", is_possible(cls) ? cls : words_of(action).status_class);
}

/// What was answered, codes first: in lines, `between` in front of each but the first.
std::string reply_text(const mail::Reply& reply, std::string_view between) {
    std::string all = fmt::format("{}", reply.code);
    if (reply.enhanced.present()) {
        const mail::EnhancedCode& code = reply.enhanced;
        all += fmt::format(" {}.{}.{}", code.cls, code.subject, code.detail);
    }
    std::string_view rest = reply.text;
    for (std::size_t i = 0; i < reply_lines_max && !rest.empty(); ++i) {
        const std::string_view text = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(text.size() + 1, rest.size()));
        const std::string line = safe(text, reply_line_octets_max, Characters::ascii);
        // A folded line of blanks would be none (RFC 5322, section 3.2.2).
        if (line.find_first_not_of(' ') != std::string::npos) {
            all += i == 0 ? " " : between;
            all += line;
        }
    }
    return all;
}

/// What the part for people ends with.
constexpr std::string_view whole_below = "The message is returned below.\r\n";
constexpr std::string_view header_below = "Its header is returned below.\r\n";

constexpr std::string_view header_type = "text/rfc822-headers";

/// The part for people.
std::string human_part(const Report& report, bool whole) {
    std::string out = fmt::format(
        "This is the mail gateway {}.\r\n\r\n{}\r\n",
        host_text(report.hostname),
        words_of(report.action).text);
    for (const RecipientReport& recipient : report.recipients) {
        out += fmt::format("<{}>\r\n", address_text(recipient.address));
        const mail::Reply& reply = recipient.reply;
        if (report.action == Action::failed && reply.temporary()) {
            out += "  It was tried for as long as mail is kept here.\r\n";
        }
        if (recipient.retried_until) {
            out += fmt::format(
                "  It will be tried until {}.\r\n", date_text(*recipient.retried_until));
        }
        if (reply.code != 0) {
            std::string from;
            if (recipient.host) {
                from = ", from " + (recipient.host->empty() ? "this gateway itself"
                                                            : host_text(*recipient.host));
            }
            out += fmt::format(
                "  The last answer{}:\r\n    {}\r\n", from, reply_text(reply, "\r\n    "));
        }
        out += "\r\n";
    }
    out += fmt::format(
        "The message's ID here is {}. {}",
        id_text(report.message_id),
        whole ? whole_below : header_below);
    return out;
}

/// RFC 3464, section 2; RFC 6533, section 5, where an address is not ASCII.
std::string status_part(const Report& report) {
    std::string out;
    const auto field = [&](std::string_view name, std::string_view value) {
        if (!value.empty()) {
            out += fmt::format("{}: {}\r\n", name, value);
        }
    };
    field("Original-Envelope-Id", decoded_envelope_id(report.envelope.envelope_id));
    field("Reporting-MTA", "dns; " + host_text(report.hostname));
    field("X-Postern-ID", id_text(report.message_id));
    field("Arrival-Date", date_text(report.arrived));
    for (const RecipientReport& recipient : report.recipients) {
        out += "\r\n";
        field("Original-Recipient", original_recipient(recipient.original_recipient));
        const std::string address = address_text(recipient.address);
        field("Final-Recipient", (smtp::is_ascii(address) ? "rfc822; " : "utf-8; ") + address);
        field("Action", words_of(report.action).name);
        field("Status", status(recipient.reply, report.action));
        const bool is_own = recipient.host && recipient.host->empty();
        if (recipient.host && !is_own) {
            field("Remote-MTA", "dns; " + mta_name(*recipient.host));
        }
        if (recipient.reply.code != 0) {
            field(
                "Diagnostic-Code",
                (is_own ? "X-Postern; " : "smtp; ") + reply_text(recipient.reply, "\r\n "));
        }
        if (recipient.last_attempt) {
            field("Last-Attempt-Date", date_text(*recipient.last_attempt));
        }
        if (recipient.retried_until) {
            field("Will-Retry-Until", date_text(*recipient.retried_until));
        }
    }
    return out;
}

struct Part {
    std::string type;
    std::string content;
};

/// Of the message that is told of: all of it where that was asked for and it is small, else its
/// header.
Part returned_part(const Report& report, bool whole) {
    const bool utf8 = report.envelope.smtputf8;
    if (whole) {
        const std::string_view header = report.content.substr(0, report.content.find("\r\n\r\n"));
        const bool global = utf8 && !smtp::is_ascii(header);
        return {global ? "message/global" : "message/rfc822", std::string(report.content)};
    }
    std::string header = safe_header(
        report.content.substr(0, content_octets_max), utf8 ? Characters::utf8 : Characters::ascii);
    const bool global = !smtp::is_ascii(header);
    return {global ? "message/global-headers" : std::string(header_type), std::move(header)};
}

/// One that stands in none of the parts, whoever wrote them. REQUIRES: ends in time, since a part
/// is finite.
std::string boundary_for(std::string_view id, std::span<const Part> parts) {
    constexpr std::size_t octets_max = 40;  // RFC 2046, section 5.1.1: 70 for all of it
    std::string name = "=_";
    for (const char c : id.substr(0, octets_max)) {
        name += smtp::is_alphanumeric(c) ? c : '_';
    }
    std::string boundary = name;
    for (unsigned n = 0;; ++n) {
        const bool found = std::any_of(parts.begin(), parts.end(), [&](const Part& part) {
            return part.content.find(boundary) != std::string::npos;
        });
        if (!found) {
            return boundary;
        }
        boundary = fmt::format("{}_{}", name, n);
    }
}

/// With its boundary in front.
std::string part_text(std::string_view boundary, const Part& part) {
    return fmt::format(
        "\r\n--{}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n{}",
        boundary,
        part.type,
        smtp::is_ascii(part.content) ? "7bit" : "8bit",
        part.content);
}

std::string end_text(std::string_view boundary) {
    return fmt::format("\r\n--{}--\r\n", boundary);
}

/// Where `what` stands for the first time, if it does.
void replace(std::string& text, std::string_view what, std::string_view by) {
    if (const std::size_t at = text.find(what); at != std::string::npos) {
        text.replace(at, what.size(), by);
    }
}

}  // namespace

bool is_wanted(const mail::Envelope& envelope, mail::NotifySet notify, Action action) {
    using enum mail::Notify;
    const mail::NotifySet asked = notify == 0 ? set_of(failure) : notify;
    if (envelope.reverse_path.empty()) {
        return false;
    }
    switch (action) {
        case Action::failed:
            return (asked & set_of(failure)) != 0;
        case Action::delayed:
            return (asked & set_of(delay)) != 0;
        case Action::relayed:
            return (asked & set_of(success)) != 0;
    }
    return false;
}

Notification compose(const Report& report) {
    const mail::Envelope& envelope = report.envelope;
    POSTERN_ASSERT(
        !envelope.reverse_path.empty() && !report.recipients.empty(),
        "a notification for nobody, or of nobody");
    // RFC 3461, section 4.3: RET= is about failure.
    const bool whole = report.action == Action::failed &&
                       envelope.returned == mail::Returned::full &&
                       report.content.size() == report.content_size &&
                       report.content_size <= content_octets_max && is_plain(report.content);
    std::array<Part, 3> parts{
        Part{"text/plain", human_part(report, whole)},
        Part{"message/delivery-status", status_part(report)},
        returned_part(report, whole)};
    // RFC 6522, section 3: the report's type is that of its second part.
    std::string_view report_type = "delivery-status";
    parts[0].type += smtp::is_ascii(parts[0].content) ? "; charset=us-ascii" : "; charset=utf-8";
    if (!smtp::is_ascii(parts[1].content)) {
        report_type = "global-delivery-status";
        parts[1].type = "message/global-delivery-status";
    }
    const std::string boundary = boundary_for(report.id, parts);
    const std::string hostname = host_text(report.hostname);
    const std::string to = address_text(
        envelope.reverse_path_a_label.empty() ? envelope.reverse_path
                                              : envelope.reverse_path_a_label);

    Notification notification;
    notification.has_utf8_header = !smtp::is_ascii(to);
    const bool all_ascii = std::all_of(
        parts.begin(), parts.end(), [](const Part& part) { return smtp::is_ascii(part.content); });
    notification.has_eight_bit = notification.has_utf8_header || !all_ascii;
    std::string& out = notification.content;
    out = fmt::format(
        "From: Mail Delivery System <MAILER-DAEMON@{0}>\r\n"
        "To: <{1}>\r\n"
        "Subject: {2}\r\n"
        "Date: {3}\r\n"
        "Message-ID: <{4}@{0}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type={5};\r\n"
        "\tboundary=\"{6}\"\r\n"
        "Content-Transfer-Encoding: {7}\r\n"
        "\r\n"
        "This is a delivery status notification in MIME format.\r\n",
        hostname,
        to,
        words_of(report.action).subject,
        date_text(report.date),
        id_text(report.id),
        report_type,
        boundary,
        all_ascii ? "7bit" : "8bit");
    for (const Part& part : parts) {
        out += part_text(boundary, part);
    }
    out += end_text(boundary);
    return notification;
}

std::optional<std::string> shortened(std::string_view content) {
    constexpr std::string_view names_it = "\r\n\tboundary=\"";
    constexpr std::string_view blank_line = "\r\n\r\n";
    const std::size_t named = content.find(names_it);
    if (named == std::string_view::npos) {
        return std::nullopt;
    }
    std::string_view boundary = content.substr(named + names_it.size());
    boundary = boundary.substr(0, boundary.find('"'));
    // It stands in no part: what is found is what divides them.
    const std::string divides = fmt::format("\r\n--{}\r\n", boundary);
    const std::size_t last = content.rfind(divides);
    const std::size_t begin = content.find(blank_line, last);
    const std::size_t end = content.rfind(end_text(boundary));
    if (last == std::string_view::npos || end == std::string_view::npos || begin > end ||
        content.substr(last, begin - last).find(header_type) != std::string_view::npos) {
        return std::nullopt;
    }
    std::string out(content.substr(0, last));
    if (!smtp::is_ascii(out)) {
        return std::nullopt;
    }
    replace(
        out, "\r\nContent-Transfer-Encoding: 8bit\r\n", "\r\nContent-Transfer-Encoding: 7bit\r\n");
    replace(out, std::string(whole_below) + divides, std::string(header_below) + divides);
    const std::string_view returned =
        content.substr(begin + blank_line.size(), end - begin - blank_line.size());
    out +=
        part_text(boundary, {std::string(header_type), safe_header(returned, Characters::ascii)});
    out += end_text(boundary);
    return out;
}

}  // namespace postern::notify

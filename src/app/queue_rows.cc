#include "queue_rows.h"

#include <chrono>
#include <ctime>
#include <string_view>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace postern::app {
namespace {

using nlohmann::json;

constexpr std::int64_t ms_in_s = 1000;

std::string time_text(std::int64_t ms) {
    return fmt::format(
        "{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(ms / ms_in_s)));
}

std::string_view name_of(journal::State state) {
    switch (state) {
        case journal::State::waiting:
            return "waiting";
        case journal::State::delivered:
            return "delivered";
        case journal::State::refused:
            return "refused";
        case journal::State::expired:
            return "expired";
        case journal::State::removed:
            return "removed";
    }
    return "";
}

/// As MAIL's BODY= and RET= say it; empty: unstated.
std::string_view name_of(mail::BodyType type) {
    switch (type) {
        case mail::BodyType::unstated:
            break;
        case mail::BodyType::seven_bit:
            return "7BIT";
        case mail::BodyType::eight_bit_mime:
            return "8BITMIME";
    }
    return "";
}

std::string_view name_of(mail::Returned ret) {
    switch (ret) {
        case mail::Returned::unstated:
            break;
        case mail::Returned::full:
            return "FULL";
        case mail::Returned::headers:
            return "HDRS";
    }
    return "";
}

/// As RCPT's NOTIFY= says it; empty: unstated.
std::string name_of(mail::NotifySet set) {
    std::string names;
    for (const auto& [notify, name] : mail::notify_words) {
        if ((set & mail::set_of(notify)) != 0) {
            names += names.empty() ? "" : ",";
            names += name;
        }
    }
    return names;
}

json to_json(const shard::QueueRecipient& recipient, bool whole, std::int64_t now_ms) {
    const bool waits = recipient.state == journal::State::waiting;
    json object = {
        {"address", recipient.address},
        {"state", name_of(recipient.state)},
        {"attempts", recipient.attempts},
        {"reply", recipient.reply}};
    if (waits) {
        object["pool"] = recipient.pool;
        if (recipient.next_try_ms > now_ms) {
            object["next_try"] = time_text(recipient.next_try_ms);
            object["next_try_in_s"] = (recipient.next_try_ms - now_ms) / ms_in_s;
        }
    }
    if (whole) {
        object["orcpt"] = recipient.original;
        object["notify"] = name_of(recipient.notify);
        object["delay_told"] = recipient.delay_told;
    }
    return object;
}

// --- text ----------------------------------------------------------------------------------------

/// What a terminal would obey is shown as `?`; UTF-8 stays.
std::string safe(std::string_view text) {
    std::string shown;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        const bool c1 = c == 0xC2 && i + 1 < text.size() &&
                        static_cast<unsigned char>(text[i + 1]) < 0xA0;  // U+0080 to U+009F
        shown += c < 0x20 || c == 0x7F || c1 ? '?' : text[i];
        i += c1 ? 1 : 0;
    }
    return shown;
}

std::string text_in(const json& object, const char* key) {
    return safe(object.value(key, std::string()));
}

std::string address_in(const json& object, const char* key) {
    return "<" + text_in(object, key) + ">";
}

/// The largest unit of which there are two; "0 s" for what is not over yet.
std::string span_text(std::int64_t s) {
    constexpr std::int64_t minute = 60;
    constexpr std::int64_t hour = 60 * minute;
    constexpr std::int64_t day = 24 * hour;
    if (s >= 2 * day) {
        return fmt::format("{} days", s / day);
    }
    if (s >= 2 * hour) {
        return fmt::format("{} h", s / hour);
    }
    if (s >= 2 * minute) {
        return fmt::format("{} min", s / minute);
    }
    return fmt::format("{} s", std::max<std::int64_t>(s, 0));
}

std::string size_text(std::uint64_t octets) {
    constexpr double kib = 1024;
    const auto size = static_cast<double>(octets);
    if (octets < 1024) {
        return fmt::format("{} B", octets);
    }
    return size < kib * kib ? fmt::format("{:.1f} KiB", size / kib)
                            : fmt::format("{:.1f} MiB", size / (kib * kib));
}

std::string flags_of(const json& message) {
    std::string flags;
    for (const char* const flag : {"held", "orphaned", "notification"}) {
        if (message.value(flag, false)) {
            flags += fmt::format(" ({})", flag);
        }
    }
    return flags;
}

/// "waiting for cluster-a, 3 attempts, next in 4 min: 451 4.3.0 busy".
std::string state_text(const json& recipient) {
    std::string text = text_in(recipient, "state");
    if (const std::string pool = text_in(recipient, "pool"); !pool.empty()) {
        text += " for " + pool;
    }
    if (const auto attempts = recipient.value("attempts", std::uint64_t{0}); attempts != 0) {
        text += fmt::format(", {} attempt{}", attempts, attempts == 1 ? "" : "s");
    }
    if (recipient.contains("next_try_in_s")) {
        text += ", next in " + span_text(recipient.value("next_try_in_s", std::int64_t{0}));
    }
    if (const std::string reply = text_in(recipient, "reply"); !reply.empty()) {
        text += ": " + reply;
    }
    return text;
}

const json& recipients_of(const json& message) {
    static const json none = json::array();
    const auto found = message.find("recipients");
    return found == message.end() ? none : *found;
}

std::string more_text(const json& message) {
    const auto left = message.value("recipients_left", std::uint64_t{0});
    return left == 0 ? std::string() : fmt::format("    and {} more\n", left);
}

}  // namespace

json to_json(const shard::QueueRow& row, bool whole, std::int64_t now_ms) {
    json object = {
        {"id", journal::text_of(row.id)},
        {"arrival", time_text(row.arrival_ms)},
        {"age_s", (now_ms - row.arrival_ms) / ms_in_s},
        {"size", row.size},
        {"sender", row.sender},
        {"mode", mail::name_of(row.mode)},
        {"held", row.held},
        {"orphaned", row.orphaned},
        {"notification", row.notification},
        {"recipients", json::array()},
        {"recipients_waiting", row.waiting},
        {"recipients_left", row.left}};
    for (const shard::QueueRecipient& recipient : row.recipients) {
        object["recipients"].push_back(to_json(recipient, whole, now_ms));
    }
    if (whole) {
        object["body"] = name_of(row.body_type);
        object["ret"] = name_of(row.ret);
        object["envid"] = row.envid;
        object["smtputf8"] = row.smtputf8;
        object["client"] = row.client;
        object["trusted"] = row.trusted;
        if (row.expires_ms != 0) {
            object["expires"] = time_text(row.expires_ms);
        }
    }
    return object;
}

std::string line_of(const json& object) {
    return object.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string queue_heading() {
    return fmt::format("{:<19}  {:>7}  {:>9}  {}\n", "ID", "AGE", "SIZE", "SENDER, RECIPIENTS");
}

std::string queue_entry(const json& message) {
    std::string text = fmt::format(
        "{:<19}  {:>7}  {:>9}  {}{}\n",
        text_in(message, "id"),
        span_text(message.value("age_s", std::int64_t{0})),
        size_text(message.value("size", std::uint64_t{0})),
        address_in(message, "sender"),
        flags_of(message));
    for (const json& recipient : recipients_of(message)) {
        text +=
            fmt::format("    {}  {}\n", address_in(recipient, "address"), state_text(recipient));
    }
    return text + more_text(message);
}

std::string queue_details(const json& message) {
    std::string text = fmt::format("{}{}\n", text_in(message, "id"), flags_of(message));
    const auto line = [&text](std::string_view name, const std::string& value) {
        if (!value.empty()) {
            text += fmt::format("  {:<10} {}\n", name, value);
        }
    };
    line("sender", address_in(message, "sender"));
    line(
        "arrived",
        fmt::format(
            "{}, {} ago",
            text_in(message, "arrival"),
            span_text(message.value("age_s", std::int64_t{0}))));
    line("expires", text_in(message, "expires"));
    const auto size = message.value("size", std::uint64_t{0});
    line(
        "size",
        size < 1024 ? size_text(size) : fmt::format("{} ({} octets)", size_text(size), size));
    line("accepted", "as " + text_in(message, "mode"));
    line(
        "client",
        text_in(message, "client") + (message.value("trusted", false) ? " (trusted)" : ""));
    line("BODY", text_in(message, "body"));
    line("SMTPUTF8", message.value("smtputf8", false) ? "yes" : "");
    line("RET", text_in(message, "ret"));
    line("ENVID", text_in(message, "envid"));
    for (const json& recipient : recipients_of(message)) {
        text += fmt::format("  {}\n", address_in(recipient, "address"));
        text += fmt::format("    {}\n", state_text(recipient));
        if (const std::string orcpt = text_in(recipient, "orcpt"); !orcpt.empty()) {
            text += fmt::format("    ORCPT {}\n", orcpt);
        }
        if (const std::string notify = text_in(recipient, "notify"); !notify.empty()) {
            text += fmt::format(
                "    NOTIFY {}{}\n",
                notify,
                recipient.value("delay_told", false) ? ", the sender knows that it waits" : "");
        }
    }
    return text + more_text(message);
}

std::string messages_text(std::uint64_t count) {
    return fmt::format("{} message{}", count, count == 1 ? "" : "s");
}

}  // namespace postern::app

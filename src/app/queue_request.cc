#include "queue_request.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "ask.h"
#include "postern/base/units.h"
#include "postern/mail/domain.h"

namespace postern::app {
namespace {

using shard::QueueChange;

constexpr std::uint32_t rows_default = 100;
constexpr std::uint32_t rows_most = 500;
constexpr std::size_t word_octets_max = 1000;

/// All of `text` as a number.
template <class Number>
bool read_number(std::string_view text, Number& into, int base = 10) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into, base);
    return error == std::errc{} && end == text.data() + text.size();
}

base::Result<void> read_domain(std::string_view text, shard::QueueFilter& filter) {
    if (text.starts_with('=') || text.starts_with('#')) {
        filter.domain_alone = true;
        text.remove_prefix(1);
    }
    mail::DomainKey key;
    mail::DomainFault fault;
    if (!mail::make_domain_key(text, key, &fault)) {
        return base::Error{fmt::format(
            "{} is no domain ({}); allowed: example.com, which means all below it too, and "
            "=example.com",
            text,
            fault.what)};
    }
    filter.domain = key.view();
    return {};
}

base::Result<void> read_ids(const std::vector<std::string>& texts, shard::QueueFilter& filter) {
    if (texts.size() > queue_ids_max) {
        return base::Error{fmt::format("more than {} IDs in one request", queue_ids_max)};
    }
    for (const std::string& text : texts) {
        const auto id = journal::id_from_text(text);
        if (!id) {
            return base::Error{fmt::format(
                "{} is no ID; it is what the log shows as id, and the sender was told in "
                "\"queued as\"",
                text)};
        }
        filter.ids.push_back(*id);
    }
    std::sort(filter.ids.begin(), filter.ids.end());
    filter.ids.erase(std::unique(filter.ids.begin(), filter.ids.end()), filter.ids.end());
    return {};
}

std::string sender_of(std::string text) {
    if (text == "<>") {
        return {};
    }
    if (text.starts_with('<') && text.ends_with('>')) {
        text = text.substr(1, text.size() - 2);
    }
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return text;
}

/// The parameters of one request; each is taken once.
class Taken {
   public:
    explicit Taken(const QueueParameters& parameters) : left_(parameters) {}

    std::vector<std::string> all(const std::string& name) {
        std::vector<std::string> values;
        const auto [begin, end] = left_.equal_range(name);
        for (auto at = begin; at != end; ++at) {
            values.push_back(at->second);
        }
        left_.erase(begin, end);
        return values;
    }

    std::string one(const std::string& name) {
        std::vector<std::string> values = all(name);
        if (values.size() > 1 && error_.empty()) {
            error_ = fmt::format("{} is given {} times; allowed: once", name, values.size());
        }
        if (!values.empty() && values.front().size() > word_octets_max && error_.empty()) {
            error_ = fmt::format("{} is longer than {} octets", name, word_octets_max);
        }
        return values.empty() ? std::string() : std::move(values.front());
    }

    bool flag(const std::string& name) {
        const std::string value = one(name);
        if (!value.empty() && value != "0" && value != "1" && error_.empty()) {
            error_ = fmt::format("{}={} is not understood; allowed: 0, 1", name, value);
        }
        return value == "1";
    }

    /// Behind the last one: what is wrong with them; empty: nothing.
    std::string error() const {
        if (error_.empty() && !left_.empty()) {
            return fmt::format("there is no parameter {}", left_.begin()->first);
        }
        return error_;
    }

   private:
    QueueParameters left_;
    std::string error_;
};

}  // namespace

base::Result<shard::QueueFilter> filter_of(const QueueWords& words, std::int64_t now_ms) {
    shard::QueueFilter filter;
    if (base::Result<void> ids = read_ids(words.ids, filter); !ids) {
        return ids.error();
    }
    if (!words.domain.empty()) {
        if (base::Result<void> domain = read_domain(words.domain, filter); !domain) {
            return domain.error();
        }
    }
    filter.arrived_before_ms = now_ms + 1;
    if (!words.older_than.empty()) {
        const auto age = base::parse_duration(words.older_than);
        if (!age) {
            return base::Error{fmt::format(
                "{} is no age; allowed: a number with ms, s, min, h or days, such as 2h",
                words.older_than)};
        }
        filter.arrived_before_ms = now_ms - base::to_ms(*age);
    }
    if (!words.sender.empty()) {
        filter.sender = sender_of(words.sender);
    }
    filter.pool = words.pool;
    filter.orphaned = words.orphaned;
    filter.held = words.held;
    return filter;
}

std::string to_text(const QueueCursor& cursor) {
    return fmt::format(
        "{}-{}-{:016x}{:016x}{}{}",
        cursor.began_ms,
        cursor.worker,
        cursor.from.high,
        cursor.from.low,
        cursor.silent.empty() ? "" : "-",
        fmt::join(cursor.silent, "-"));
}

std::optional<QueueCursor> cursor_from_text(std::string_view text) {
    std::vector<std::string_view> parts;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find('-', at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    QueueCursor cursor;
    constexpr std::int64_t ms_max = std::int64_t{1} << 60;  // ages are taken from it
    constexpr std::size_t half = 16;                        // digits
    if (parts.size() < 3 || !read_number(parts[0], cursor.began_ms) || cursor.began_ms > ms_max ||
        !read_number(parts[1], cursor.worker) || parts[2].size() != 2 * half ||
        !read_number(parts[2].substr(0, half), cursor.from.high, 16) ||
        !read_number(parts[2].substr(half), cursor.from.low, 16)) {
        return std::nullopt;
    }
    for (std::size_t i = 3; i < parts.size(); ++i) {
        if (!read_number(parts[i], cursor.silent.emplace_back())) {
            return std::nullopt;
        }
    }
    return cursor;
}

std::string to_text(const QueueQuery& query) {
    std::string text;
    const auto add = [&text](std::string_view name, std::string_view value) {
        if (!value.empty()) {
            text += fmt::format("{}{}={}", text.empty() ? "" : "&", name, escape_query(value));
        }
    };
    const auto flag = [&add](std::string_view name, bool set) { add(name, set ? "1" : ""); };
    for (const std::string& id : query.words.ids) {
        add("id", id);
    }
    add("domain", query.words.domain);
    add("pool", query.words.pool);
    add("sender", query.words.sender);
    add("older_than", query.words.older_than);
    flag("orphaned", query.words.orphaned);
    flag("held", query.words.held);
    flag("whole", query.whole);
    flag("notify", query.notify);
    flag("all", query.all);
    add("limit", query.rows_max == 0 ? "" : std::to_string(query.rows_max));
    add("cursor", query.cursor);
    return text;
}

base::Result<QueueRequest> read_queue_request(
    QueueChange change, const QueueParameters& parameters, std::int64_t now_ms) {
    Taken taken(parameters);
    QueueRequest request;
    QueueWords words;
    words.ids = taken.all("id");
    words.domain = taken.one("domain");
    words.pool = taken.one("pool");
    words.sender = taken.one("sender");
    words.older_than = taken.one("older_than");
    words.orphaned = taken.flag("orphaned");
    words.held = taken.flag("held");
    const std::string cursor = taken.one("cursor");
    std::string limit;
    bool all = true;
    if (change == QueueChange::none) {
        request.ask.whole = taken.flag("whole");
        limit = taken.one("limit");
    } else {
        all = taken.flag("all");
        request.ask.notify = change == QueueChange::remove && taken.flag("notify");
    }
    if (const std::string error = taken.error(); !error.empty()) {
        return base::Error{error};
    }
    if (words.mean_any() && !all) {
        return base::Error{"no filter says which messages; all=1 means every one"};
    }
    request.ask.change = change;
    request.ask.rows_max = rows_default;
    if (!limit.empty() && (!read_number(limit, request.ask.rows_max) || request.ask.rows_max == 0 ||
                           request.ask.rows_max > rows_most)) {
        return base::Error{fmt::format("limit={}: allowed: 1 to {}", limit, rows_most)};
    }
    if (cursor.empty()) {
        request.cursor.began_ms = now_ms;
    } else if (const auto read = cursor_from_text(cursor); read) {
        request.cursor = *read;
    } else {
        return base::Error{fmt::format("cursor={}: that is none of ours", cursor)};
    }
    base::Result<shard::QueueFilter> filter = filter_of(words, request.cursor.began_ms);
    if (!filter) {
        return filter.error();
    }
    request.ask.filter = std::move(*filter);
    request.ask.from = request.cursor.from;
    return request;
}

}  // namespace postern::app

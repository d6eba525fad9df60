#include "queue_answers.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include <fmt/format.h>

#include "postern/io/clock.h"
#include "queue_rows.h"

namespace postern::app {
namespace {

using nlohmann::json;
using shard::QueueAnswer;
using shard::QueueAsk;

std::int64_t wall_ms() {
    return base::to_ms(io::wall_time().time_since_epoch());
}

AdminAnswer wrong(const base::Error& error) {
    return {400, "text/plain; charset=utf-8", error.text + "\n"};
}

/// One answer to a list has no more but for its last message.
constexpr std::size_t octets_max = 1 << 20;

/// Where a worker puts its answer. It outlives the request where the worker stands still.
struct Awaited {
    std::mutex mutex;
    std::condition_variable come;
    std::optional<QueueAnswer> answer;
};

/// nullopt: it gave none in time.
std::optional<QueueAnswer> ask_one(
    const AskWorker& ask, std::uint32_t worker, const QueueAsk& what, base::Duration patience) {
    const auto awaited = std::make_shared<Awaited>();
    const bool asked = ask(worker, what, [awaited](QueueAnswer answer) {
        const std::lock_guard lock(awaited->mutex);
        awaited->answer = std::move(answer);
        awaited->come.notify_one();
    });
    if (!asked) {
        return std::nullopt;
    }
    std::unique_lock lock(awaited->mutex);
    awaited->come.wait_for(lock, patience, [&] { return awaited->answer.has_value(); });
    return std::move(awaited->answer);
}

/// What is known of a worker's messages so far: its rows from some ID on, and all that it has below
/// `from`.
struct Part {
    std::deque<shard::QueueRow> rows;
    journal::Id from;
    bool all = false;  // there is nothing from `from` on
    bool silent = false;
};

/// The worker whose next message is not known and may be the lowest of all; end: the lowest is
/// known, or there is none.
std::vector<Part>::iterator next_to_ask(std::vector<Part>& parts) {
    auto lowest = parts.end();
    for (auto part = parts.begin(); part != parts.end(); ++part) {
        if (part->rows.empty() && !part->all &&
            (lowest == parts.end() || part->from < lowest->from)) {
            lowest = part;
        }
    }
    if (lowest == parts.end()) {
        return lowest;
    }
    const bool may_wait = std::any_of(parts.begin(), parts.end(), [&](const Part& part) {
        return !part.rows.empty() && part.rows.front().id < lowest->from;
    });
    return may_wait ? parts.end() : lowest;
}

/// The part with the lowest row; end: no rows.
std::vector<Part>::iterator lowest_row(std::vector<Part>& parts) {
    auto lowest = parts.end();
    for (auto part = parts.begin(); part != parts.end(); ++part) {
        if (!part->rows.empty() &&
            (lowest == parts.end() || part->rows.front().id < lowest->rows.front().id)) {
            lowest = part;
        }
    }
    return lowest;
}

/// The lowest ID that may have been left; nullopt: none.
std::optional<journal::Id> left_from(const std::vector<Part>& parts) {
    std::optional<journal::Id> lowest;
    for (const Part& part : parts) {
        if (part.rows.empty() && part.all) {
            continue;
        }
        const journal::Id from = part.rows.empty() ? part.from : part.rows.front().id;
        lowest = lowest ? std::min(*lowest, from) : from;
    }
    return lowest;
}

}  // namespace

std::optional<std::int64_t> oldest_arrival_ms(std::uint32_t workers, const AskWorker& ask) {
    const base::Instant end = io::monotonic_time() + std::chrono::seconds(1);
    QueueAsk first;
    first.rows_max = 1;
    std::optional<std::int64_t> oldest;
    for (std::uint32_t worker = 0; worker < workers; ++worker) {
        const base::Duration left = std::max(end - io::monotonic_time(), base::Duration(0));
        const auto answer = ask_one(ask, worker, first, left);
        if (answer && !answer->rows.empty()) {
            const std::int64_t arrival_ms = answer->rows.front().arrival_ms;
            oldest = std::min(oldest.value_or(arrival_ms), arrival_ms);
        }
    }
    return oldest;
}

AdminAnswer answer_queue_unread(std::uint64_t messages) {
    return {
        503,
        "text/plain",
        fmt::format(
            "the spool is still being read after the start ({} so far): ask again in a moment\n",
            messages_text(messages))};
}

AdminAnswer answer_queue_list(
    std::uint32_t workers,
    const AskWorker& ask,
    const QueueParameters& parameters,
    const QueuePatience& patience) {
    const std::int64_t now_ms = wall_ms();
    const auto request = read_queue_request(shard::QueueChange::none, parameters, now_ms);
    if (!request) {
        return wrong(request.error());
    }
    const base::Instant end = io::monotonic_time() + patience.answer;
    QueueAsk what = request->ask;
    std::vector<Part> parts(workers);
    for (Part& part : parts) {
        part.from = what.from;
    }
    for (const std::uint32_t worker : request->cursor.silent) {
        if (worker < workers) {
            parts[worker].silent = parts[worker].all = true;
        }
    }
    bool answered = false;  // by somebody: it goes on
    std::string messages;
    std::uint32_t count = 0;
    while (count < what.rows_max && messages.size() < octets_max) {
        const auto part = next_to_ask(parts);
        if (part == parts.end()) {
            const auto lowest = lowest_row(parts);
            if (lowest == parts.end()) {
                break;
            }
            messages += count == 0 ? "" : ",";
            messages += line_of(to_json(lowest->rows.front(), what.whole, now_ms));
            ++count;
            lowest->rows.pop_front();
            continue;
        }
        if (answered && io::monotonic_time() >= end) {
            break;
        }
        what.from = part->from;
        auto answer =
            ask_one(ask, static_cast<std::uint32_t>(part - parts.begin()), what, patience.worker);
        if (!answer) {
            part->silent = part->all = true;
            continue;
        }
        answered = true;
        part->rows.assign(
            std::make_move_iterator(answer->rows.begin()),
            std::make_move_iterator(answer->rows.end()));
        part->all = !answer->next;
        part->from = answer->next.value_or(part->from);
    }
    QueueCursor cursor;
    cursor.began_ms = request->cursor.began_ms;
    for (std::size_t worker = 0; worker < parts.size(); ++worker) {
        if (parts[worker].silent) {
            cursor.silent.push_back(static_cast<std::uint32_t>(worker));
        }
    }
    json object = {{"silent_workers", cursor.silent}};
    if (const auto from = left_from(parts)) {
        cursor.from = *from;
        object["next"] = to_text(cursor);
    }
    return {
        200,
        "application/json",
        fmt::format("{{\"messages\":[{}],{}\n", messages, line_of(object).substr(1))};
}

AdminAnswer answer_queue_change(
    std::uint32_t workers,
    const AskWorker& ask,
    shard::QueueChange change,
    const QueueParameters& parameters,
    const QueuePatience& patience) {
    const auto request = read_queue_request(change, parameters, wall_ms());
    if (!request) {
        return wrong(request.error());
    }
    const base::Instant end = io::monotonic_time() + patience.answer;
    QueueAsk what = request->ask;
    std::uint64_t matched = 0;
    std::uint64_t changed = 0;
    json silent = json::array();
    std::uint32_t worker = request->cursor.worker;
    while (worker < workers && io::monotonic_time() < end) {
        const auto answer = ask_one(ask, worker, what, patience.worker);
        if (answer) {
            matched += answer->matched;
            changed += answer->changed;
        } else {
            silent.push_back(worker);
        }
        if (answer && answer->next) {
            what.from = *answer->next;
        } else {
            what.from = {};
            ++worker;
        }
    }
    json object = {{"matched", matched}, {"changed", changed}, {"silent_workers", silent}};
    if (worker < workers) {
        object["next"] = to_text(QueueCursor{request->cursor.began_ms, worker, what.from, {}});
    }
    return {200, "application/json", line_of(object) + "\n"};
}

}  // namespace postern::app

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/result.h"
#include "postern/shard/queue_view.h"

/// What `postern queue` asks the running Postern for, as the query of an HTTP request, and how it
/// is read again. Pure.
namespace postern::app {

/// Which messages, as the command line says it. Empty: any.
struct QueueWords {
    std::vector<std::string> ids;
    std::string domain;
    std::string pool;
    std::string sender;
    std::string older_than;
    bool orphaned = false;
    bool held = false;

    bool mean_any() const {
        return ids.empty() && domain.empty() && pool.empty() && sender.empty() &&
               older_than.empty() && !orphaned && !held;
    }
};

/// More IDs are asked for in several requests.
constexpr std::size_t queue_ids_max = 100;

using QueueParameters = std::multimap<std::string, std::string>;

/// The words' filter; no message is meant that comes behind `now_ms`. The error names the word that
/// is wrong, and what is allowed.
base::Result<shard::QueueFilter> filter_of(const QueueWords& words, std::int64_t now_ms);

/// Where a long answer goes on. Opaque to who asked.
struct QueueCursor {
    std::int64_t began_ms = 0;  // what came later is not meant
    std::uint32_t worker = 0;   // of a change: those with a lower number are done
    journal::Id from;
    std::vector<std::uint32_t>
        silent;  // workers that stood still: a list does not wait for them again
};

std::string to_text(const QueueCursor& cursor);
std::optional<QueueCursor> cursor_from_text(std::string_view text);

/// One request, read.
struct QueueRequest {
    shard::QueueAsk ask;
    QueueCursor cursor;
};

/// The query, "id=...&domain=...", of a request for one piece; `cursor`: the answer's before it, or
/// empty. `all`, for changes: that no filter is meant. `rows_max` 0: as the server likes.
struct QueueQuery {
    QueueWords words{};
    std::string cursor{};
    std::uint32_t rows_max = 0;
    bool whole = false;
    bool notify = false;
    bool all = false;
};

std::string to_text(const QueueQuery& query);

/// Reads what to_text wrote, and what others did. A parameter that is not known, or is there twice,
/// is an error: it may be a filter that somebody relies on.
base::Result<QueueRequest> read_queue_request(
    shard::QueueChange change, const QueueParameters& parameters, std::int64_t now_ms);

}  // namespace postern::app

#include "queue_archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "postern/config/parse.h"
#include "postern/io/clock.h"
#include "postern/spool/segments.h"
#include "queue_printer.h"
#include "queue_rows.h"
#include "say.h"

namespace postern::app {
namespace {

std::int64_t wall_ms() {
    return base::to_ms(io::wall_time().time_since_epoch());
}

base::Result<shard::QueueFilter> filter_for_archive(const QueueCommand& command) {
    QueueWords words = command.words;
    if (!words.pool.empty() || words.orphaned) {
        return base::Error{
            "a spool does not say which pool a message waits for: --pool and --orphaned need a "
            "running Postern"};
    }
    const std::vector<std::string> ids = std::exchange(words.ids, {});
    base::Result<shard::QueueFilter> filter = filter_of(words, wall_ms());
    for (const std::string& id : ids) {  // there may be many
        QueueWords one;
        one.ids.push_back(id);
        const auto read = filter_of(one, 0);
        if (!read) {
            return read.error();
        }
        if (filter) {
            filter->ids.push_back(read->ids.front());
        }
    }
    if (filter) {
        std::sort(filter->ids.begin(), filter->ids.end());
        filter->ids.erase(std::unique(filter->ids.begin(), filter->ids.end()), filter->ids.end());
    }
    return filter;
}

/// True: some of it may be missing.
bool tell_findings(const spool::Archive& archive) {
    bool damaged = false;
    for (const journal::Finding& finding : archive.findings()) {
        if (finding.gravity != journal::Gravity::note) {
            damaged = true;
            complain(1, finding.text);
        }
    }
    return damaged;
}

// --- export --------------------------------------------------------------------------------------

base::Error cannot(const char* what, const std::string& path) {
    return {fmt::format("{} cannot be {}: {}", path, what, std::strerror(errno))};
}

/// A new file; none that is there is overwritten.
base::Result<void> write_file(const std::string& path, std::string_view content) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
        return cannot("made", path);
    }
    while (!content.empty()) {
        const ssize_t count = ::write(file, content.data(), content.size());
        if (count < 0 && errno != EINTR) {
            const base::Error error = cannot("written", path);
            ::close(file);
            ::unlink(path.c_str());  // half a message is worse than none
            return error;
        }
        content.remove_prefix(count > 0 ? static_cast<std::size_t>(count) : 0);
    }
    ::close(file);
    return {};
}

/// The message, and then its envelope: who finds that has both.
base::Result<void> export_message(
    const spool::Archive& archive, const spool::Kept& kept, const std::string& folder) {
    const base::Result<std::string> content = archive.content(kept);
    if (!content) {
        return content.error();
    }
    const std::string name = folder + "/" + journal::text_of(kept.id());
    if (base::Result<void> written = write_file(name + ".eml", *content); !written) {
        return written;
    }
    const shard::QueueRow row = shard::row_of(kept, true, std::numeric_limits<std::size_t>::max());
    return write_file(name + ".json", line_of(to_json(row, true, wall_ms())) + "\n");
}

base::Result<void> make_stable(const std::string& folder) {
    const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool stable = opened >= 0 && ::syncfs(opened) == 0;
    const base::Error error = stable ? base::Error{} : cannot("brought to stable storage", folder);
    if (opened >= 0) {
        ::close(opened);
    }
    return stable ? base::Result<void>() : error;
}

}  // namespace

std::optional<std::string> spool_folder_of(const std::string& config_file) {
    std::error_code unknown;
    if (!std::filesystem::exists(config_file, unknown)) {
        return std::nullopt;
    }
    const config::Parsed parsed = config::load(config_file, "localhost");
    if (parsed.config) {
        return parsed.config->spool.path.string();
    }
    return parsed.flawed ? std::optional(parsed.flawed->spool.path.string()) : std::nullopt;
}

int list_archive(
    const std::string& admin, const std::string& folder, const QueueCommand& command, bool whole) {
    const auto filter = filter_for_archive(command);
    if (!filter) {
        return complain(2, filter.error().text);
    }
    const base::Result<spool::Archive> archive = spool::Archive::open(folder);
    if (!archive) {
        return complain(
            2,
            fmt::format(
                "nobody answers at {}, and its spool is not read: {}",
                admin,
                archive.error().text));
    }
    say(stderr,
        "postern: nobody answers at {}: this is read from the spool {}, which no process has "
        "open\n",
        admin,
        folder);
    QueuePrinter printer(command.json, whole);
    bool more = false;
    for (const spool::Kept* const kept : archive->messages()) {
        if (!shard::matches(*filter, *kept)) {
            continue;
        }
        more = command.limit != 0 && printer.count() == command.limit;
        if (more) {
            break;
        }
        const std::size_t most = whole ? shard::whole_recipients_max : shard::listed_recipients_max;
        printer.print(to_json(shard::row_of(*kept, whole, most), whole, wall_ms()));
    }
    printer.end(more);
    int code = tell_findings(*archive) ? 1 : 0;
    if (!more && printer.count() < filter->ids.size()) {
        code = complain(
            1,
            fmt::format(
                "{} of {} IDs are not in it",
                filter->ids.size() - printer.count(),
                filter->ids.size()));
    }
    return code;
}

int queue_export(
    const std::string& config_file, const QueueCommand& command, const std::string& folder) {
    const auto filter = filter_for_archive(command);
    if (!filter) {
        return complain(2, filter.error().text);
    }
    const auto spool = spool_folder_of(config_file);
    if (!spool) {
        return complain(2, fmt::format("{} does not say where the spool is", config_file));
    }
    const base::Result<spool::Archive> archive = spool::Archive::open(*spool);
    if (!archive) {
        return complain(
            1,
            fmt::format(
                "{}; only a spool that no process has open is exported", archive.error().text));
    }
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
        return complain(1, cannot("made", folder).text);
    }
    std::uint64_t written = 0;
    std::uint64_t failed = 0;
    for (const spool::Kept* const kept : archive->messages()) {
        if (!shard::matches(*filter, *kept)) {
            continue;
        }
        if (const auto exported = export_message(*archive, *kept, folder); exported) {
            ++written;
        } else {
            ++failed;
            complain(1, exported.error().text);
        }
    }
    const bool damaged = tell_findings(*archive);
    if (const base::Result<void> stable = make_stable(folder); !stable) {
        return complain(1, stable.error().text);
    }
    say(stdout, "{} written to {}\n", messages_text(written), folder);
    if (failed != 0) {
        return complain(1, fmt::format("{} not", messages_text(failed)));
    }
    return damaged ? 1 : 0;
}

}  // namespace postern::app

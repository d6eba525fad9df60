#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>
#include <span>
#include <thread>

#include <fmt/format.h>

#include "ask.h"
#include "commands.h"
#include "postern/io/clock.h"
#include "queue_archive.h"
#include "queue_printer.h"
#include "queue_rows.h"
#include "say.h"

namespace postern::app {
namespace {

using nlohmann::json;

constexpr int refused = 1;
constexpr int nobody = 2;
constexpr std::uint64_t rows_at_a_time = 100;
constexpr int still_reading = 503;  // its spool
constexpr base::Duration ask_again_after = std::chrono::milliseconds(200);
constexpr base::Duration wait_in_silence = std::chrono::seconds(1);
constexpr base::Duration wait_max = std::chrono::minutes(10);

/// A piece of the answer.
struct Piece {
    int code = 0;                 // not 0: it was refused, or nobody answered; that is said already
    bool nobody_answers = false;  // that is not said yet
    json object;
};

/// A Postern that was just started is waited for until it knows all that is in its spool.
Reply ask_when_read(
    const config::Admin& admin, const std::string& method, const std::string& target) {
    const base::Instant began = io::monotonic_time();
    bool said = false;
    for (;;) {
        Reply reply = ask(admin, method, target);
        const base::Duration waited = io::monotonic_time() - began;
        if (reply.status != still_reading || waited >= wait_max) {
            return reply;
        }
        if (!said && waited >= wait_in_silence) {
            said = true;
            say(stderr,
                "postern: the spool is still being read after the start: that is waited for, up to "
                "{} min\n",
                std::chrono::duration_cast<std::chrono::minutes>(wait_max).count());
        }
        std::this_thread::sleep_for(ask_again_after);
    }
}

Piece ask_for_piece(
    const config::Admin& admin,
    const std::string& method,
    const std::string& path,
    const QueueQuery& query) {
    const Reply reply = ask_when_read(admin, method, path + "?" + to_text(query));
    if (reply.status == 0) {
        return {nobody, true, {}};
    }
    if (reply.status != 200) {
        return {print_reply(admin, reply), false, {}};
    }
    json object = json::parse(reply.body, nullptr, false);
    if (!object.is_object()) {
        return {
            complain(refused, fmt::format("what answers at {} is no Postern", name_of(admin))),
            false,
            {}};
    }
    return {0, false, std::move(object)};
}

/// Those of `command` in groups that one request may ask for; one without any where there are none.
std::vector<std::vector<std::string>> groups_of(const std::vector<std::string>& ids) {
    const std::set<std::string> sorted(ids.begin(), ids.end());
    std::vector<std::vector<std::string>> groups(1);
    for (const std::string& id : sorted) {
        if (groups.back().size() == queue_ids_max) {
            groups.emplace_back();
        }
        groups.back().push_back(id);
    }
    return groups;
}

/// What all pieces came to beside the messages.
struct Sum {
    std::set<std::uint64_t> silent;  // workers
    std::uint64_t meant = 0;
    bool cut = false;  // there is more than was asked for

    void add(const Piece& piece) {
        for (const json& worker : piece.object.value("silent_workers", json::array())) {
            silent.insert(worker.get<std::uint64_t>());
        }
    }

    /// The exit code; says what is missing.
    int end(const QueueCommand& command) const {
        int code = 0;
        for (const std::uint64_t worker : silent) {
            code = complain(
                refused,
                fmt::format(
                    "worker {} does not answer: its messages are not among these; /health says "
                    "more",
                    worker));
        }
        const std::set<std::string> ids(command.words.ids.begin(), command.words.ids.end());
        if (!cut && meant < ids.size()) {
            code = complain(
                refused,
                ids.size() == 1
                    ? *ids.begin() + " is not in the queue, or not what the filter means"
                    : fmt::format(
                          "{} of {} IDs are not in the queue, or not what the filter "
                          "means",
                          ids.size() - meant,
                          ids.size()));
        }
        return code;
    }
};

/// Asks for lists, prints them.
int list_live(const config::Admin& admin, const QueueCommand& command, bool whole, bool& answered) {
    QueuePrinter printer(command.json, whole);
    Sum sum;
    bool more = false;
    const auto full = [&] { return command.limit != 0 && printer.count() >= command.limit; };
    for (auto& ids : groups_of(command.words.ids)) {
        if (full()) {
            more = true;
            break;
        }
        QueueQuery query{.words = command.words, .whole = whole};
        query.words.ids = std::move(ids);
        do {
            query.rows_max = static_cast<std::uint32_t>(
                command.limit == 0 ? rows_at_a_time
                                   : std::min(rows_at_a_time, command.limit - printer.count()));
            const Piece piece = ask_for_piece(admin, "GET", "/queue", query);
            answered = answered || !piece.nobody_answers;
            if (piece.code != 0) {
                return piece.nobody_answers && answered ? print_reply(admin, {}) : piece.code;
            }
            for (const json& message : piece.object.value("messages", json::array())) {
                printer.print(message);
            }
            sum.add(piece);
            query.cursor = piece.object.value("next", std::string());
            more = !query.cursor.empty();
        } while (more && !full());
    }
    printer.end(more);
    sum.meant = printer.count();
    sum.cut = more;
    return sum.end(command);
}

int list_any(const std::string& config_file, const QueueCommand& command, bool whole) {
    const base::Result<config::Admin> admin = admin_of(command.admin, config_file);
    if (!admin) {
        return complain(nobody, admin.error().text);
    }
    bool answered = false;
    const int code = list_live(*admin, command, whole, answered);
    if (answered) {
        return code;
    }
    // Who names an address means what runs there.
    const auto folder = command.admin.empty() ? spool_folder_of(config_file) : std::nullopt;
    if (!folder) {
        return print_reply(*admin, {});
    }
    return list_archive(name_of(*admin), *folder, command, whole);
}

std::string done_text(shard::QueueChange change, std::uint64_t changed, bool notify) {
    const std::string messages = messages_text(changed);
    const bool one = changed == 1;
    switch (change) {
        case shard::QueueChange::none:
            break;
        case shard::QueueChange::retry:
            return messages + " will be tried as soon as the smart host takes mail";
        case shard::QueueChange::hold:
            return messages + (one ? " is held" : " are held");
        case shard::QueueChange::release:
            return messages + (one ? " is released" : " are released");
        case shard::QueueChange::remove:
            return fmt::format(
                "{} removed; {}",
                messages,
                notify ? "the senders are notified" : "the senders are not notified");
    }
    return messages;
}

std::string_view left_out_text(shard::QueueChange change) {
    switch (change) {
        case shard::QueueChange::none:
            break;
        case shard::QueueChange::retry:
            return "left out, for they are held: release them first";
        case shard::QueueChange::hold:
            return "were held already";
        case shard::QueueChange::release:
            return "were not held";
        case shard::QueueChange::remove:
            return "left out, for they also wait for recipients that the filter does not mean: "
                   "remove them by ID";
    }
    return "";
}

std::string_view name_of(shard::QueueChange change) {
    switch (change) {
        case shard::QueueChange::none:
            break;
        case shard::QueueChange::retry:
            return "retry";
        case shard::QueueChange::hold:
            return "hold";
        case shard::QueueChange::release:
            return "release";
        case shard::QueueChange::remove:
            return "remove";
    }
    return "";
}

void print_done(
    shard::QueueChange change,
    const QueueCommand& command,
    std::uint64_t changed,
    std::uint64_t left_out) {
    if (command.json) {
        say(stdout, "{}\n", line_of({{"changed", changed}, {"left_out", left_out}}));
        return;
    }
    say(stdout, "{}\n", done_text(change, changed, command.notify));
    if (left_out != 0) {
        say(stdout, "{} {}\n", left_out, left_out_text(change));
    }
}

}  // namespace

int queue_list(const std::string& config_file, const QueueCommand& command) {
    return list_any(config_file, command, false);
}

int queue_show(const std::string& config_file, const QueueCommand& command) {
    return list_any(config_file, command, true);
}

int queue_change(
    const std::string& config_file, shard::QueueChange change, const QueueCommand& command) {
    if (command.words.mean_any() && !command.all) {
        return complain(nobody, "no ID and no filter says which messages; --all means every one");
    }
    const base::Result<config::Admin> admin = admin_of(command.admin, config_file);
    if (!admin) {
        return complain(nobody, admin.error().text);
    }
    std::uint64_t changed = 0;
    Sum sum;
    bool answered = false;
    for (auto& ids : groups_of(command.words.ids)) {
        QueueQuery query{.words = command.words, .notify = command.notify, .all = command.all};
        query.words.ids = std::move(ids);
        do {
            const Piece piece =
                ask_for_piece(*admin, "POST", fmt::format("/queue/{}", name_of(change)), query);
            if (piece.code != 0) {
                if (answered) {
                    print_done(change, command, changed, sum.meant - changed);
                }
                return piece.nobody_answers
                           ? complain(
                                 nobody,
                                 fmt::format(
                                     "nobody answers at {}; mail is changed by the Postern that "
                                     "has its spool open, and by nobody else: start it first",
                                     app::name_of(*admin)))
                           : piece.code;
            }
            answered = true;
            sum.add(piece);
            sum.meant += piece.object.value("matched", std::uint64_t{0});
            changed += piece.object.value("changed", std::uint64_t{0});
            query.cursor = piece.object.value("next", std::string());
        } while (!query.cursor.empty());
    }
    print_done(change, command, changed, sum.meant - changed);
    return sum.end(command);
}

}  // namespace postern::app

#include <algorithm>
#include <cstdint>
#include <string>

#include "postern/base/assert.h"
#include "src/app/admin_pages.h"

namespace postern::app {
namespace {

constexpr std::string_view token = "s3cret";

/// What was asked for, since it was last set to 0.
int changes = 0;

/// As the server reads it; what it read can be said again, and its cursor goes on.
AdminAnswer answer_queue(shard::QueueChange change, const QueueParameters& parameters) {
    ++changes;
    constexpr std::int64_t now_ms = 1'700'000'000'000;
    const auto request = read_queue_request(change, parameters, now_ms);
    if (!request) {
        POSTERN_ASSERT(!request.error().text.empty(), "what is refused is refused for a reason");
        return {400, "text/plain", "refused\n"};  // check_answer would find what it repeats
    }
    const bool filtered = std::any_of(parameters.begin(), parameters.end(), [](const auto& each) {
        const bool flag = each.first == "all" || each.first == "held" || each.first == "orphaned";
        return flag ? each.second == "1" : each.first != "notify" && each.first != "cursor";
    });
    POSTERN_ASSERT(
        change == shard::QueueChange::none || filtered, "no change of everything goes unsaid");
    POSTERN_ASSERT(request->ask.rows_max <= 500, "an answer has a bound");
    POSTERN_ASSERT(request->ask.filter.ids.size() <= queue_ids_max, "a request has a bound");
    const auto cursor = cursor_from_text(to_text(request->cursor));
    POSTERN_ASSERT(cursor && cursor->from == request->ask.from, "a cursor goes on where it was");
    return {200, "application/json", "{}\n"};
}

AdminPages pages_at(bool tcp, bool with_token) {
    config::AdminAddress admin;
    if (tcp) {
        admin.endpoint = {"127.0.0.1", 8025, true};
    } else {
        admin.socket = "/run/admin.sock";
    }
    const auto page = [] { return AdminAnswer{200, "text/plain", "page\n"}; };
    return AdminPages(
        admin,
        {page,
         page,
         page,
         [](const auto&, const auto&, bool) {
             ++changes;
             return AdminAnswer{200, "text/plain", "route\n"};
         },
         [](bool, bool) {
             ++changes;
             return AdminAnswer{200, "text/plain", "reloaded\n"};
         },
         answer_queue,
         [with_token] { return std::string(with_token ? token : ""); }});
}

/// One answer, whole: a status line, headers, and as many octets behind them as they say; or none.
/// A request may have been answered `100` before.
void check_answer(std::string_view answer) {
    while (!answer.empty()) {
        POSTERN_ASSERT(answer.starts_with("HTTP/1."), "an answer begins with a status line");
        const std::size_t end = answer.find("\r\n\r\n");
        POSTERN_ASSERT(end != std::string_view::npos, "an answer's headers end");
        answer.remove_prefix(end + 4);
        if (answer.find("HTTP/1.") == std::string_view::npos) {
            return;
        }
    }
}

}  // namespace
}  // namespace postern::app

/// Whatever is sent to the admin address: where the request ends is known from no more than it, and
/// does not change with what follows; nobody without the token does more than read three pages; and
/// an answer is one. The first octet chooses the address and the token.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::app;
    if (size < 1) {
        return 0;
    }
    static const AdminPages all[] = {
        pages_at(true, false), pages_at(true, true), pages_at(false, false)};
    const std::size_t choice = data[0] % 3;
    const std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);

    const auto octets = admin_request_octets(input);
    POSTERN_ASSERT(!octets || *octets <= admin_request_octets_max, "a request has a bound");
    for (std::size_t begun = 0; begun < input.size(); begun += 1 + begun / 16) {
        const auto sooner = admin_request_octets(std::string_view(input).substr(0, begun));
        POSTERN_ASSERT(!sooner || sooner == octets, "what follows changes no request's end");
    }
    const std::string request = octets ? input.substr(0, *octets) : input;
    changes = 0;
    check_answer(all[choice].answer(request));
    const bool permitted = choice == 2 || (choice == 1 && request.find(token) != std::string::npos);
    POSTERN_ASSERT(changes == 0 || permitted, "nobody without the token changes anything");
    POSTERN_ASSERT(changes <= 1, "a request is one");
    return 0;
}

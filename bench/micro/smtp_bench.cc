// Micro benchmarks of the sender's side: command lines through the whole session, and the scan of
// bodies.
//
// usage: bench-smtp [--benchmark_filter=REGEX ...]
//
// Names: command/transaction is MAIL, RCPT and RSET with their answers; command/KIND one command.
// scan/KIND is find_odd_octet over 64 KiB, body/KIND the scanner and the header's watcher as the
// session uses them (header: all of it is one), message/OCTETS the session with a whole message.
// Counters: allocations, a round; bytes_per_second, items_per_second (commands).

#include <benchmark/benchmark.h>

#include <array>
#include <string>

#include "postern/base/assert.h"
#include "postern/smtp/body_scanner.h"
#include "postern/smtp/header_watcher.h"
#include "postern/smtp/server_session.h"
#include "spent.h"

namespace {

using namespace postern::smtp;
using postern::bench::Spent;

const ServerSettings settings{
    .hostname = "gw.example.net",
    .limits = {.message_size_max = std::uint64_t{1} << 40, .recipients_max = 1000},
    .hidden = 0,
    .reject_bare_newline = false,
    .errors_max = 0,
    .received_max = 100};

/// Steps a session through `input`, saying yes to everything. Returns the octets of content.
std::size_t run(ServerSession& session, std::string_view input, std::span<char> block) {
    std::size_t octets = 0;
    Exchange exchange;
    exchange.input = input;
    exchange.output = block;
    for (;;) {
        switch (session.step(exchange)) {
            case Wish::input:
                return octets;
            case Wish::room:
                exchange.output = block;
                break;
            case Wish::begin:
            case Wish::recipient:
            case Wish::body:
                session.accept(exchange);
                break;
            case Wish::append:
                octets += exchange.piece.run.size();
                break;
            case Wish::submit:
                session.answer(exchange, {250, {2, 0, 0}, "queued"});
                break;
            case Wish::start_tls:
            case Wish::check_password:  // not asked: the sessions here have no passwords
            case Wish::abandon:
            case Wish::refused:
            case Wish::hostile_end:
            case Wish::introduced:
                break;
            case Wish::close:
                POSTERN_ASSERT(false, "a session that is benchmarked goes on");
        }
    }
}

void commands(benchmark::State& state, std::string_view text, std::int64_t count) {
    ServerSession session(settings);
    std::array<char, 16384> block;
    run(session, "EHLO client.example.org\r\n", block);
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        run(session, text, block);
    }
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
    state.SetItemsProcessed(state.iterations() * count);
}

/// Lines as mail has them; every 50th begins with a (stuffed) dot if `dots`.
std::string lines(std::size_t octets, bool dots) {
    std::string text;
    for (int i = 1; text.size() < octets; ++i) {
        text += (dots && i % 50 == 0 ? ".." : "") +
                std::string(static_cast<std::size_t>(40 + i * 7 % 37), 'x') + "\r\n";
    }
    text.resize(octets - 2);
    return text + "\r\n";
}

constexpr std::size_t buffer_octets = 65536;

void scan(benchmark::State& state, OddOctet (*find)(std::string_view, bool)) {
    const std::string text = lines(buffer_octets, false);
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        benchmark::DoNotOptimize(find(text, true));
    }
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

void body(benchmark::State& state, bool dots, bool header_ends) {
    const std::string text = (header_ends ? "\r\n" : "") + lines(buffer_octets, dots);
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        BodyScanner scanner;
        HeaderWatcher header;
        scanner.begin(true);
        for (std::string_view left = text; !left.empty();) {
            header.watch(scanner.next(left).run, "gw.example.net");
        }
        benchmark::DoNotOptimize(header.received_count());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
}

/// A whole message: commands, a header with two Received: lines, text.
void message(benchmark::State& state, std::size_t octets) {
    const std::string header =
        "Received: from a.example (a.example [192.0.2.1]) by b.example with ESMTP id 1\r\n\tfor "
        "<b@example.com>;"
        " Sun, 22 Nov 2026 09:00:00 +0000\r\nReceived: from c.example by a.example; Sun, 22 Nov "
        "2026 08:59:59 +0000\r\n"
        "From: a@example.org\r\nTo: b@example.com\r\nSubject: a message\r\n\r\n";
    const std::string text =
        "MAIL FROM:<a@example.org> SIZE=4096\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + header +
        lines(octets - header.size(), false) + ".\r\n";
    ServerSession session(settings);
    std::array<char, 16384> block;
    run(session, "EHLO client.example.org\r\n", block);
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        POSTERN_ASSERT(run(session, text, block) == octets, "the content is whole");
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
}

constexpr auto counted = postern::bench::when_counted<1000>;

}  // namespace

BENCHMARK_CAPTURE(
    commands,
    transaction,
    "MAIL FROM:<sender@example.org> SIZE=4096 BODY=8BITMIME\r\nRCPT "
    "TO:<recipient@example.com>\r\nRSET\r\n",
    3)
    ->Name("command/transaction")
    ->Apply(counted);
BENCHMARK_CAPTURE(commands, noop, "NOOP\r\n", 1)->Name("command/noop")->Apply(counted);
BENCHMARK_CAPTURE(commands, ehlo, "EHLO client.example.org\r\n", 1)
    ->Name("command/ehlo")
    ->Apply(counted);
BENCHMARK_CAPTURE(commands, unknown, "FOO bar\r\n", 1)->Name("command/unknown")->Apply(counted);
BENCHMARK_CAPTURE(scan, sse2, find_odd_octet_sse2)->Name("scan/sse2")->Apply(counted);
BENCHMARK_CAPTURE(scan, avx2, find_odd_octet_avx2)->Name("scan/avx2")->Apply(counted);
BENCHMARK_CAPTURE(body, plain, false, true)->Name("body/plain")->Apply(counted);
BENCHMARK_CAPTURE(body, dots, true, true)->Name("body/dots")->Apply(counted);
BENCHMARK_CAPTURE(body, header, false, false)->Name("body/header")->Apply(counted);
BENCHMARK_CAPTURE(message, 4096, 4096)->Name("message/4096")->Apply(counted);
BENCHMARK_CAPTURE(message, 65536, 65536)->Name("message/65536")->Apply(counted);

BENCHMARK_MAIN();

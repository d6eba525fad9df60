// Micro benchmarks of what a smart host's answers cost: a reply parsed, one made ready for a
// sender, and a whole message through a client session (commands and body laid out, three or four
// answers taken), by DATA and by BDAT.
//
// usage: bench-reply [--benchmark_filter=REGEX ...]
//
// Counters: allocations, for each reply or message; it is to be 0.

#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <string>

#include "postern/smtp/client_session.h"
#include "spent.h"

namespace {

using namespace postern;
using bench::Spent;

constexpr auto counted = bench::when_counted<1000>;

constexpr std::string_view reply_one = "250 2.0.0 Ok: queued as 4ABC5D1F2E3\r\n";
constexpr std::string_view reply_ehlo =
    "250-mx1.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-ETRN\r\n250-STARTTLS\r\n"
    "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n";

void parse(benchmark::State& state, std::string_view bytes) {
    smtp::ReplyParser parser;
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        benchmark::DoNotOptimize(bytes);
        benchmark::DoNotOptimize(parser.parse(bytes));
    }
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
}

void for_sender(benchmark::State& state) {
    smtp::ReplyParser parser;
    std::array<char, smtp::sender_text_octets> room;
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        const auto result = parser.parse(reply_one);
        benchmark::DoNotOptimize(smtp::reply_for_sender(result.reply, false, room));
    }
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
}

// Hands the session the same message again and again.
class Owner final : public smtp::ClientOwner {
   public:
    smtp::Transfer* next() override { return free_ ? (free_ = false, &transfer) : nullptr; }

    bool sender_gone(smtp::Transfer&) override { return false; }

    void held(smtp::Transfer&) override {}

    void settled(smtp::Transfer&, const smtp::Verdict& verdict) override {
        accepted += verdict.kind == smtp::Verdict::Kind::accepted ? 1 : 0;
    }

    void released(smtp::Transfer&) override { free_ = true; }

    smtp::Transfer transfer;
    std::int64_t accepted = 0;

   private:
    bool free_ = true;
};

void message(benchmark::State& state, bool chunking) {
    base::BlockPool arena_pool(4096, 16);
    base::BlockPool tail_pool(65536, 16);
    base::BlockPool chain_pool(4096, 16);
    base::BlockPool partial_pool(16384, 2);
    mail::Submission submission(arena_pool, tail_pool, chain_pool);
    submission.envelope.reverse_path = "sender@example.net";
    auto* recipient = submission.arena.make<mail::Recipient>();
    recipient->address = "recipient@example.com";
    submission.envelope.add(*recipient);
    std::string content = "Received: from here\r\n\r\n";
    while (content.size() < 4096) {
        content += "A line of a message as there are many.\r\n";
    }
    if (!submission.body.append_copy(content, true, false)) {
        state.SkipWithError("no memory for a body");
        return;
    }

    smtp::ClientSettings settings;
    settings.helo = "gw.example.net";
    smtp::Pace pace;
    Owner owner;
    owner.transfer.submission = &submission;
    smtp::ClientSession session(settings, pace, owner, partial_pool);
    std::array<iovec, 64> pieces;
    std::array<char, 8192> room;
    base::Instant now{std::chrono::hours(1)};
    const auto write = [&] {
        smtp::Output output(pieces, room);
        session.write(output, now);
        benchmark::DoNotOptimize(output.pieces().data());
        if (!output.empty()) {
            session.sent(now);
        }
    };
    session.received("220 host\r\n", now);
    write();
    session.received(chunking ? reply_ehlo : "250-host\r\n250 PIPELINING\r\n", now);
    const std::string_view reset = "250 2.0.0 Ok\r\n";
    const std::string_view answers =
        chunking ? "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.0.0 Ok: queued as 4ABC5D1F2E3\r\n"
                 : "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n";
    bool first = true;
    Spent spent;
    spent.begin();
    for (auto _ : state) {
        now += std::chrono::microseconds(100);
        write();
        if (!std::exchange(first, false)) {
            session.received(reset, now);
        }
        session.received(answers, now);
        if (!chunking) {
            write();
            session.received(reply_one, now);
        }
    }
    spent.end();
    spent.report(state, static_cast<double>(state.iterations()));
    if (owner.accepted != state.iterations()) {
        state.SkipWithError("a message was not accepted");
    }
    session.ended();
}

BENCHMARK_CAPTURE(parse, one_line, reply_one)->Apply(counted);
BENCHMARK_CAPTURE(parse, ehlo, reply_ehlo)->Apply(counted);
BENCHMARK(for_sender)->Apply(counted);
BENCHMARK_CAPTURE(message, data, false)->Apply(counted);
BENCHMARK_CAPTURE(message, bdat, true)->Apply(counted);

}  // namespace

BENCHMARK_MAIN();

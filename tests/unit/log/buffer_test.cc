#include "postern/log/buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace postern::log {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t ring_size = 65536;
const base::WallTime noon =
    std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + 12h + 34min + 56s + 7ms;

/// All that waits in the buffer, taken out.
std::string taken(Buffer& buffer) {
    const Buffer::Pending pending = buffer.pending();
    const std::string text = std::string(pending.first) + std::string(pending.second);
    buffer.consume(pending.size());
    return text;
}

TEST(Line, HasItsFieldsInOrder) {
    Buffer json(Format::json, ring_size, -1);
    Buffer text(Format::text, ring_size, -1);
    for (Buffer* buffer : {&json, &text}) {
        buffer->line(noon, "delivered")
            .text(Field::id, "abc")
            .text(Field::client, "192.0.2.1")
            .text(Field::helo, "a b")
            .text(Field::from, "")
            .text(Field::to, "x@example.com")
            .text(Field::to, "y,z@example.com")
            .number(Field::generation, 7)
            .text(Field::reply, "250 2.0.0 \"ok\"\nqueued")
            .number(Field::ms, 18446744073709551615U)
            .commit();
    }
    EXPECT_EQ(
        taken(json),
        R"({"time":"2026-11-22T12:34:56.007Z","event":"delivered","id":"abc","client":"192.0.2.1","helo":"a b","from":"",)"
        R"("to":["x@example.com","y,z@example.com"],"generation":7,"reply":"250 2.0.0 \"ok\"\u000aqueued",)"
        R"("ms":18446744073709551615})"
        "\n");
    EXPECT_EQ(
        taken(text),
        "2026-11-22T12:34:56.007Z event=delivered id=abc client=192.0.2.1 helo=a\\x20b from= "
        "to=x@example.com,y\\x2cz@example.com generation=7 "
        "reply=250\\x202.0.0\\x20\\x22ok\\x22\\x0aqueued "
        "ms=18446744073709551615\n");
}

TEST(Line, ToMayComeLast) {
    Buffer json(Format::json, ring_size, -1);
    json.line(noon, "refused").text(Field::to, "x").commit();
    EXPECT_EQ(
        taken(json),
        "{\"time\":\"2026-11-22T12:34:56.007Z\",\"event\":\"refused\",\"to\":[\"x\"]}\n");
}

TEST(Line, AnEventOfTwoWordsIsOneValue) {
    Buffer text(Format::text, ring_size, -1);
    text.line(noon, "host trouble").commit();
    EXPECT_EQ(taken(text), "2026-11-22T12:34:56.007Z event=host\\x20trouble\n");
}

TEST(Line, TimeMovesBySecondsAndMilliseconds) {
    Buffer buffer(Format::text, ring_size, -1);
    for (const base::WallTime time :
         {noon,
          noon + 999ms,
          noon + 999999us,
          noon,
          base::WallTime(0s),
          base::WallTime(951782399s + 1999ms)}) {
        buffer.line(time, "x").commit();
    }
    EXPECT_EQ(
        taken(buffer),
        "2026-11-22T12:34:56.007Z event=x\n2026-11-22T12:34:57.006Z "
        "event=x\n2026-11-22T12:34:57.006Z event=x\n"
        "2026-11-22T12:34:56.007Z event=x\n1970-01-01T00:00:00.000Z "
        "event=x\n2000-02-29T00:00:00.999Z event=x\n");
}

TEST(LineDeathTest, FieldsOutOfOrderAreABug) {
    Buffer buffer(Format::json, ring_size, -1);
    EXPECT_DEATH(
        buffer.line(noon, "x").text(Field::to, "a").text(Field::from, "b"), "in their order");
    EXPECT_DEATH(
        buffer.line(noon, "x").text(Field::to, "a").number(Field::ms, 1).text(Field::to, "b"),
        "in their order");
}

TEST(Line, IsBoundedWhateverPeersSay) {
    Buffer buffer(Format::json, ring_size, -1);
    const std::string endless(100000, '\x01');
    Line line = buffer.line(noon, "x");
    for (const Field field :
         {Field::id, Field::listener, Field::client, Field::helo, Field::from}) {
        line.text(field, endless);
    }
    for (int i = 0; i < 100; ++i) {
        line.text(Field::to, endless);
    }
    for (const Field field : {Field::rule, Field::pool, Field::host, Field::reply}) {
        line.text(field, endless);
    }
    line.number(Field::ms, 5).commit();
    const std::string text = taken(buffer);
    ASSERT_FALSE(text.empty());
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    ASSERT_FALSE(parsed.is_discarded());
    EXPECT_EQ(parsed["ms"], 5);
    EXPECT_TRUE(parsed["reply"].get<std::string>().ends_with("..."));
    EXPECT_EQ(parsed["to"].back(), "...");
    EXPECT_GT(parsed["to"].size(), 8U);
}

TEST(Line, ManyRecipientsStandInOneLine) {
    Buffer buffer(Format::json, ring_size, -1);
    Line line = buffer.line(noon, "x");
    for (int i = 0; i < 700; ++i) {
        line.text(Field::to, "recipient" + std::to_string(i) + "@example.com");
    }
    line.commit();
    const auto parsed = nlohmann::json::parse(taken(buffer));
    ASSERT_EQ(parsed["to"].size(), 700U);
    EXPECT_EQ(parsed["to"][699], "recipient699@example.com");
}

TEST(Buffer, DropsWhatFindsNoRoomAndSaysHowMany) {
    Buffer buffer(Format::text, ring_size, -1);
    const std::string filler(1000, 'x');
    std::size_t kept = 0;
    while (buffer.dropped() == 0) {
        buffer.line(noon, "full").text(Field::id, filler).commit();
        ++kept;
    }
    --kept;
    buffer.line(noon, "full").text(Field::id, filler).commit();
    EXPECT_EQ(buffer.dropped(), 2U);
    std::string text = taken(buffer);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), static_cast<std::ptrdiff_t>(kept));
    buffer.line(noon, "again").commit();
    buffer.line(noon, "again").commit();
    EXPECT_EQ(
        taken(buffer),
        "2026-11-22T12:34:56.007Z event=dropped count=2\n2026-11-22T12:34:56.007Z event=again\n"
        "2026-11-22T12:34:56.007Z event=again\n");
}

TEST(Buffer, WakesTheLogThreadOnceAtHalfFull) {
    const int wake = eventfd(0, EFD_NONBLOCK);
    Buffer buffer(Format::text, ring_size, wake);
    eventfd_t count = 0;
    for (int round = 0; round < 3; ++round) {
        while (buffer.pending().size() <= ring_size / 2) {
            EXPECT_EQ(eventfd_read(wake, &count), -1);
            buffer.line(noon, "x").commit();
        }
        EXPECT_EQ(eventfd_read(wake, &count), 0);
        EXPECT_EQ(count, 1U);
        for (int i = 0; i < 100; ++i) {
            buffer.line(noon, "x").commit();
        }
        EXPECT_EQ(eventfd_read(wake, &count), -1);
        taken(buffer);
        buffer.line(noon, "x").commit();
        taken(buffer);
    }
    close(wake);
}

/// Lines go in and pieces of any size come out: what comes out is what went in, but for whole lines
/// that were dropped.
TEST(Buffer, KeepsOrderAndWholeLinesAroundItsEnd) {
    for (unsigned seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        Buffer buffer(Format::text, ring_size, -1);
        std::string out;
        unsigned next = 0;
        for (int step = 0; step < 2000; ++step) {
            if (random() % 3 != 0) {
                for (auto burst = random() % 8; burst > 0; --burst) {
                    buffer.line(noon, "x")
                        .number(Field::generation, next++)
                        .text(Field::reply, std::string(random() % 1500, 'y'))
                        .commit();
                }
            } else {
                const Buffer::Pending pending = buffer.pending();
                const std::string text = std::string(pending.first) + std::string(pending.second);
                const std::size_t size = text.empty() ? 0 : random() % (text.size() + 1);
                out.append(text, 0, size);
                buffer.consume(size);
            }
        }
        out += taken(buffer);
        buffer.line(noon, "end").commit();  // tells of what was dropped last
        out += taken(buffer);
        std::uint64_t lines = 0;
        std::uint64_t dropped = 0;
        std::uint64_t expected = 0;
        for (std::size_t begin = 0; begin < out.size();) {
            const std::size_t end = out.find('\n', begin);
            ASSERT_NE(end, std::string::npos);
            const std::string line = out.substr(begin, end - begin);
            begin = end + 1;
            ASSERT_TRUE(line.starts_with("2026-11-22T12:34:56.007Z event=")) << line;
            const std::string rest = line.substr(31);
            if (rest.starts_with("dropped count=")) {
                dropped += std::stoull(rest.substr(14));
            } else if (rest.starts_with("x generation=")) {
                const std::uint64_t number = std::stoull(rest.substr(13));
                ASSERT_GE(number, expected);
                expected = number + 1;
                ++lines;
            } else {
                ASSERT_EQ(rest, "end");
            }
        }
        EXPECT_EQ(lines + dropped, next);
        EXPECT_EQ(dropped, buffer.dropped());
    }
}

}  // namespace
}  // namespace postern::log

#include "postern/metrics/recorder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace postern::metrics {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> lines_of(const Recorder& recorder) {
    char* text = nullptr;
    std::size_t size = 0;
    std::FILE* const out = open_memstream(&text, &size);
    recorder.print(out);
    std::fclose(out);
    std::istringstream in(std::string(text, size));
    std::free(text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

TEST(Recorder, PrintsWhatHappenedInItsOrder) {
    Recorder recorder;
    EXPECT_TRUE(lines_of(recorder).empty());
    recorder.note(base::Instant(1s + 5us), Event::connected, 0, "192.0.2.1");
    recorder.note(base::Instant(2s), Event::refused, 550, "RCPT");
    EXPECT_EQ(
        lines_of(recorder),
        (std::vector<std::string>{
            "  1.000005 connected 0 192.0.2.1", "  2.000000 refused 550 RCPT"}));
}

TEST(Recorder, KeepsTheLast) {
    Recorder recorder;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        recorder.note(base::Instant(1s), Event::submitted, i, "x");
    }
    const std::vector<std::string> lines = lines_of(recorder);
    ASSERT_EQ(lines.size(), Recorder::events_max - 1);  // the oldest might be going just now
    EXPECT_EQ(lines.back(), "  1.000000 submitted 999 x");
    EXPECT_EQ(lines.front(), "  1.000000 submitted " + std::to_string(1000 - lines.size()) + " x");
}

TEST(Recorder, CutsTextsAndPrintsNoOctetOfAPeerThatIsNotPrintable) {
    Recorder recorder;
    recorder.note(base::Instant(1s), Event::trouble, 0, "a\nb\x1b\xff");
    recorder.note(base::Instant(1s), Event::trouble, 0, std::string(100, 'x'));
    EXPECT_EQ(
        lines_of(recorder),
        (std::vector<std::string>{
            "  1.000000 trouble 0 a?b??",
            "  1.000000 trouble 0 " + std::string(Recorder::text_max, 'x')}));
}

TEST(Recorder, NeverPrintsHalfAnEvent) {
    Recorder recorder;
    std::atomic<bool> done{false};
    std::thread worker([&] {
        for (std::uint64_t i = 0; i < 200'000; ++i) {
            const char letter = static_cast<char>('a' + i % 26);
            recorder.note(base::Instant(1s), Event::began, i % 26, std::string(32, letter));
        }
        done = true;
    });
    while (!done) {
        for (const std::string& line : lines_of(recorder)) {
            std::istringstream words(line);
            std::string time, event, text;
            std::size_t number = 0;
            words >> time >> event >> number >> text;
            ASSERT_EQ(text, std::string(32, static_cast<char>('a' + number))) << line;
        }
    }
    worker.join();
}

}  // namespace
}  // namespace postern::metrics

#include "postern/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace postern::log {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const base::WallTime noon = std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + 12h;

class LogFile : public ::testing::Test {
   protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "postern-log-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        options_.format = Format::text;
        options_.output = Options::Output::file;
        options_.path = folder_ / "log";
        options_.buffer_size = 65536;
    }

    void TearDown() override { fs::remove_all(folder_); }

    static std::string content(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    /// Until `path` holds `lines` lines, at most ten seconds.
    static bool wait_for_lines(const fs::path& path, std::ptrdiff_t lines) {
        for (int i = 0; i < 1000; ++i) {
            const std::string text = content(path);
            if (std::count(text.begin(), text.end(), '\n') >= lines) {
                return true;
            }
            usleep(10000);
        }
        return false;
    }

    fs::path folder_;
    Options options_;
};

TEST_F(LogFile, LinesAppearByThemselvesAndAtTheEnd) {
    auto log = Log::open(options_, 2);
    ASSERT_TRUE(log);
    (*log)->buffer(0).line(noon, "first").commit();
    EXPECT_TRUE(wait_for_lines(options_.path, 1));
    (*log)->buffer(1).line(noon, "last").commit();
    log->reset();
    EXPECT_EQ(
        content(options_.path),
        "2026-11-22T12:00:00.000Z event=first\n2026-11-22T12:00:00.000Z event=last\n");
}

TEST_F(LogFile, IsAppendedToAndOpenedAgainAfterARotation) {
    std::ofstream(options_.path) << "old\n";
    auto log = Log::open(options_, 1);
    ASSERT_TRUE(log);
    Buffer& buffer = (*log)->buffer(0);
    buffer.line(noon, "before").commit();
    ASSERT_TRUE(wait_for_lines(options_.path, 2));
    fs::rename(options_.path, folder_ / "log.1");
    ASSERT_TRUE((*log)->reopen());
    // The log thread changes over in its own time: the new file is there at once, lines come to it
    // from some moment on.
    while (content(options_.path).empty()) {
        buffer.line(noon, "after").commit();
        usleep(1000);
    }
    log->reset();
    const std::string old_text = content(folder_ / "log.1");
    EXPECT_TRUE(old_text.starts_with("old\n2026-11-22T12:00:00.000Z event=before\n"));
    EXPECT_TRUE(content(options_.path).ends_with("event=after\n"));
}

TEST_F(LogFile, AnOutputThatCanNotBeOpenedIsNamed) {
    options_.path = folder_ / "none/log";
    const auto log = Log::open(options_, 1);
    ASSERT_FALSE(log);
    EXPECT_EQ(
        log.error().text,
        "the log file " + options_.path +
            " can not be opened: No such file or directory; set log.output to stderr, stdout or a "
            "file that can be written");
}

TEST_F(LogFile, AFailedReopenKeepsTheOldFile) {
    auto log = Log::open(options_, 1);
    ASSERT_TRUE(log);
    fs::rename(folder_, folder_.string() + "-moved");
    EXPECT_FALSE((*log)->reopen());
    (*log)->buffer(0).line(noon, "still").commit();
    log->reset();
    EXPECT_EQ(content(folder_.string() + "-moved/log"), "2026-11-22T12:00:00.000Z event=still\n");
    fs::rename(folder_.string() + "-moved", folder_);
}

TEST_F(LogFile, AFullDiskDropsLinesAndNotTraffic) {
    options_.path = "/dev/full";
    auto log = Log::open(options_, 1);
    ASSERT_TRUE(log);
    Buffer& buffer = (*log)->buffer(0);
    for (int i = 0; i < 5000; ++i) {
        buffer.line(noon, "x").text(Field::reply, "a line of some length").commit();
    }
    EXPECT_GT(buffer.dropped(), 0U);
    log->reset();  // and stopping does not wait for the disk
}

TEST_F(LogFile, ManyWorkersLinesStayWholeAndInOrder) {
    constexpr std::size_t workers = 3;
    constexpr unsigned lines = 20000;
    auto log = Log::open(options_, workers);
    ASSERT_TRUE(log);
    std::vector<std::thread> threads;
    for (std::size_t worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&log, worker] {
            Buffer& buffer = (*log)->buffer(worker);
            for (unsigned i = 0; i < lines; ++i) {
                buffer.line(noon, "x")
                    .number(Field::rule, worker)
                    .number(Field::generation, i)
                    .commit();
                if (i % 1000 == 0) {
                    usleep(1000);
                }
            }
        });
    }
    ASSERT_TRUE((*log)->reopen());
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::uint64_t dropped = 0;
    for (std::size_t worker = 0; worker < workers; ++worker) {
        dropped += (*log)->buffer(worker).dropped();
    }
    log->reset();
    std::map<std::uint64_t, std::uint64_t> next;
    std::uint64_t seen = 0;
    std::istringstream text(content(options_.path));
    for (std::string line; std::getline(text, line);) {
        unsigned long long rule = 0;
        unsigned long long generation = 0;
        if (std::sscanf(
                line.c_str(),
                "2026-11-22T12:00:00.000Z event=x rule=%llu generation=%llu",
                &rule,
                &generation) == 2) {
            EXPECT_GE(generation, next[rule]);
            next[rule] = generation + 1;
            ++seen;
        } else {
            EXPECT_TRUE(line.starts_with("2026-11-22T12:00:00.000Z event=dropped count=")) << line;
        }
    }
    EXPECT_EQ(seen + dropped, workers * lines);
}

}  // namespace
}  // namespace postern::log

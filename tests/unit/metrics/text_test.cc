#include "postern/metrics/text.h"

#include <gtest/gtest.h>

#include <array>
#include <regex>
#include <sstream>

namespace postern::metrics {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> lines_with(const std::string& text, const std::string& start) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(start)) {
            lines.push_back(line);
        }
    }
    return lines;
}

using Lines = std::vector<std::string>;

TEST(Text, EveryLineHasTheFormat) {
    Registry registry(2);
    registry.worker(0).listener("0.0.0.0:25").count<Metric::listener_connections>();
    registry.worker(1).host("a", "[2001:db8::1]:25", false).count<Metric::host_trouble>();
    const std::regex sample(
        R"re(postern_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9]+(\.[0-9]+)?)re");
    const std::string text = to_text(registry);
    ASSERT_TRUE(text.ends_with('\n'));
    std::istringstream in(text);
    std::string family;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("# HELP ")) {
            family = line.substr(7, line.find(' ', 7) - 7);
            std::string type;
            ASSERT_TRUE(std::getline(in, type));
            EXPECT_TRUE(type.starts_with("# TYPE " + family + " ")) << type;
        } else {
            EXPECT_TRUE(std::regex_match(line, sample)) << line;
            EXPECT_TRUE(line.starts_with(family)) << line << " stands below " << family;
        }
    }
    for (const Row& row : table) {
        EXPECT_EQ(lines_with(text, "# HELP " + std::string(row.name) + " ").size(), 1U);
    }
}

TEST(Text, CertificatesOfNowHaveTheirEnd) {
    const Registry registry(1);
    const std::array expiries{
        CertificateExpiry{"/etc/a.pem", base::WallTime(1'800'000'000s)},
        CertificateExpiry{"b \"x\".pem", base::WallTime(-5s)}};
    const std::string name = "postern_certificate_expiry_timestamp_seconds";
    EXPECT_EQ(
        lines_with(to_text(registry, expiries), name),
        (Lines{
            name + "{certificate=\"/etc/a.pem\"} 1800000000",
            name + "{certificate=\"b \\\"x\\\".pem\"} 0"}));
    EXPECT_EQ(lines_with(to_text(registry), name), Lines{});
}

TEST(Text, WorkersAreAddedUp) {
    Registry registry(2);
    for (std::uint32_t worker : {0U, 1U}) {
        Series& host = registry.worker(worker).host("a", "192.0.2.1:25", false);
        host.count<Metric::host_messages>(ReplyClass::positive);
        registry.worker(worker).own().set<Metric::turns>(worker + 5);
        registry.worker(worker).own().set<Metric::memory>(100, Holder::bodies);
    }
    // Opened by one, closed by the other: never so, but the sum would be right.
    registry.worker(0).host("a", "192.0.2.1:25", false).count<Metric::host_connections_open>();
    registry.worker(1).host("a", "192.0.2.1:25", false).add<Metric::host_connections_open>(-1);
    registry.control().own().set<Metric::memory>(7, Holder::rules);
    const std::string text = to_text(registry);
    EXPECT_EQ(
        lines_with(text, "postern_host_messages_total{"),
        (Lines{
            R"(postern_host_messages_total{pool="a",host="192.0.2.1:25",class="2xx"} 2)",
            R"(postern_host_messages_total{pool="a",host="192.0.2.1:25",class="4xx"} 0)",
            R"(postern_host_messages_total{pool="a",host="192.0.2.1:25",class="5xx"} 0)",
            R"(postern_host_messages_total{pool="a",host="192.0.2.1:25",class="none"} 0)"}));
    EXPECT_EQ(
        lines_with(text, "postern_host_connections_open"),
        (Lines{R"(postern_host_connections_open{pool="a",host="192.0.2.1:25"} 0)"}));
    EXPECT_EQ(
        lines_with(text, "postern_worker_turns_total"),
        (Lines{
            R"(postern_worker_turns_total{worker="0"} 5)",
            R"(postern_worker_turns_total{worker="1"} 6)"}));
    EXPECT_EQ(
        lines_with(text, R"(postern_memory_bytes{holder="bodies"})"),
        (Lines{R"(postern_memory_bytes{holder="bodies"} 200)"}));
    EXPECT_EQ(
        lines_with(text, R"(postern_memory_bytes{holder="rules"})"),
        (Lines{R"(postern_memory_bytes{holder="rules"} 7)"}));
}

TEST(Text, BucketsAreCumulativeAndEndInTheCount) {
    Registry registry(1);
    Series& own = registry.worker(0).own();
    own.observe<Metric::phase>(200ns, Phase::wait);
    own.observe<Metric::phase>(2ms, Phase::wait);
    own.observe<Metric::phase>(1500ms, Phase::wait);
    own.observe<Metric::phase>(1h, Phase::wait);
    const std::string text = to_text(registry);
    const Lines buckets = lines_with(text, R"(postern_phase_seconds_bucket{phase="wait")");
    ASSERT_EQ(buckets.size(), bucket_bounds_ns.size() + 1);
    EXPECT_EQ(buckets.front(), R"(postern_phase_seconds_bucket{phase="wait",le="0.00000025"} 1)");
    EXPECT_EQ(buckets.back(), R"(postern_phase_seconds_bucket{phase="wait",le="+Inf"} 4)");
    std::uint64_t before = 0;
    for (const std::string& line : buckets) {
        const std::uint64_t count = std::stoull(line.substr(line.rfind(' ')));
        EXPECT_GE(count, before) << line;
        before = count;
    }
    EXPECT_EQ(
        lines_with(text, R"(postern_phase_seconds_bucket{phase="wait",le="0.0025"})").front(),
        R"(postern_phase_seconds_bucket{phase="wait",le="0.0025"} 2)");
    EXPECT_EQ(
        lines_with(text, R"(postern_phase_seconds_sum{phase="wait"})"),
        (Lines{R"(postern_phase_seconds_sum{phase="wait"} 3601.5020002)"}));
    EXPECT_EQ(
        lines_with(text, R"(postern_phase_seconds_count{phase="wait"})"),
        (Lines{R"(postern_phase_seconds_count{phase="wait"} 4)"}));
}

TEST(Text, EscapesLabelsAndHelp) {
    EXPECT_EQ(escape_label("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    EXPECT_EQ(escape_help("a\\b\"c\nd"), "a\\\\b\"c\\nd");
    Registry registry(1);
    registry.worker(0).listener("odd\"name").count<Metric::listener_connections>();
    EXPECT_EQ(
        lines_with(to_text(registry), "postern_connections_total"),
        (Lines{"postern_connections_total{listener=\"odd\\\"name\"} 1"}));
}

}  // namespace
}  // namespace postern::metrics

#include "postern/metrics/meters.h"

#include <gtest/gtest.h>

#include <thread>

namespace postern::metrics {
namespace {

using namespace std::chrono_literals;

TEST(Series, CountsEachValueOfASplitByItself) {
    Registry registry(1);
    Series& host = registry.worker(0).host("a", "192.0.2.1:25", false);
    host.count<Metric::host_messages>(ReplyClass::positive);
    host.count<Metric::host_messages>(ReplyClass::positive);
    host.count<Metric::host_messages>(ReplyClass::permanent);
    host.count<Metric::host_connections_open>();
    host.count<Metric::host_connections_open>();
    host.add<Metric::host_connections_open>(-1);
    EXPECT_EQ(host.value<Metric::host_messages>(ReplyClass::positive), 2U);
    EXPECT_EQ(host.value<Metric::host_messages>(ReplyClass::temporary), 0U);
    EXPECT_EQ(host.value<Metric::host_messages>(ReplyClass::permanent), 1U);
    EXPECT_EQ(host.value<Metric::host_connections_open>(), 1U);
    EXPECT_EQ(host.value<Metric::host_trouble>(), 0U);
}

TEST(Series, ObservesIntoTheFirstBucketThatIsNotBelow) {
    Registry registry(1);
    Series& own = registry.worker(0).own();
    constexpr std::size_t begin = offset_of(Metric::phase);  // of Phase::command, the first
    own.observe<Metric::phase>(base::Duration(bucket_bounds_ns[0]), Phase::command);
    own.observe<Metric::phase>(base::Duration(bucket_bounds_ns[0] + 1), Phase::command);
    own.observe<Metric::phase>(-5ns, Phase::command);
    own.observe<Metric::phase>(24h, Phase::command);
    EXPECT_EQ(own.cell(begin), 2U);
    EXPECT_EQ(own.cell(begin + 1), 1U);
    EXPECT_EQ(own.cell(begin + bucket_bounds_ns.size()), 1U);
    EXPECT_EQ(
        own.cell(begin + bucket_bounds_ns.size() + 1),
        2 * bucket_bounds_ns[0] + 1 + std::chrono::nanoseconds(24h).count());
    EXPECT_EQ(own.cell(begin + cells_each(Type::histogram)), 0U);  // the next phase's
}

TEST(Meters, TheSameLabelsAreTheSameSeries) {
    Registry registry(2);
    Meters& one = registry.worker(0);
    EXPECT_EQ(&one.host("a", "h", false), &one.host("a", "h", false));
    EXPECT_NE(&one.host("a", "h", false), &one.host("b", "h", false));
    EXPECT_NE(&one.host("a", "h", false), &registry.worker(1).host("a", "h", false));
    EXPECT_EQ(&one.listener("0.0.0.0:25"), &one.listener("0.0.0.0:25"));
}

TEST(Meters, HostsOfRulesPastTheirBoundCountAsOther) {
    Registry registry(2);
    const auto name = [](std::size_t i) { return "10.0.0.1:" + std::to_string(i); };
    for (std::size_t i = 0; i < Registry::rule_hosts_max; ++i) {
        EXPECT_EQ(registry.worker(0).host(name(i), name(i), true).second, name(i));
    }
    const std::string late = name(Registry::rule_hosts_max);
    Series& other = registry.worker(0).host(late, late, true);
    EXPECT_EQ(other.first, Registry::other);
    EXPECT_EQ(other.second, Registry::other);
    EXPECT_EQ(&registry.worker(0).host("late", "later", true), &other);
    // The same holds for every worker, and not for hosts of configured pools.
    EXPECT_EQ(registry.worker(1).host(late, late, true).second, Registry::other);
    EXPECT_EQ(registry.worker(1).host(name(7), name(7), true).second, name(7));
    EXPECT_EQ(registry.worker(1).host("pool", late, false).second, late);
}

TEST(Meters, AreReadWhileTheyGrow) {
    Registry registry(1);
    Meters& meters = registry.worker(0);
    constexpr std::uint64_t hosts = 500;
    std::thread worker([&] {
        for (std::uint64_t i = 0; i < hosts; ++i) {
            Series& host = meters.host("a", std::to_string(i), false);
            host.count<Metric::host_trouble>();
            meters.own().count<Metric::turns>();
        }
    });
    std::uint64_t seen = 0;
    while (seen < hosts) {
        std::uint64_t now = 0;
        meters.for_each(
            [&](const Series& series) { now += series.subject == Subject::host ? 1 : 0; });
        EXPECT_GE(now, seen);
        seen = now;
    }
    worker.join();
    EXPECT_EQ(meters.own().value<Metric::turns>(), hosts);
}

TEST(CountReload, TellsTheStartFromReloads) {
    Registry registry(1);
    Meters& control = registry.control();
    const base::WallTime now = base::WallTime(1'000s);
    count_reload(control, true, 1, 10, now, 5ms);
    const Series& own = control.own();
    EXPECT_EQ(own.value<Metric::reloads>(), 0U);
    EXPECT_EQ(own.value<Metric::generation>(), 1U);
    count_reload(control, true, 2, 11, now + 1s, 5ms);
    EXPECT_EQ(own.value<Metric::reloads>(), 1U);
    EXPECT_EQ(own.value<Metric::last_reload_succeeded>(), 1U);
    count_reload(control, false, 2, 11, now + 2s, 5ms);
    EXPECT_EQ(own.value<Metric::reloads>(), 1U);
    EXPECT_EQ(own.value<Metric::reloads_failed>(), 1U);
    EXPECT_EQ(own.value<Metric::last_reload_succeeded>(), 0U);
    EXPECT_EQ(own.value<Metric::generation>(), 2U);
    EXPECT_EQ(own.value<Metric::rules>(), 11U);
}

TEST(PrintState, SaysNumbersAndEvents) {
    Registry registry(1);
    Meters& meters = registry.worker(0);
    meters.own().set<Metric::turns>(77);
    meters.listener("0.0.0.0:25").count<Metric::listener_connections_open>();
    meters.host("a", "192.0.2.1:25", false).count<Metric::host_trouble>();
    meters.recorder.note(base::Instant(2s), Event::settled, 250, "ABC");
    char* text = nullptr;
    std::size_t size = 0;
    std::FILE* const out = open_memstream(&text, &size);
    print_state(meters, out);
    std::fclose(out);
    const std::string said(text, size);
    std::free(text);
    EXPECT_NE(said.find("worker 0:"), std::string::npos) << said;
    EXPECT_NE(said.find("postern_worker_turns_total=77"), std::string::npos) << said;
    EXPECT_NE(said.find("listener 0.0.0.0:25: connections=1 messages=0"), std::string::npos)
        << said;
    EXPECT_NE(said.find("host a 192.0.2.1:25: connections=0 trouble=1"), std::string::npos) << said;
    EXPECT_NE(said.find("2.000000 settled 250 ABC"), std::string::npos) << said;
}

TEST(PrintStateDeathTest, AnAssertionCanSayTheLastEvents) {
    static Registry registry(1);
    registry.worker(0).recorder.note(base::Instant(3s), Event::refused, 550, "RCPT");
    const auto fail = [] {
        base::on_assertion = [] { print_state(registry.worker(0), stderr); };
        POSTERN_ASSERT(registry.workers() == 2, "there are two workers");
    };
    EXPECT_DEATH(fail(), "bug: there are two workers.*3.000000 refused 550 RCPT");
}

}  // namespace
}  // namespace postern::metrics

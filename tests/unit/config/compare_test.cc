#include <gtest/gtest.h>

#include "postern/config/parse.h"

namespace postern::config {
namespace {

Config config_of(const std::string& top, const std::string& rest) {
    Parsed parsed = parse(
        top + "\n[[listener]]\naddress = \"127.0.0.1:25\"\n[rules]\nfiles = [\"a.rules\"]\n" + rest,
        "/a/p.toml",
        "gw.test");
    EXPECT_TRUE(parsed.config) << (parsed.errors.empty() ? "" : parsed.errors[0].format());
    return *parsed.config;
}

TEST(ChangedForRestart, NamesTheKeysThatOnlyARestartApplies) {
    const Config running = config_of("", "");
    EXPECT_TRUE(changed_for_restart(running, running).empty());
    const Config next = config_of(
        "workers = 3",
        "[limits]\nconnections = 5\nerrors = 4\n[admin]\naddress = \"unix:x.sock\"\n"
        "[log]\nformat = \"text\"\noutput = \"stdout\"\n[spool]\npath = \"s\"\n");
    const std::vector<std::string> expected{
        "workers", "spool.path", "limits.connections", "admin.address", "log.format", "log.output"};
    EXPECT_EQ(changed_for_restart(running, next), expected);
    EXPECT_EQ(
        changed_for_restart(running, config_of("", "[limits]\nbody_memory = \"2 MiB\"\n")),
        std::vector<std::string>{"limits.body_memory"});
}

TEST(ChangedForRestart, DoesNotNameWhatIsApplied) {
    EXPECT_TRUE(
        changed_for_restart(
            config_of("", ""), config_of("hostname = \"b.test\"", "[timeouts]\nbusy = \"1 s\"\n"))
            .empty());
}

}  // namespace
}  // namespace postern::config

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "script.h"
#include "session_driver.h"

namespace postern::smtp::test {
namespace {

std::vector<std::string> script_paths() {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(SCRIPT_FOLDER)) {
        if (entry.path().extension() == ".smtp") {
            paths.push_back(entry.path().string());
        }
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

Script load(const std::string& path) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return parse_script(std::filesystem::path(path).filename().string(), text);
}

/// Feeds the script's input in the given pieces; what differs from the script, or nothing.
template <class Feed>
std::string run(const Script& script, const SettingsHolder& holder, Feed feed) {
    SessionDriver driver(holder.settings);
    driver.session.grant(holder.granted);
    if (!script.rules.empty()) {
        driver.rules = script.rules;
    }
    driver.logins = script.logins;
    if (script.secure) {
        driver.session.secured();
    }
    feed(driver);
    return compare(script, driver.output, driver.closed, driver.messages);
}

class Scripts : public testing::TestWithParam<std::string> {};

TEST_P(Scripts, whole_by_octets_and_at_every_split) {
    const Script script = load(GetParam());
    ASSERT_EQ(script.error, "");
    const SettingsHolder holder(script);
    const std::string_view input = script.input;

    ASSERT_EQ(run(script, holder, [&](SessionDriver& driver) { driver.feed(input); }), "");
    ASSERT_EQ(
        run(script,
            holder,
            [&](SessionDriver& driver) {
                for (std::size_t i = 0; i < input.size(); ++i) {
                    driver.feed(input.substr(i, 1));
                }
            }),
        "");
    // Every split; of an endless line some hundred, evenly spread.
    const std::size_t step = input.size() <= 16384 ? 1 : input.size() / 512;
    for (std::size_t split = 1; split < input.size(); split += step) {
        ASSERT_EQ(
            run(script,
                holder,
                [&](SessionDriver& driver) {
                    driver.feed(input.substr(0, split));
                    driver.feed(input.substr(split));
                }),
            "")
            << "split at " << split;
    }
}

INSTANTIATE_TEST_SUITE_P(
    script,
    Scripts,
    testing::ValuesIn(script_paths()),
    [](const testing::TestParamInfo<std::string>& test) {
        std::string name = std::filesystem::path(test.param).stem().string();
        std::replace_if(
            name.begin(),
            name.end(),
            [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
            '_');
        return name;
    });

}  // namespace
}  // namespace postern::smtp::test

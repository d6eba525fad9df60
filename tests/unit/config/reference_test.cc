#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "keys.h"
#include "postern/config/parse.h"

namespace postern::config {
namespace {

TEST(Reference, NamesEveryKeyOfEverySection) {
    const std::string page = reference();
    std::size_t count = 0;
    for_each_section([&]<class T>(std::string_view, std::string_view, std::string_view) {
        for (const Key<T>& key : keys<T>()) {
            EXPECT_THAT(page, ::testing::HasSubstr("\n| `" + std::string(key.name) + "` | "));
            EXPECT_TRUE(key.sentence.ends_with('.')) << key.name;
            ++count;
        }
    });
    EXPECT_GT(count, 70U);
}

TEST(Reference, ItsTablesHaveFiveColumns) {
    const std::string page = reference();
    std::size_t begin = 0;
    while (begin < page.size()) {
        const std::size_t end = page.find('\n', begin);
        const std::string line = page.substr(begin, end - begin);
        if (line.starts_with('|')) {
            EXPECT_EQ(std::count(line.begin(), line.end(), '|'), 6) << line;
        }
        begin = end + 1;
    }
}

TEST(Reference, ThePageInDeployIsCurrent) {
    const std::string path = REFERENCE_PAGE;
    std::ifstream file(path);
    const std::string committed{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(committed, reference()) << path << " is not what config::reference() prints";
}

}  // namespace
}  // namespace postern::config

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "postern/config/parse.h"

namespace postern::config {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for each test, with a character in its name that a glob would take for its
/// own.
class Load : public ::testing::Test {
   protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "postern[1]-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }

    void TearDown() override { fs::remove_all(folder_); }

    void write(const std::string& name, const std::string& text) {
        fs::create_directories((folder_ / name).parent_path());
        std::ofstream(folder_ / name) << text;
    }

    Parsed load() { return config::load(folder_ / "postern.toml", "gw.example.net"); }

    static std::string with_files(const std::string& files) {
        return "listener = [{ address = \"127.0.0.1:2525\" }]\nrules.files = " + files + "\n";
    }

    fs::path folder_;
};

TEST_F(Load, FindsTheRulesFilesBesideTheFile) {
    write("postern.toml", with_files("['rules.d/*.rules', 'one.rules', 'rules.d/b*']"));
    write("one.rules", "");
    write("rules.d/b.rules", "");
    write("rules.d/a.rules", "");
    write("rules.d/not-this", "");
    const Parsed parsed = load();
    ASSERT_TRUE(parsed.config) << parsed.errors[0].format();
    const std::vector<fs::path> expected{
        folder_ / "one.rules", folder_ / "rules.d/a.rules", folder_ / "rules.d/b.rules"};
    EXPECT_EQ(parsed.config->rules.files, expected);
}

TEST_F(Load, SaysWhichGlobMatchesNothing) {
    write("postern.toml", with_files("['*.rules', 'none.d/*', 'none.rules']") + "workers = 'x'\n");
    write("a.rules", "");
    const Parsed parsed = load();
    EXPECT_FALSE(parsed.config);
    ASSERT_EQ(parsed.errors.size(), 3U);
    EXPECT_EQ(
        parsed.errors[0].format(),
        (folder_ / "postern.toml").string() +
            ":2:27: rules.files: \"none.d/*\" matches no file (looked for " +
            (folder_ / "none.d/*").string() +
            "); allowed: a list of files or globs; each must match something");
    EXPECT_EQ(parsed.errors[1].column, 39U);
    EXPECT_EQ(parsed.errors[2].line, 3U);
}

TEST_F(Load, SaysWhyTheFileCanNotBeRead) {
    EXPECT_EQ(
        load().errors.at(0).format(),
        (folder_ / "postern.toml").string() +
            ":1:1: the configuration can not be read: No such file or directory");
    fs::create_directory(folder_ / "postern.toml");
    EXPECT_EQ(
        load().errors.at(0).format(),
        (folder_ / "postern.toml").string() +
            ":1:1: the configuration can not be read: it is no file");
}

TEST_F(Load, AnEmptyFileHasNoListenerAndNoRules) {
    write("postern.toml", "");
    const Parsed parsed = load();
    ASSERT_EQ(parsed.errors.size(), 2U);
    EXPECT_NE(parsed.errors[0].text.find("rules.files"), std::string::npos);
    EXPECT_NE(parsed.errors[1].text.find("no listener"), std::string::npos);
}

}  // namespace
}  // namespace postern::config

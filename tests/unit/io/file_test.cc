#include "postern/io/file.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/unit/io/blocks.h"
#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

struct Folder {
    Folder() {
        // Beside the program: where that lies is more of a disk than /tmp may be.
        char name[] = "file-test-XXXXXX";
        path = std::filesystem::absolute(mkdtemp(name)).string();
    }

    ~Folder() { std::filesystem::remove_all(path); }

    std::string path;
};

TEST(File, WhatIsMadeIsZerosAndNothingMoreIsAllocatedLater) {
    Folder folder;
    const std::string path = folder.path + "/a";
    auto file = create_file(path, 16 * file_block_size);
    ASSERT_TRUE(file) << file.error().text;
    EXPECT_EQ(file->octets, 16 * file_block_size);

    struct stat about {};

    ASSERT_EQ(::fstat(file->descriptor, &about), 0);
    EXPECT_EQ(about.st_size, 16 * 4096);
    EXPECT_GE(about.st_blocks * 512, 16 * 4096);
    EXPECT_EQ(about.st_mode & 0777, 0600u);
    Blocks read(16);
    std::fill(read.all().begin(), read.all().end(), 'x');
    ASSERT_TRUE(read_file(*file, path, 0, read.all()));
    EXPECT_TRUE(std::all_of(read.all().begin(), read.all().end(), [](char c) { return c == 0; }));
    EXPECT_FALSE(create_file(path, file_block_size));
    close_file(*file);
    EXPECT_EQ(file->descriptor, -1);
}

TEST(File, TheRingWritesBlocksAndReadsThemAgain) {
    Folder folder;
    const std::string path = folder.path + "/a";
    auto file = create_file(path, 8 * file_block_size);
    ASSERT_TRUE(file) << file.error().text;
    auto ring = make_ring();
    Blocks written(3);
    for (std::size_t i = 0; i < written.octets; ++i) {
        written.data[i] = static_cast<char>('a' + i % 23);
    }
    Operation told;
    ring->write(told, file->descriptor, written.all(), 2 * file_block_size);
    EXPECT_EQ(result_of(*ring, told), 3 * 4096);
    Blocks read(3);
    ring->read(told, file->descriptor, read.all(), 2 * file_block_size);
    EXPECT_EQ(result_of(*ring, told), 3 * 4096);
    EXPECT_TRUE(std::equal(read.all().begin(), read.all().end(), written.data));
    ring->read(told, file->descriptor, read.all(), 8 * file_block_size);
    EXPECT_EQ(result_of(*ring, told), 0);
    ring->read(told, file->descriptor, read.all(), 7 * file_block_size);
    EXPECT_EQ(result_of(*ring, told), 4096);
    close_file(*file);

    auto again = open_file(path);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(again->octets, 8 * file_block_size);
    ASSERT_TRUE(read_file(*again, path, 2 * file_block_size, read.all()));
    EXPECT_TRUE(std::equal(read.all().begin(), read.all().end(), written.data));
    const auto past = read_file(*again, path, 6 * file_block_size, read.all());
    ASSERT_FALSE(past);
    EXPECT_NE(past.error().text.find("it ends at octet 32768"), std::string::npos)
        << past.error().text;
    close_file(*again);
}

TEST(File, FoldersAreMadeListedAndLocked) {
    Folder folder;
    const std::string path = folder.path + "/b/c";
    ASSERT_TRUE(make_folder(path));
    ASSERT_TRUE(make_folder(path));
    EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms::owner_all);
    for (const char* name : {"/z", "/a", "/m"}) {
        auto file = create_file(path + name, file_block_size);
        ASSERT_TRUE(file) << file.error().text;
        close_file(*file);
    }
    ASSERT_TRUE(make_folder(path + "/no-file"));
    const auto names = list_folder(path);
    ASSERT_TRUE(names);
    EXPECT_EQ(*names, (std::vector<std::string>{"a", "m", "z"}));
    ASSERT_TRUE(remove_file(path + "/m"));
    EXPECT_EQ(list_folder(path)->size(), 2u);

    auto lock = lock_folder(path);
    ASSERT_TRUE(lock);
    const auto second = lock_folder(path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().text, "another process works in the folder " + path);
    ::close(*lock);
    auto third = lock_folder(path);
    ASSERT_TRUE(third);
    ::close(*third);
    ASSERT_TRUE(free_octets(path));
    EXPECT_GT(*free_octets(path), 0u);
}

TEST(File, ErrorsNameThePathAndTheReason) {
    Folder folder;
    const std::string missing = folder.path + "/none";
    EXPECT_EQ(
        open_file(missing).error().text, "cannot open " + missing + ": No such file or directory");
    EXPECT_EQ(
        list_folder(missing).error().text,
        "cannot list the folder " + missing + ": No such file or directory");
    EXPECT_EQ(
        remove_file(missing).error().text,
        "cannot remove " + missing + ": No such file or directory");
    std::ofstream(folder.path + "/plain") << "x";
    EXPECT_EQ(
        make_folder(folder.path + "/plain/below").error().text,
        "cannot make the folder " + folder.path + "/plain/below: Not a directory");
}

// tmpfs takes O_DIRECT since Linux 6.6 and refuses it before; either way is right.
TEST(File, WhereTheCacheCanNotBePassedFilesAreWrittenThroughIt) {
    const std::string path = "/dev/shm/postern-file-test-" + std::to_string(::getpid());
    auto file = create_file(path, 4 * file_block_size);
    ASSERT_TRUE(file) << file.error().text;
    auto ring = make_ring();
    Blocks written(1);
    std::fill(written.all().begin(), written.all().end(), 'q');
    Operation told;
    ring->write(told, file->descriptor, written.all(), file_block_size);
    EXPECT_EQ(result_of(*ring, told), 4096);
    Blocks read(1);
    ASSERT_TRUE(read_file(*file, path, file_block_size, read.all()));
    EXPECT_EQ(read.data[17], 'q');
    close_file(*file);
    ASSERT_TRUE(remove_file(path));
}

TEST(File, BlocksAreWrittenAndZeroedFromTheirPlaceOn) {
    Folder folder;
    const std::string path = folder.path + "/a";
    auto file = create_file(path, 8 * file_block_size);
    ASSERT_TRUE(file) << file.error().text;
    Blocks written(8, 'w');
    ASSERT_TRUE(write_file(*file, path, 0, written.all()));
    ASSERT_TRUE(zero_file(*file, path, 3 * file_block_size));
    Blocks first(1, 'f');
    ASSERT_TRUE(write_file(*file, path, 5 * file_block_size, first.all()));
    Blocks read(8);
    ASSERT_TRUE(read_file(*file, path, 0, read.all()));
    const std::string_view octets(read.data, read.octets);
    EXPECT_TRUE(
        octets == std::string(3 * file_block_size, 'w') + std::string(2 * file_block_size, '\0') +
                      std::string(file_block_size, 'f') + std::string(2 * file_block_size, '\0'));
    close_file(*file);
}

TEST(File, AFileIsSavedWholeOrNotAtAll) {
    Folder folder;
    const std::string path = folder.path + "/a";
    ASSERT_TRUE(save_file(path, "first"));
    ASSERT_TRUE(save_file(path, "second, of any size"));
    EXPECT_EQ(std::filesystem::file_size(path), 19u);
    EXPECT_EQ(*list_folder(folder.path), std::vector<std::string>{"a"});  // and no draft beside it
    ASSERT_TRUE(rename_file(path, folder.path + "/b"));
    EXPECT_EQ(*list_folder(folder.path), std::vector<std::string>{"b"});
    EXPECT_FALSE(rename_file(path, folder.path + "/c"));
    EXPECT_FALSE(save_file(folder.path + "/missing/a", "x"));
}

}  // namespace
}  // namespace postern::io::test

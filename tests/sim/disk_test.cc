#include "tests/sim/sim_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "postern/io/file.h"
#include "postern/io/ring.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/io/blocks.h"

namespace postern::sim {
namespace {

constexpr std::size_t block = io::file_block_size;

using io::test::Blocks;
using io::test::Operation;
using io::test::result_of;

TEST(SimDisk, WhatWasAnsweredOutlivesTheWorldAndTheRestByChance) {
    int torn = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        Disk disk;
        Blocks first(2, 'a');
        Blocks second(1, 'b');
        {
            World world(seed);
            auto made = io::Ring::create({});
            auto ring = std::move(*made);
            const io::BlockFile file = *io::create_file("/spool/x", 8 * block);
            Operation told;
            ring->write(told, file.descriptor, first.all(), 0);
            EXPECT_EQ(result_of(*ring, told), 2 * 4096);
            disk.write(file.descriptor, second.all(), 2 * block, [](std::int32_t) { FAIL(); });
            disk.cut_power(world.random());
        }
        EXPECT_EQ(disk.open_descriptors(), 0u);
        const std::string& octets = disk.files.at("/spool/x")->octets;
        EXPECT_EQ(octets.substr(0, 2 * block), std::string(2 * block, 'a'));
        const auto written = std::count(octets.begin(), octets.end(), 'b');
        EXPECT_EQ(written % 512, 0);
        torn += written > 0 && written < 4096 ? 1 : 0;
    }
    EXPECT_GT(torn, 100);
}

TEST(SimDisk, FailsAsItIsTold) {
    Disk disk(16 * block);
    Faults faults;
    faults.write_fails = 300;
    faults.short_writes = 300;
    faults.read_fails = 300;
    World world(7, faults);
    auto made = io::Ring::create({});
    auto ring = std::move(*made);
    EXPECT_FALSE(io::create_file("/spool/large", 17 * block));
    io::BlockFile file = *io::create_file("/spool/x", 16 * block);
    EXPECT_EQ(*io::free_octets("/spool"), 0u);
    std::map<std::int32_t, int> counts;
    Operation told;
    for (int i = 0; i < 100; ++i) {
        Blocks octets(4, 'a');
        ring->write(told, file.descriptor, octets.all(), 0);
        ++counts[result_of(*ring, told)];
        // A write that has failed may be done again at its place only in the file's next life.
        ring->read(told, file.descriptor, octets.all(), 0);
        const std::int32_t result = result_of(*ring, told);
        EXPECT_TRUE(result == -EIO || result > 0) << result;
    }
    EXPECT_GT(counts[-EIO] + counts[-ENOSPC], 0);
    EXPECT_GT(counts[4096] + counts[2 * 4096] + counts[3 * 4096], 0);
    EXPECT_GT(counts[4 * 4096], 0);
    io::close_file(file);
    EXPECT_TRUE(io::remove_file("/spool/x"));
    EXPECT_TRUE(io::list_folder("/spool")->empty());
}

TEST(SimDiskDeathTest, ABlockIsWrittenOnceInALifeOfItsFile) {
    Disk disk;
    World world(1);
    auto made = io::Ring::create({});
    auto ring = std::move(*made);
    const io::BlockFile file = *io::create_file("/spool/x", 8 * block);
    Blocks octets(1, 'a');
    Operation told;
    ring->write(told, file.descriptor, octets.all(), block);
    EXPECT_EQ(result_of(*ring, told), 4096);
    ring->write(told, file.descriptor, octets.all(), 0);
    EXPECT_EQ(result_of(*ring, told), 4096);
    ring->write(told, file.descriptor, octets.all(), block);
    EXPECT_EQ(result_of(*ring, told), 4096);
    EXPECT_DEATH(
        disk.write(file.descriptor, octets.all(), block, [](std::int32_t) {}),
        "a block was written twice in one life of its file");
}

}  // namespace
}  // namespace postern::sim

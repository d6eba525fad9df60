#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/journal/spooled.h"

/// What is recovered is what was acknowledged, and some of what was not, whatever the last write
/// left on the disk.
namespace postern::journal {
namespace {

class RandomTest : public testing::TestWithParam<std::uint32_t> {
   protected:
    std::mt19937 random_{GetParam()};

    std::uint32_t below(std::uint32_t bound) {
        return bound == 0 ? 0 : static_cast<std::uint32_t>(random_() % bound);
    }

    test::Spooled spooled_{[this](std::uint32_t bound) { return below(bound); }};

    void work(std::uint32_t steps) {
        for (std::uint32_t i = 0; i < steps; ++i) {
            spooled_.step();
            if (below(4) == 0) {
                spooled_.acknowledge();
            }
        }
        spooled_.acknowledge();
        for (std::uint32_t i = 1 + below(6); i > 0; --i) {
            spooled_.step();
        }
        spooled_.write_only();
    }

    std::string check(const std::vector<std::string>& files, bool damaged = false) const {
        return spooled_.check(test::recover(files), files, damaged);
    }
};

TEST_P(RandomTest, whole) {
    work(100);
    EXPECT_EQ(check(spooled_.files()), "");
}

TEST_P(RandomTest, cut_at_every_octet_of_the_last_write) {
    work(12);
    std::vector<std::string> files = spooled_.files();
    const std::uint32_t from = spooled_.current().last_from;
    for (std::uint32_t at = spooled_.current().last_to; at-- > from;) {
        files.back()[at] = '\0';
        ASSERT_EQ(check(files), "") << "cut at " << at;
    }
}

TEST_P(RandomTest, blocks_of_the_last_write_torn_zeroed_and_in_disorder) {
    work(20);
    const std::vector<std::string> whole = spooled_.files();
    const std::uint32_t from = spooled_.current().last_from;
    const std::uint32_t to = spooled_.current().last_to;
    for (int i = 0; i < 30; ++i) {
        std::vector<std::string> files = whole;
        std::string& last = files.back();
        for (std::uint32_t at = from; at < to; at += block_size) {
            const auto block = last.begin() + at;
            const auto other = last.begin() + from + below((to - from) / block_size) * block_size;
            switch (below(5)) {
                case 0:
                    std::fill_n(block, block_size, '\0');
                    break;
                case 1:
                    std::fill_n(block + below(block_size - 100), below(100), '\0');
                    break;
                case 2:
                    std::swap_ranges(block, block + block_size, other);
                    break;
                case 3:
                    std::generate_n(block, 512, [this] { return static_cast<char>(below(256)); });
                    break;
                default:
                    break;
            }
        }
        ASSERT_EQ(check(files), "");
    }
}

TEST_P(RandomTest, bits_flipped_anywhere) {
    work(30);
    for (int i = 0; i < 30; ++i) {
        std::vector<std::string> files = spooled_.files();
        for (std::uint32_t flips = 1 + below(3); flips > 0; --flips) {
            std::string& file = files[below(static_cast<std::uint32_t>(files.size()))];
            char& octet = file[below(static_cast<std::uint32_t>(file.size()))];
            octet = static_cast<char>(octet ^ (1 << below(8)));
        }
        ASSERT_EQ(check(files, true), "");
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTest, testing::Range(1U, 7U));

}  // namespace
}  // namespace postern::journal

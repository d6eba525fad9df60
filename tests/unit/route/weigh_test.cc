#include "src/route/weigh.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

namespace postern::route {
namespace {

// The field, bit by bit; bit i is x^i.
__extension__ using Wide = unsigned __int128;

Wide times_x(Wide a) {
    return a << 1 ^ ((a >> 127) != 0 ? Wide{0x87} : Wide{0});
}

Wide product(Wide a, std::uint64_t b) {
    Wide sum = 0;
    for (; b != 0; b >>= 1, a = times_x(a)) {
        sum ^= (b & 1) != 0 ? a : Wide{0};
    }
    return sum;
}

Wide obvious(
    const std::array<unsigned char, 32>& octets, unsigned count, const std::array<Number, 4>& k) {
    Wide sum = 0;
    for (unsigned i = 0; i < 4; ++i) {
        std::uint64_t word = 0;
        for (unsigned j = 0; j < 8; ++j) {
            const unsigned at = 8 * (3 - i) + j;
            word |= at >= 32 - count ? static_cast<std::uint64_t>(octets[at]) << 8 * j : 0;
        }
        sum ^= product(k[i][0] | static_cast<Wide>(k[i][1]) << 64, word);
    }
    return sum;
}

TEST(Weigh, IsASumOfProductsInTheField) {
    std::mt19937_64 random(4);
    for (int round = 0; round < 300; ++round) {
        std::array<unsigned char, 32> octets;
        for (unsigned char& octet : octets) {
            octet = static_cast<unsigned char>(random());
        }
        std::array<Number, 4> numbers;
        for (Number& number : numbers) {
            number = {random(), random()};
        }
        std::array<__m128i, 2> block;
        static_assert(sizeof block == sizeof octets);
        std::memcpy(block.data(), octets.data(), sizeof block);
        for (unsigned count = 0; count <= 32; ++count) {
            const Wide wanted = obvious(octets, count, numbers);
            const auto sum = [&](Weigh weigh) {
                const __m128i element = weigh(block[0], block[1], count, numbers.data());
                Wide bits;
                std::memcpy(&bits, &element, sizeof bits);
                return bits;
            };
            ASSERT_TRUE(sum(weigh_plain) == wanted) << count;
            if (has_clmul()) {
                ASSERT_TRUE(sum(weigh_clmul) == wanted) << count;
            }
        }
    }
}

}  // namespace
}  // namespace postern::route

#include "weigh.h"

#include <immintrin.h>

#include <bit>
#include <cstring>

namespace postern::route {
namespace {

__extension__ using Wide = unsigned __int128;  // an element of the field: bit i is x^i

constexpr std::uint64_t reduction = 0x87;  // x^128 is x^7 + x^2 + x + 1

/// A window of 32 octets that begins at n has n ones at its end.
constexpr auto masks = [] {
    std::array<char, 64> table{};
    for (std::size_t i = 32; i < table.size(); ++i) {
        table[i] = '\xff';
    }
    return table;
}();

Wide multiply(std::uint64_t a, std::uint64_t b) {
    Wide product = 0;
    for (; a != 0; a &= a - 1) {
        product ^= static_cast<Wide>(b) << std::countr_zero(a);
    }
    return product;
}

Weigh choose() {
    return has_clmul() ? weigh_clmul : weigh_plain;
}

}  // namespace

__attribute__((target("pclmul"))) __m128i weigh_clmul(
    __m128i left, __m128i right, unsigned octets, const Number* numbers) {
    const auto load = [](const void* at) {
        return _mm_loadu_si128(static_cast<const __m128i*>(at));
    };
    const char* const mask = masks.data() + octets;
    left = _mm_and_si128(left, load(mask));
    right = _mm_and_si128(right, load(mask + 16));
    const __m128i n0 = load(&numbers[0]);
    const __m128i n1 = load(&numbers[1]);
    const __m128i n2 = load(&numbers[2]);
    const __m128i n3 = load(&numbers[3]);
    // The four products with the numbers' lower halves, and those with the upper ones, which weigh
    // x^64 more.
    const __m128i low = _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(right, n0, 0x01), _mm_clmulepi64_si128(right, n1, 0x00)),
        _mm_xor_si128(_mm_clmulepi64_si128(left, n2, 0x01), _mm_clmulepi64_si128(left, n3, 0x00)));
    const __m128i high = _mm_xor_si128(
        _mm_xor_si128(_mm_clmulepi64_si128(right, n0, 0x11), _mm_clmulepi64_si128(right, n1, 0x10)),
        _mm_xor_si128(_mm_clmulepi64_si128(left, n2, 0x11), _mm_clmulepi64_si128(left, n3, 0x10)));
    const __m128i over =
        _mm_clmulepi64_si128(high, _mm_cvtsi64_si128(static_cast<long long>(reduction)), 0x01);
    return _mm_xor_si128(_mm_xor_si128(low, over), _mm_slli_si128(high, 8));
}

__m128i weigh_plain(__m128i left, __m128i right, unsigned octets, const Number* numbers) {
    std::array<std::uint64_t, block_words> words;
    std::memcpy(words.data(), &left, sizeof left);
    std::memcpy(words.data() + block_words / 2, &right, sizeof right);
    Wide low = 0;
    Wide high = 0;
    for (std::size_t i = 0; i < block_words; ++i) {
        const std::size_t from_left = block_words - 1 - i;
        std::uint64_t mask;
        std::memcpy(&mask, masks.data() + octets + 8 * from_left, sizeof mask);
        const std::uint64_t word = words[from_left] & mask;
        low ^= multiply(word, numbers[i][0]);
        high ^= multiply(word, numbers[i][1]);
    }
    const Wide sum = low ^ high << 64 ^ multiply(static_cast<std::uint64_t>(high >> 64), reduction);
    __m128i result;
    std::memcpy(&result, &sum, sizeof result);
    return result;
}

bool has_clmul() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("pclmul") != 0;
}

const Weigh weigh = choose();

}  // namespace postern::route

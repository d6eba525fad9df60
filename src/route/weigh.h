#pragma once

#include <emmintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

/// The sum that a name's hash is made of: of each of 32 octets' four words, times that word's
/// secret number, in the field GF(2^128) of polynomials over bits modulo x^128 + x^7 + x^2 + x + 1.
/// Pure.
namespace postern::route {

/// A secret number for one word: bits 0 to 63, then 64 to 127.
using Number = std::array<std::uint64_t, 2>;

inline constexpr std::size_t block_words = 4;

/// The sum over the last `octets` (0 to 32) of 32, which are `left` and `right` as they stand in
/// the name; those before them are taken as zeros. `numbers[i]` belongs to the word that is i-th
/// from the right. What goes in and what comes out, the lower half first, stays in registers.
using Weigh = __m128i (*)(__m128i left, __m128i right, unsigned octets, const Number* numbers);

/// Where the processor multiplies without carries (PCLMULQDQ: nearly all since 2010).
__m128i weigh_clmul(__m128i left, __m128i right, unsigned octets, const Number* numbers);
/// Elsewhere: some hundred times the work, a microsecond a lookup.
__m128i weigh_plain(__m128i left, __m128i right, unsigned octets, const Number* numbers);
bool has_clmul();

extern const Weigh weigh;  // the faster of those that this processor has

}  // namespace postern::route

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "postern/smtp/body_scanner.h"

namespace postern::smtp {
namespace {

/// One bit for each of 64 octets.
struct Masks {
    std::uint64_t cr = 0;
    std::uint64_t lf = 0;
    std::uint64_t dot = 0;
    std::uint64_t high = 0;
};

Masks masks_sse2(const char* at) {
    Masks masks;
    for (unsigned part = 0; part < 4; ++part) {
        const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * part));
        const auto where = [&](__m128i found) {
            return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(found)))
                   << (16 * part);
        };
        masks.cr |= where(_mm_cmpeq_epi8(octets, _mm_set1_epi8('\r')));
        masks.lf |= where(_mm_cmpeq_epi8(octets, _mm_set1_epi8('\n')));
        masks.dot |= where(_mm_cmpeq_epi8(octets, _mm_set1_epi8('.')));
        masks.high |= where(octets);
    }
    return masks;
}

// A lambda would not inherit the target attribute.
__attribute__((target("avx2"))) inline std::uint64_t where_avx2(__m256i low, __m256i high) {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
           static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(high))) << 32;
}

__attribute__((target("avx2"))) Masks masks_avx2(const char* at) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
    const __m256i cr = _mm256_set1_epi8('\r');
    const __m256i lf = _mm256_set1_epi8('\n');
    const __m256i dot = _mm256_set1_epi8('.');
    return {
        .cr = where_avx2(_mm256_cmpeq_epi8(low, cr), _mm256_cmpeq_epi8(high, cr)),
        .lf = where_avx2(_mm256_cmpeq_epi8(low, lf), _mm256_cmpeq_epi8(high, lf)),
        .dot = where_avx2(_mm256_cmpeq_epi8(low, dot), _mm256_cmpeq_epi8(high, dot)),
        .high = where_avx2(low, high),
    };
}

/// The walk over blocks of 64, with the way to make masks as an argument that is inlined.
template <class MakeMasks>
__attribute__((always_inline)) inline OddOctet walk(
    std::string_view text, bool stop_at_dots, MakeMasks make_masks) {
    constexpr std::size_t block = 64;
    OddOctet result;
    std::uint64_t after_cr = 0;  // bit 0: the octet in front of the block is a CR
    std::uint64_t after_lf = 0;
    for (std::size_t at = 0; at < text.size(); at += block) {
        const std::size_t size = std::min(block, text.size() - at);
        Masks masks;
        if (size == block) {
            masks = make_masks(text.data() + at);
        } else {
            std::array<char, block> padded{};
            std::copy_n(text.data() + at, size, padded.begin());
            masks = make_masks(padded.data());
        }
        // An LF without a CR in front, or something else than an LF behind a CR: bit i is octet i.
        std::uint64_t odd = masks.lf ^ (masks.cr << 1 | after_cr);
        const std::uint64_t dots = masks.dot & (masks.lf << 1 | after_lf);
        const std::uint64_t here =
            size == block ? ~std::uint64_t{0} : (std::uint64_t{1} << size) - 1;
        odd &= here;
        if (stop_at_dots) {
            odd |= dots;
        }
        if (odd != 0) {
            const auto first = static_cast<unsigned>(std::countr_zero(odd));
            const std::uint64_t before = (std::uint64_t{1} << first) - 1;
            result.index = at + first;
            result.eight_bit |= (masks.high & before) != 0;
            result.dot_line |= (dots & before) != 0;
            const bool is_lf = (masks.lf >> first & 1) != 0;
            const bool behind_cr = ((masks.cr << 1 | after_cr) >> first & 1) != 0;
            if (behind_cr && !is_lf) {
                --result.index;  // the CR itself is the odd one
            }
            return result;
        }
        result.eight_bit |= (masks.high & here) != 0;
        result.dot_line |= dots != 0;
        after_cr = masks.cr >> 63;
        after_lf = masks.lf >> 63;
    }
    // A CR that comes last: what follows it is not known yet.
    result.index = text.ends_with('\r') ? text.size() - 1 : text.size();
    return result;
}

using Function = OddOctet (*)(std::string_view, bool);

Function choose() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? find_odd_octet_avx2 : find_odd_octet_sse2;
}

const Function chosen = choose();

}  // namespace

OddOctet find_odd_octet_sse2(std::string_view text, bool stop_at_dots) {
    return walk(text, stop_at_dots, masks_sse2);
}

__attribute__((target("avx2"))) OddOctet find_odd_octet_avx2(
    std::string_view text, bool stop_at_dots) {
    return walk(text, stop_at_dots, masks_avx2);
}

OddOctet find_odd_octet(std::string_view text, bool stop_at_dots) {
    return chosen(text, stop_at_dots);
}

}  // namespace postern::smtp

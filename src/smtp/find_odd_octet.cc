#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "postern/smtp/body_scanner.h"

namespace postern::smtp {
namespace {

constexpr std::size_t block = 64;

/// What the blocks that were passed over held.
struct Seen {
    bool eight_bit = false;
    bool dot_line = false;
};

/// How many octets from `at` on, in whole blocks and at most `size`, hold nothing odd, and with
/// `stop_at_dots` no dot behind an LF. The octet in front of `at` is looked at too. What is odd is
/// not said here, so that octets are compared and nothing else: nearly all blocks of nearly all
/// mail are passed over.
using PassOver = std::size_t (*)(const char* at, std::size_t size, bool stop_at_dots, Seen& seen);

/// Octets are compared beside those in front of them: an LF and a CR in front go together or not at
/// all.
std::size_t pass_over_sse2(const char* at, std::size_t size, bool stop_at_dots, Seen& seen) {
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    const __m128i dot = _mm_set1_epi8('.');
    const __m128i dots_stop = _mm_set1_epi8(stop_at_dots ? -1 : 0);
    __m128i high = _mm_setzero_si128();
    __m128i all_dots = _mm_setzero_si128();
    std::size_t passed = 0;
    for (; size - passed >= block; passed += block) {
        __m128i octets_or = _mm_setzero_si128();
        __m128i odd = _mm_setzero_si128();
        __m128i dots = _mm_setzero_si128();
        for (std::size_t part = 0; part < block; part += sizeof(__m128i)) {
            const char* const here = at + passed + part;
            const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(here));
            const __m128i front = _mm_loadu_si128(reinterpret_cast<const __m128i*>(here - 1));
            octets_or = _mm_or_si128(octets_or, octets);
            odd = _mm_or_si128(
                odd, _mm_xor_si128(_mm_cmpeq_epi8(octets, lf), _mm_cmpeq_epi8(front, cr)));
            dots = _mm_or_si128(
                dots, _mm_and_si128(_mm_cmpeq_epi8(octets, dot), _mm_cmpeq_epi8(front, lf)));
        }
        if (_mm_movemask_epi8(_mm_or_si128(odd, _mm_and_si128(dots, dots_stop))) != 0) {
            break;
        }
        high = _mm_or_si128(high, octets_or);
        all_dots = _mm_or_si128(all_dots, dots);
    }
    seen.eight_bit |= _mm_movemask_epi8(high) != 0;
    seen.dot_line |= _mm_movemask_epi8(all_dots) != 0;
    return passed;
}

__attribute__((target("avx2"))) std::size_t pass_over_avx2(
    const char* at, std::size_t size, bool stop_at_dots, Seen& seen) {
    const __m256i cr = _mm256_set1_epi8('\r');
    const __m256i lf = _mm256_set1_epi8('\n');
    const __m256i dot = _mm256_set1_epi8('.');
    const __m256i dots_stop = _mm256_set1_epi8(stop_at_dots ? -1 : 0);
    __m256i high = _mm256_setzero_si256();
    __m256i all_dots = _mm256_setzero_si256();
    std::size_t passed = 0;
    for (; size - passed >= block; passed += block) {
        __m256i octets_or = _mm256_setzero_si256();
        __m256i odd = _mm256_setzero_si256();
        __m256i dots = _mm256_setzero_si256();
        for (std::size_t part = 0; part < block; part += sizeof(__m256i)) {
            const char* const here = at + passed + part;
            const __m256i octets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(here));
            const __m256i front = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(here - 1));
            octets_or = _mm256_or_si256(octets_or, octets);
            odd = _mm256_or_si256(
                odd, _mm256_xor_si256(_mm256_cmpeq_epi8(octets, lf), _mm256_cmpeq_epi8(front, cr)));
            dots = _mm256_or_si256(
                dots,
                _mm256_and_si256(_mm256_cmpeq_epi8(octets, dot), _mm256_cmpeq_epi8(front, lf)));
        }
        const __m256i stops = _mm256_or_si256(odd, _mm256_and_si256(dots, dots_stop));
        if (_mm256_testz_si256(stops, stops) == 0) {
            break;
        }
        high = _mm256_or_si256(high, octets_or);
        all_dots = _mm256_or_si256(all_dots, dots);
    }
    seen.eight_bit |= _mm256_movemask_epi8(high) != 0;
    seen.dot_line |= _mm256_movemask_epi8(all_dots) != 0;
    return passed;
}

/// One bit for each octet of a block, or of what is left of a text.
struct Masks {
    std::uint64_t cr = 0;
    std::uint64_t lf = 0;
    std::uint64_t dot = 0;
    std::uint64_t high = 0;
};

Masks masks_of(std::string_view text) {
    std::array<char, block> padded{};
    const char* at = text.data();
    if (text.size() < block) {
        std::copy(text.begin(), text.end(), padded.begin());
        at = padded.data();
    }
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

OddOctet find(std::string_view text, bool stop_at_dots, PassOver pass_over) {
    OddOctet result;
    for (std::size_t at = 0; at < text.size();) {
        if (at > 0) {
            Seen seen;
            at += pass_over(text.data() + at, text.size() - at, stop_at_dots, seen);
            result.eight_bit |= seen.eight_bit;
            result.dot_line |= seen.dot_line;
        }
        const std::string_view here = text.substr(at, block);
        const Masks masks = masks_of(here);
        // Bit i is octet i: an LF without a CR in front, or something else than an LF behind a CR.
        const auto is_in_front = [&](char c) {
            return static_cast<std::uint64_t>(at > 0 && text[at - 1] == c);
        };
        const std::uint64_t behind_cr = masks.cr << 1 | is_in_front('\r');
        const std::uint64_t dots = masks.dot & (masks.lf << 1 | is_in_front('\n'));
        std::uint64_t odd = masks.lf ^ behind_cr;
        if (here.size() < block) {
            odd &= (std::uint64_t{1} << here.size()) - 1;
        }
        odd |= stop_at_dots ? dots : 0;
        if (odd != 0) {
            const auto first = static_cast<unsigned>(std::countr_zero(odd));
            const std::uint64_t before = (std::uint64_t{1} << first) - 1;
            result.index = at + first;
            result.eight_bit |= (masks.high & before) != 0;
            result.dot_line |= (dots & before) != 0;
            if ((behind_cr >> first & 1) != 0 && (masks.lf >> first & 1) == 0) {
                --result.index;  // the CR itself is the odd one
            }
            return result;
        }
        result.eight_bit |= masks.high != 0;
        result.dot_line |= dots != 0;
        at += here.size();
    }
    // A CR that comes last: what follows it is not known yet.
    result.index = text.ends_with('\r') ? text.size() - 1 : text.size();
    return result;
}

PassOver choose() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? pass_over_avx2 : pass_over_sse2;
}

const PassOver chosen = choose();

}  // namespace

OddOctet find_odd_octet_sse2(std::string_view text, bool stop_at_dots) {
    return find(text, stop_at_dots, pass_over_sse2);
}

OddOctet find_odd_octet_avx2(std::string_view text, bool stop_at_dots) {
    return find(text, stop_at_dots, pass_over_avx2);
}

OddOctet find_odd_octet(std::string_view text, bool stop_at_dots) {
    return find(text, stop_at_dots, chosen);
}

}  // namespace postern::smtp

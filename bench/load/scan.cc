#include "bench/load/scan.h"

#include <emmintrin.h>

#include <bit>

namespace postern::bench {

namespace {

/// The first CR or LF at or behind `at`, else `end`; notes whether an octet above 127 lies before
/// it.
const char* skip_text(const char* at, const char* end, bool& eight_bit) {
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    while (end - at >= 16) {
        const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
        const auto ends = static_cast<unsigned>(_mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(octets, cr), _mm_cmpeq_epi8(octets, lf))));
        const auto high = static_cast<unsigned>(_mm_movemask_epi8(octets));
        if (ends != 0) {
            const int found = std::countr_zero(ends);
            eight_bit |= (high & ((1U << found) - 1)) != 0;
            return at + found;
        }
        eight_bit |= high != 0;
        at += 16;
    }
    for (; at < end && *at != '\r' && *at != '\n'; ++at) {
        eight_bit |= (static_cast<unsigned char>(*at) & 0x80) != 0;
    }
    return at;
}

}  // namespace

void ContentScanner::reset(By by) {
    *this = {};
    by_ = by;
}

std::size_t ContentScanner::scan(std::string_view bytes, std::vector<std::string_view>& content) {
    const char* const end = bytes.data() + bytes.size();
    const char* at = bytes.data();
    const char* kept = at;  // from here on not yet given out
    const auto give_until = [&content, &kept](const char* until) {
        if (until > kept) {
            content.emplace_back(kept, static_cast<std::size_t>(until - kept));
        }
    };
    while (at < end && state_ != State::ended) {
        switch (state_) {
            case State::line_start:
                if (*at == '.' && by_ == By::data) {
                    give_until(at);
                    kept = ++at;
                    state_ = State::dot;
                } else {
                    state_ = State::text;
                }
                break;
            case State::text:
                at = skip_text(at, end, eight_bit_);
                // The ordinary end of a line, and no dot behind it: no need to go through the
                // states.
                while (end - at > 2 && at[0] == '\r' && at[1] == '\n' && at[2] != '.') {
                    at = skip_text(at + 2, end, eight_bit_);
                }
                if (at < end) {
                    bare_lf_ += *at == '\n' ? 1 : 0;
                    state_ = *at == '\r' ? State::cr : State::text;
                    ++at;
                }
                break;
            case State::cr:
                if (*at == '\n') {
                    ++at;
                    state_ = State::line_start;
                } else {
                    ++bare_cr_;
                    state_ = State::text;
                }
                break;
            case State::dot:
                if (*at == '\r') {
                    kept = ++at;
                    state_ = State::dot_cr;
                } else {
                    state_ = State::text;
                }
                break;
            case State::dot_cr:
                if (*at == '\n') {
                    kept = ++at;
                    state_ = State::ended;
                } else {
                    content.emplace_back("\r", 1);
                    state_ = State::cr;
                }
                break;
            case State::ended:
                break;
        }
    }
    give_until(at);
    return static_cast<std::size_t>(at - bytes.data());
}

}  // namespace postern::bench

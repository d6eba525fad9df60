#include "postern/shard/message_id.h"

#include <algorithm>

namespace postern::shard {
namespace {

// Crockford's alphabet: no I, L, O, U, so that an ID survives being read out over the telephone.
constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

std::size_t append(std::array<char, 32>& into, std::size_t at, std::uint64_t value, int width) {
    for (int i = width - 1; i >= 0; --i) {
        into[at++] = digits[(value >> (5 * i)) & 31];
    }
    return at;
}

int width_of(std::uint64_t value) {
    int width = 1;
    while ((value >>= 5) != 0) {
        ++width;
    }
    return width;
}

}  // namespace

std::uint8_t MessageIds::next(base::WallTime now, std::array<char, 32>& into) {
    const auto seconds = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
    if (seconds > second_) {  // where the clock is set back, the counts of that second are gone
        second_ = seconds;
        count_ = 0;
    }
    std::size_t at = append(into, 0, second_, 7);
    at = append(into, at, nonce_, 8);
    at = append(into, at, count_, std::max(4, width_of(count_)));
    ++count_;
    return static_cast<std::uint8_t>(at);
}

}  // namespace postern::shard

#include "postern/base/siphash.h"

#include <bit>
#include <cstring>

namespace postern::base {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie");

constexpr int finishing_rounds = 3;

struct State {
    std::uint64_t v0, v1, v2, v3;

    void round() {
        v0 += v1;
        v2 += v3;
        v1 = std::rotl(v1, 13) ^ v0;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 = std::rotl(v0, 32);
        v2 += v1;
        v0 += v3;
        v1 = std::rotl(v1, 17) ^ v2;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 = std::rotl(v2, 32);
    }

    void absorb(std::uint64_t word) {
        v3 ^= word;
        round();
        v0 ^= word;
    }

    std::uint64_t finish() {
        for (int i = 0; i < finishing_rounds; ++i) {
            round();
        }
        return v0 ^ v1 ^ v2 ^ v3;
    }
};

State begin(const HashKey& key) {
    return {
        key.first ^ 0x736f6d6570736575U,
        key.second ^ 0x646f72616e646f6dU,
        key.first ^ 0x6c7967656e657261U,
        key.second ^ 0x7465646279746573U};
}

void absorb(State& state, std::string_view bytes) {
    std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
    for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data(), 8);
        state.absorb(word);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, bytes.data(), bytes.size());
    last |= rest;
    state.absorb(last);
}

}  // namespace

std::uint64_t siphash(const HashKey& key, std::string_view bytes) {
    State state = begin(key);
    absorb(state, bytes);
    state.v2 ^= 0xff;
    return state.finish();
}

Hash128 siphash128(const HashKey& key, std::string_view bytes) {
    State state = begin(key);
    state.v1 ^= 0xee;
    absorb(state, bytes);
    state.v2 ^= 0xee;
    const std::uint64_t low = state.finish();
    state.v1 ^= 0xdd;
    return {low, state.finish()};
}

}  // namespace postern::base

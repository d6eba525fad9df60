#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "postern/route/rules.h"

/// What the tests of this room load rules with.
namespace postern::route {

inline Secrets secrets_of(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Secrets secrets;
    for (auto& number : secrets.numbers) {
        for (auto& word : number) {
            word = random();
        }
    }
    return secrets;
}

inline RuleSettings two_pools() {
    RuleSettings settings;
    settings.pools = {"one", "two"};
    return settings;
}

inline Loaded load_text(
    std::string_view text, const RuleSettings& settings = two_pools(), std::uint64_t seed = 1) {
    Source source{"a.rules", text};
    return load({&source, 1}, settings, secrets_of(seed));
}

}  // namespace postern::route

#pragma once

#include <optional>

#include "postern/config/config.h"
#include "postern/mail/mode.h"

namespace postern::shard {

/// The pool's own, where it states one; else the listener's or the general one holds.
inline std::optional<config::Mode> own_mode(const config::Pool& pool) {
    return pool.delivery_is_own ? std::optional(pool.delivery) : std::nullopt;
}

inline std::optional<config::Defer> own_defer(const config::Pool& pool) {
    return pool.defer_is_own ? std::optional(pool.defer) : std::nullopt;
}

/// Who answers for mail that a rule sends to a pool: the rule says it before the pool, that before
/// the listener by which it came, that before [delivery], which is the listener's where that has
/// none of its own (product.md, section 2).
mail::Mode mode_of(
    const std::optional<mail::Mode>& rule,
    const std::optional<config::Mode>& pool,
    config::Mode listener);

}  // namespace postern::shard

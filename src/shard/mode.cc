#include "postern/shard/mode.h"

namespace postern::shard {

mail::Mode mode_of(
    const std::optional<mail::Mode>& rule,
    const std::optional<config::Mode>& pool,
    config::Mode listener) {
    if (rule) {
        return *rule;
    }
    switch (pool.value_or(listener)) {
        case config::Mode::sync:
            return mail::Mode::sync;
        case config::Mode::hybrid:
            return mail::Mode::hybrid;
        case config::Mode::queue:
            break;
    }
    return mail::Mode::queue;
}

}  // namespace postern::shard

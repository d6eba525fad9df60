#pragma once

#include <cstdint>
#include <string_view>

namespace postern::mail {

/// Who is responsible for a message, and when its sender is told (product.md, section 3). The
/// spool's files hold the numbers (src/journal/format.md).
enum class Mode : std::uint8_t { sync, hybrid, queue };

/// As configuration and rules write it.
constexpr std::string_view name_of(Mode mode) {
    switch (mode) {
        case Mode::sync:
            return "sync";
        case Mode::hybrid:
            return "hybrid";
        case Mode::queue:
            break;
    }
    return "queue";
}

}  // namespace postern::mail

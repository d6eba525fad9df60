#pragma once

#include <cstddef>
#include <span>

namespace postern::io {

/// Fills `into` with the system's randomness (getrandom), fit for secrets. Any thread; never fails.
void fill_with_entropy(std::span<std::byte> into);

}  // namespace postern::io

#pragma once

#include <cstdint>

/// How often this thread has asked for heap memory, by malloc, its relatives or operator new, in
/// any library.
namespace postern::bench {

std::uint64_t allocations();

}  // namespace postern::bench

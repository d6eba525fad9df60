#include "spent.h"

#include <valgrind/callgrind.h>

#include <algorithm>
#include <cstddef>
#include <string>

namespace {

thread_local std::uint64_t count = 0;

}  // namespace

// glibc's own names for what it would have done. operator new ends in malloc.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
    ++count;
    return __libc_malloc(size);
}

void* calloc(std::size_t members, std::size_t size) {
    ++count;
    return __libc_calloc(members, size);
}

void* realloc(void* memory, std::size_t size) {
    ++count;
    return __libc_realloc(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
    ++count;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
    ++count;
    *memory = __libc_memalign(alignment, size);
    return *memory == nullptr ? 12 : 0;  // ENOMEM
}
}

namespace postern::bench {

Spent::Spent() {
    CALLGRIND_ZERO_STATS;
}

void Spent::begin() {
    before_ = count;
    CALLGRIND_TOGGLE_COLLECT;
}

void Spent::end() {
    CALLGRIND_TOGGLE_COLLECT;
    allocated_ += count - before_;
}

void Spent::report(benchmark::State& state, double things) const {
    CALLGRIND_DUMP_STATS_AT(std::to_string(things).c_str());
    state.counters["allocations"] = static_cast<double>(allocated_) / std::max(things, 1.0);
}

}  // namespace postern::bench

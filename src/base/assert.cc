#include "postern/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace postern::base {

void (*on_assertion)() = nullptr;

void assertion_failed(const char* condition, const char* message, const char* file, int line) {
    std::fprintf(
        stderr, "postern: bug: %s (expected %s) at %s:%d\n", message, condition, file, line);
    if (on_assertion != nullptr) {
        auto hook = on_assertion;
        on_assertion = nullptr;  // a hook that fails itself must not loop
        hook();
    }
    std::abort();
}

}  // namespace postern::base

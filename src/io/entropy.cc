#include "postern/io/entropy.h"

#include <sys/random.h>

#include <cerrno>

#include "postern/base/assert.h"

namespace postern::io {

void fill_with_entropy(std::span<std::byte> into) {
    while (!into.empty()) {
        const ssize_t got = getrandom(into.data(), into.size(), 0);
        POSTERN_ASSERT(got > 0 || errno == EINTR, "the kernel gave no randomness");
        if (got > 0) {
            into = into.subspan(static_cast<std::size_t>(got));
        }
    }
}

}  // namespace postern::io

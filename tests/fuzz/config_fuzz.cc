#include <cstddef>
#include <cstdint>
#include <string_view>

#include "postern/base/assert.h"
#include "postern/config/parse.h"

/// Whatever the file holds: a configuration or errors, never both, each error with a place in the
/// text and in one printable line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto parsed = postern::config::parse(text, "postern.toml", "gw.example.net");
    POSTERN_ASSERT(parsed.config.has_value() == parsed.errors.empty(), "a configuration or errors");
    for (const auto* problems : {&parsed.errors, &parsed.warnings}) {
        for (const auto& problem : *problems) {
            POSTERN_ASSERT(
                problem.line >= 1 && problem.line <= size + 1, "a problem has a line of the text");
            POSTERN_ASSERT(
                problem.column >= 1 && problem.column <= size + 1,
                "a problem has a column of the text");
            for (const char c : problem.format()) {
                POSTERN_ASSERT(c >= ' ' && c < '\x7f', "a problem is one printable line");
            }
        }
    }
    return 0;
}

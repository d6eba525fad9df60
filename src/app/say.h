#pragma once

#include <cstdio>
#include <iterator>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace postern::app {

/// Prints to standard output or standard error. One that takes no more (a pipe that is gone, a disk
/// that is full) ends nobody: a command looks once, at its end (main).
template <class... Arguments>
void say(std::FILE* out, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::memory_buffer text;
    fmt::format_to(std::back_inserter(text), format, std::forward<Arguments>(arguments)...);
    std::fwrite(text.data(), 1, text.size(), out);
}

/// Says what is wrong on standard error; gives back the exit code.
inline int complain(int code, std::string_view what) {
    say(stderr, "postern: {}\n", what);
    return code;
}

}  // namespace postern::app

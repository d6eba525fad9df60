#pragma once

/// Our own mistakes. An assertion stays on in release builds: it prints what was expected, where,
/// and then whatever the installed `on_assertion` hook knows (a worker's last events), and aborts.
/// Never used for what a peer or the world can cause.
namespace postern::base {

[[noreturn]] void assertion_failed(
    const char* condition, const char* message, const char* file, int line);

/// Called once, before the abort, on the thread that failed. Set at start, before threads exist;
/// may be null.
extern void (*on_assertion)();

}  // namespace postern::base

#define POSTERN_ASSERT(condition, message) \
    (__builtin_expect(!!(condition), 1)    \
         ? static_cast<void>(0)            \
         : ::postern::base::assertion_failed(#condition, message, __FILE__, __LINE__))

#include "watch.h"

#include <execinfo.h>
#include <poll.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include <fmt/format.h>

#include "postern/base/assert.h"
#include "postern/io/clock.h"

namespace postern::app {
namespace {

// --- a thread's stack, taken by a signal that it handles itself ----------------------------------

constexpr int stack_signal = SIGUSR2;
constexpr int frames_max = 48;
constexpr int stack_wait_ms = 200;

struct Stack {
    std::array<void*, frames_max> frames{};
    std::atomic<int> count{-1};  // -1: not taken yet
};

Stack stack;  // of the one thread that was asked for it

void take_stack(int) {
    const int error = errno;
    stack.count.store(backtrace(stack.frames.data(), frames_max), std::memory_order_release);
    errno = error;
}

void install_handler() {
    // Its first call may load a library, which a signal handler must not do.
    void* frame = nullptr;
    backtrace(&frame, 1);

    struct sigaction action {};

    action.sa_handler = take_stack;
    action.sa_flags = SA_RESTART;
    sigaction(stack_signal, &action, nullptr);
}

/// "postern(+0x1234) ...", for addr2line; the innermost frame first.
std::string stack_of(pthread_t thread) {
    stack.count.store(-1, std::memory_order_relaxed);
    if (pthread_kill(thread, stack_signal) != 0) {
        return "its thread has ended";
    }
    for (int waited = 0; stack.count.load(std::memory_order_acquire) < 0; ++waited) {
        if (waited == stack_wait_ms) {
            return "it is in the kernel and does not give its stack";
        }
        poll(nullptr, 0, 1);
    }
    const int count = stack.count.load(std::memory_order_relaxed);
    char** const symbols = backtrace_symbols(stack.frames.data(), count);
    if (symbols == nullptr) {
        return "no memory for its stack";
    }
    std::string text;
    for (int i = 0; i < count; ++i) {
        std::string_view frame = symbols[i];
        frame = frame.substr(0, frame.find(" ["));
        frame.remove_prefix(std::min(frame.rfind('/', frame.find('(')) + 1, frame.size()));
        text += text.empty() ? "" : " ";
        text += frame;
    }
    std::free(symbols);  // NOLINT: it came from malloc
    return text;
}

// --- assertions ----------------------------------------------------------------------------------

thread_local const metrics::Meters* meters_of_this_thread = nullptr;

void print_this_thread() {
    if (meters_of_this_thread != nullptr) {
        metrics::print_state(*meters_of_this_thread, stderr);
    }
}

base::Instant from_ns(std::int64_t ns) {
    return base::Instant(base::Duration(ns));
}

}  // namespace

Watch::Watch(metrics::Registry& registry, log::Buffer& lines)
    : registry_(registry), lines_(lines), watched_(registry.workers()) {
    install_handler();
    base::on_assertion = print_this_thread;
}

Watch::~Watch() {
    base::on_assertion = nullptr;
}

void Watch::begin_worker(std::uint32_t number) {
    watched_[number].thread = pthread_self();
    meters_of_this_thread = &registry_.worker(number);
}

void Watch::add(std::uint32_t number, shard::Worker& worker) {
    Watched& watched = watched_[number];
    watched.worker = &worker;
    const std::int64_t now = io::monotonic_time().time_since_epoch().count();
    watched.turned_ns.store(now, std::memory_order_relaxed);
    watched.looked_ns.store(now, std::memory_order_relaxed);
}

void Watch::tick() {
    const base::Instant now = io::monotonic_time();
    for (std::uint32_t number = 0; number < watched_.size(); ++number) {
        look(watched_[number], number, now);
    }
}

void Watch::look(Watched& watched, std::uint32_t number, base::Instant now) {
    const metrics::Series& numbers = registry_.worker(number).own();
    const std::uint64_t turns = numbers.value<metrics::Metric::turns>();
    const std::int64_t now_ns = now.time_since_epoch().count();
    watched.looked_ns.store(now_ns, std::memory_order_relaxed);
    if (turns != watched.turns) {
        watched.turns = turns;
        watched.turned_ns.store(now_ns, std::memory_order_relaxed);
        if (watched.stalled.load(std::memory_order_relaxed)) {
            watched.stalled.store(false, std::memory_order_relaxed);
            lines_.line(io::wall_time(), "worker goes on")
                .text(log::Field::reply, fmt::format("worker {}", number))
                .commit();
        }
    }
    const base::Duration still = now - from_ns(watched.turned_ns.load(std::memory_order_relaxed));
    if (still >= still_max && !watched.stalled.load(std::memory_order_relaxed)) {
        watched.stalled.store(true, std::memory_order_relaxed);
        registry_.control().own().count<metrics::Metric::stalls>();
        lines_.line(io::wall_time(), "worker stands still")
            .text(log::Field::reply, fmt::format("worker {}: {}", number, stack_of(watched.thread)))
            .number(log::Field::ms, static_cast<std::uint64_t>(base::to_ms(still)))
            .commit();
    }
    const std::uint64_t overflows = numbers.value<metrics::Metric::completion_overflows>();
    if (overflows != watched.overflows) {
        lines_.line(io::wall_time(), "the kernel's completion queue was too short")
            .text(log::Field::reply, fmt::format("worker {}", number))
            .number(log::Field::count, overflows - watched.overflows)
            .commit();
        watched.overflows = overflows;
    }
    watched.worker->request_pulse();
}

void Watch::print(std::FILE* out) const {
    for (std::uint32_t number = 0; number < watched_.size(); ++number) {
        metrics::print_state(registry_.worker(number), out);
    }
}

std::vector<WorkerHealth> Watch::health() const {
    std::vector<WorkerHealth> all;
    for (std::uint32_t number = 0; number < watched_.size(); ++number) {
        const Watched& watched = watched_[number];
        const base::Duration still =
            base::Duration(watched.looked_ns.load(std::memory_order_relaxed)) -
            base::Duration(watched.turned_ns.load(std::memory_order_relaxed));
        all.push_back(
            {number,
             registry_.worker(number).own().value<metrics::Metric::turns>(),
             std::max(still, base::Duration(0)),
             watched.stalled.load(std::memory_order_relaxed)});
    }
    return all;
}

std::vector<std::string> Watch::pressure() const {
    std::vector<std::string> resources;
    for (std::size_t i = 0; i < std::size(metrics::resource_names); ++i) {
        std::uint64_t workers = 0;
        for (std::uint32_t number = 0; number < watched_.size(); ++number) {
            workers += registry_.worker(number).own().value<metrics::Metric::pressure>(
                static_cast<metrics::Resource>(i));
        }
        if (workers != 0) {
            resources.emplace_back(metrics::resource_names[i]);
        }
    }
    return resources;
}

}  // namespace postern::app

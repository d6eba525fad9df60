#include "postern/log/log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace postern::log {
namespace {

constexpr int drain_interval_ms = 50;

/// A descriptor of our own, so that it can be closed like any other.
base::Result<int> open_output(const Options& options) {
    const bool file = options.output == Options::Output::file;
    const int standard =
        options.output == Options::Output::standard_output ? STDOUT_FILENO : STDERR_FILENO;
    constexpr mode_t mode = 0640;  // addresses of people stand in it
    const int descriptor =
        file ? ::open(
                   options.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, mode)
             : ::fcntl(standard, F_DUPFD_CLOEXEC, 0);
    if (descriptor < 0) {
        return base::Error{
            "the log " + (file ? "file " + options.path : "output") +
            " can not be opened: " + std::strerror(errno) +
            "; set log.output to stderr, stdout or a file that can be written"};
    }
    return descriptor;
}

/// Signals are for the control thread.
void block_signals(sigset_t& before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
}

}  // namespace

base::Result<void> make_file(const std::string& path) {
    Options options;
    options.output = Options::Output::file;
    options.path = path;
    const auto output = open_output(options);
    if (!output) {
        return output.error();
    }
    ::close(*output);
    return {};
}

base::Result<std::unique_ptr<Log>> Log::open(const Options& options, std::size_t buffer_count) {
    const auto output = open_output(options);
    if (!output) {
        return output.error();
    }
    const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        const int error = errno;
        ::close(*output);
        return base::Error{
            std::string("the log thread's eventfd can not be made: ") + std::strerror(error)};
    }
    return std::unique_ptr<Log>(new Log(options, buffer_count, *output, wake));
}

Log::Log(const Options& options, std::size_t buffer_count, int output, int wake)
    : options_(options), output_(output), wake_(wake) {
    for (std::size_t i = 0; i < buffer_count; ++i) {
        buffers_.push_back(std::make_unique<Buffer>(options.format, options.buffer_size, wake));
    }
    sigset_t before;
    block_signals(before);
    thread_ = std::thread(&Log::run, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Log::~Log() {
    stopping_.store(true, std::memory_order_release);
    eventfd_write(wake_, 1);
    thread_.join();
    ::close(output_);
    ::close(wake_);
    const int unused = next_output_.load(std::memory_order_relaxed);
    if (unused >= 0) {
        ::close(unused);
    }
}

base::Result<void> Log::reopen() {
    if (options_.output != Options::Output::file) {
        return {};
    }
    const auto output = open_output(options_);
    if (!output) {
        return output.error();
    }
    const int unused = next_output_.exchange(*output, std::memory_order_acq_rel);
    if (unused >= 0) {
        ::close(unused);
    }
    eventfd_write(wake_, 1);
    return {};
}

std::uint64_t Log::dropped() const {
    std::uint64_t sum = 0;
    for (const auto& buffer : buffers_) {
        sum += buffer->dropped();
    }
    return sum;
}

void Log::run() {
    if (options_.on_thread != nullptr) {
        options_.on_thread();
    }
    bool last = false;
    while (!last) {
        pollfd woken{wake_, POLLIN, 0};
        ::poll(&woken, 1, drain_interval_ms);
        eventfd_t count = 0;
        eventfd_read(wake_, &count);
        // Read before the last draining, so that this sees all that was committed before the stop.
        last = stopping_.load(std::memory_order_acquire);
        const int next = next_output_.exchange(-1, std::memory_order_acq_rel);
        if (next >= 0) {
            ::close(output_);
            output_ = next;
        }
        for (const auto& buffer : buffers_) {
            drain(*buffer);
        }
    }
}

/// Writes what was there when it was called. What the output does not take stays, and is tried
/// again at the next turn.
void Log::drain(Buffer& buffer) {
    std::size_t left = buffer.pending().size();
    while (left > 0) {
        const Buffer::Pending pending = buffer.pending();
        std::array<iovec, 2> pieces{
            iovec{const_cast<char*>(pending.first.data()), pending.first.size()},
            iovec{const_cast<char*>(pending.second.data()), pending.second.size()}};
        const ssize_t written = ::writev(output_, pieces.data(), pieces.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return;
        }
        const auto octets = static_cast<std::size_t>(written);
        buffer.consume(octets);
        left -= std::min(left, octets);
    }
}

}  // namespace postern::log

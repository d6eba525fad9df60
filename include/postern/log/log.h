#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "postern/base/result.h"
#include "postern/log/buffer.h"

namespace postern::log {

struct Options {
    enum class Output : std::uint8_t { standard_error, standard_output, file };
    Format format = Format::json;
    Output output = Output::standard_error;
    std::string path;                   // for `file`; made when missing, appended to
    std::size_t buffer_size = 1 << 20;  // octets by buffer, a power of two
    void (*on_thread)() = nullptr;      // called first on the log thread
};

/// Makes the log file where it is missing, for a start that has the right to it only now.
base::Result<void> make_file(const std::string& path);

/// The log thread and the buffers it drains: every 50 ms, and at once when one is half full, it
/// writes what is there with plain write(2). When the output takes nothing (a full disk, a reader
/// that has gone), lines stay in their buffers and are tried again; what then finds no room is
/// dropped and counted. Owned by the control thread; buffers are used by their workers.
class Log {
   public:
    /// Opens the output and starts the thread. `buffer_count`: one for each worker, and one for the
    /// control thread.
    static base::Result<std::unique_ptr<Log>> open(
        const Options& options, std::size_t buffer_count);
    /// Writes what is left, as far as the output takes it. REQUIRES: nobody builds lines any more.
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    Buffer& buffer(std::size_t number) { return *buffers_[number]; }

    /// Lines that all buffers dropped since the beginning. Any thread.
    std::uint64_t dropped() const;

    /// Opens the file again (SIGHUP, after a rotation); lines committed before may go to either. On
    /// an error the old one stays in use. Control thread.
    base::Result<void> reopen();

   private:
    Log(const Options& options, std::size_t buffer_count, int output, int wake);
    void run();
    void drain(Buffer& buffer);

    const Options options_;
    int output_;                        // the log thread's
    const int wake_;                    // eventfd
    std::atomic<int> next_output_{-1};  // handed from reopen() to the log thread
    std::atomic<bool> stopping_{false};
    std::vector<std::unique_ptr<Buffer>> buffers_;
    std::thread thread_;
};

}  // namespace postern::log

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "postern/base/time.h"

/// Log lines on their way from one worker to the log thread. A worker formats a line's fields and
/// copies the whole line into a ring of bytes that the log thread empties (log.h): no allocation,
/// no lock and, but for a wake-up of the log thread at the edge of half full, no system call. A
/// full ring drops lines and counts them; traffic never waits for the log. One thread builds lines,
/// one other drains; both may do so at the same time.
namespace postern::log {

enum class Format : std::uint8_t { json, text };

/// A line's fields, in the order in which they stand in it; those that were not set are left out.
enum class Field : std::uint8_t {
    id,
    listener,
    client,
    helo,
    tls,
    login,
    orig_client,  // what XFORWARD said: NAME[ADDR]
    orig_helo,
    orig_id,
    from,
    to,
    rule,
    generation,
    pool,
    host,
    reply,
    ms,
    count,  // of what the line sums up: lines dropped, refusals suppressed
};

class Buffer;

/// One line being built, in its buffer's scratch memory: one at a time by buffer. Every text is
/// escaped, so that no peer's bytes can end the line or forge a field: as a JSON string (what is no
/// UTF-8 becomes U+FFFD), or in the text format as \xHH for all but printable ASCII without blanks
/// and quotes. A text past `text_max` octets is cut and ends in "...".
class Line {
   public:
    static constexpr std::size_t text_max = 2048;  // octets of one escaped text
    static constexpr std::size_t list_max =
        24576;  // of all recipients; past it the list ends in "..."

    /// REQUIRES: behind every field that was set before. `to` alone may be set again and is a list.
    Line& text(Field field, std::string_view value);
    Line& number(Field field, std::uint64_t value);
    /// Hands the line over, or drops it. The last call.
    void commit();

   private:
    friend class Buffer;
    Line(Buffer& buffer, base::WallTime now, std::string_view event);
    void begin_field(Field field);
    void append_list_item(std::string_view value);
    /// Where the next octets go. The format text has no quotes and brackets: `put_in_json`.
    char* room_for(std::size_t octets);
    void put(std::string_view bytes);
    void put_in_json(char c);
    void put_quoted(std::string_view value);
    void put_escaped(std::string_view value);
    void put_number(std::uint64_t value);

    Buffer& buffer_;
    int last_ = -1;  // the field that was set last
    std::size_t list_begin_ = 0;
    bool list_open_ = false;
    bool list_full_ = false;
};

class Buffer {
   public:
    /// `ring_size`: octets, a power of two of at least 64 KiB. `wake_descriptor`: an eventfd of the
    /// log thread, or -1.
    Buffer(Format format, std::size_t ring_size, int wake_descriptor);
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // --- the worker's side
    // ------------------------------------------------------------------------------------------------
    /// Begins a line. `event`: what happened, a word of our own.
    Line line(base::WallTime now, std::string_view event);

    // --- the log thread's side
    // --------------------------------------------------------------------------------------------
    /// What is there to be written: whole lines, in one piece or, around the ring's end, in two.
    struct Pending {
        std::string_view first;
        std::string_view second;

        std::size_t size() const { return first.size() + second.size(); }
    };

    Pending pending() const;
    /// The first `octets` of pending() are written.
    void consume(std::size_t octets);

    /// Lines dropped since the beginning. Any thread.
    std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

   private:
    friend class Line;
    // The longest line: all texts at their longest and the list, with room for names and
    // punctuation.
    static constexpr std::size_t scratch_size = 65536;

    void format_time(base::WallTime now);
    std::size_t room();
    void commit();
    void wake_when_half_full();

    const Format format_;
    const std::size_t ring_size_;
    const int wake_descriptor_;
    const std::unique_ptr<char[]> ring_;

    // Law: written_ - ring_size_ <= consumed_ <= written_. Each on its own cache line: two threads
    // write them.
    alignas(64) std::atomic<std::uint64_t> written_{0};
    // Beside it what only the worker touches.
    std::uint64_t consumed_seen_ = 0;
    std::atomic<std::uint64_t> dropped_{0};
    std::uint64_t dropped_reported_ = 0;
    bool woken_ = false;
    std::int64_t time_second_ = INT64_MIN;
    char time_text_[24] = {};  // "2026-11-22T13:44:17.000Z" of that second
    std::size_t scratch_used_ = 0;
    const std::unique_ptr<char[]> scratch_;
    alignas(64) std::atomic<std::uint64_t> consumed_{0};
};

}  // namespace postern::log

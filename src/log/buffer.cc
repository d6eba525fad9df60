#include "postern/log/buffer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "escape.h"
#include "postern/base/assert.h"

namespace postern::log {
namespace {

constexpr std::array<std::string_view, 18> field_names{
    "id",
    "listener",
    "client",
    "helo",
    "tls",
    "login",
    "orig_client",
    "orig_helo",
    "orig_id",
    "from",
    "to",
    "rule",
    "generation",
    "pool",
    "host",
    "reply",
    "ms",
    "count"};
constexpr std::string_view cut_mark = "...";

/// What stands in front of a field's value, in 16 octets that are copied as they are.
struct Opening {
    static constexpr std::size_t octets_max = 16;
    char octets[octets_max] = {};
    std::uint8_t size = 0;
};

using Openings = std::array<Opening, field_names.size()>;

constexpr Openings openings_of(Format format) {
    Openings openings;
    for (std::size_t field = 0; field < openings.size(); ++field) {
        Opening& opening = openings[field];
        const auto put = [&opening](std::string_view text) {
            for (const char c : text) {
                opening.octets[opening.size++] = c;
            }
        };
        put(format == Format::json ? ",\"" : " ");
        put(field_names[field]);
        put(format == Format::json ? "\":" : "=");
    }
    return openings;
}

constexpr std::array<Openings, 2> openings{openings_of(Format::json), openings_of(Format::text)};
static_assert(static_cast<int>(Format::json) == 0 && static_cast<int>(Format::text) == 1);

void put_digits(char* out, std::uint64_t value, int count) {
    for (int i = count - 1; i >= 0; --i) {
        out[i] = static_cast<char>('0' + value % 10);
        value /= 10;
    }
}

}  // namespace

// --- Line
// -------------------------------------------------------------------------------------------------------------------

Line::Line(Buffer& buffer, base::WallTime now, std::string_view event) : buffer_(buffer) {
    buffer_.scratch_used_ = 0;
    buffer_.format_time(now);
    const std::string_view time(buffer_.time_text_, sizeof buffer_.time_text_);
    if (buffer_.format_ == Format::json) {
        put("{\"time\":\"");
        put(time);
        put("\",\"event\":\"");
        put(event);
        put("\"");
    } else {
        put(time);
        put(" event=");
        put_escaped(event);
    }
}

Line& Line::text(Field field, std::string_view value) {
    if (field == Field::to) {
        append_list_item(value);
        return *this;
    }
    begin_field(field);
    put_quoted(value);
    return *this;
}

Line& Line::number(Field field, std::uint64_t value) {
    begin_field(field);
    put_number(value);
    return *this;
}

void Line::commit() {
    if (list_open_) {
        put_in_json(']');
    }
    put(buffer_.format_ == Format::json ? "}\n" : "\n");
    buffer_.commit();
}

void Line::begin_field(Field field) {
    const int number = static_cast<int>(field);
    POSTERN_ASSERT(number > last_, "a line's fields are set in their order");
    last_ = number;
    if (list_open_) {
        list_open_ = false;
        put_in_json(']');
    }
    const Opening& opening =
        openings[static_cast<std::size_t>(buffer_.format_)][static_cast<std::size_t>(number)];
    std::memcpy(room_for(Opening::octets_max), opening.octets, Opening::octets_max);
    buffer_.scratch_used_ += opening.size;
}

void Line::append_list_item(std::string_view value) {
    if (!list_open_) {
        begin_field(Field::to);
        list_open_ = true;
        put_in_json('[');
        list_begin_ = buffer_.scratch_used_;
    } else if (list_full_) {
        return;
    } else {
        put(",");
    }
    const std::size_t room = list_max - (buffer_.scratch_used_ - list_begin_);
    constexpr std::size_t quotes_and_mark = 16;
    list_full_ = room < text_max + quotes_and_mark;
    if (list_full_) {
        put_in_json('"');
        put(cut_mark);
        put_in_json('"');
    } else {
        put_quoted(value);
    }
}

char* Line::room_for(std::size_t octets) {
    POSTERN_ASSERT(
        octets <= Buffer::scratch_size - buffer_.scratch_used_, "a line fits its scratch memory");
    return buffer_.scratch_.get() + buffer_.scratch_used_;
}

void Line::put(std::string_view bytes) {
    std::memcpy(room_for(bytes.size()), bytes.data(), bytes.size());
    buffer_.scratch_used_ += bytes.size();
}

void Line::put_in_json(char c) {
    *room_for(1) = c;
    buffer_.scratch_used_ += buffer_.format_ == Format::json ? 1 : 0;
}

void Line::put_quoted(std::string_view value) {
    put_in_json('"');
    put_escaped(value);
    put_in_json('"');
}

void Line::put_escaped(std::string_view value) {
    char* const out = room_for(text_max);
    const Escaped escaped = buffer_.format_ == Format::json ? escape_json(value, out, text_max)
                                                            : escape_text(value, out, text_max);
    buffer_.scratch_used_ += escaped.size;
    if (!escaped.whole) {
        put(cut_mark);
    }
}

void Line::put_number(std::uint64_t value) {
    std::array<char, 20> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    put({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

// --- Buffer, the worker's side
// ----------------------------------------------------------------------------------------------

Buffer::Buffer(Format format, std::size_t ring_size, int wake_descriptor)
    : format_(format),
      ring_size_(ring_size),
      wake_descriptor_(wake_descriptor),
      ring_(new char[ring_size]),
      scratch_(new char[scratch_size]) {
    static_assert(field_names.size() * (Line::text_max + 64) + Line::list_max < scratch_size);
    POSTERN_ASSERT(
        (ring_size & (ring_size - 1)) == 0 && ring_size >= scratch_size,
        "a ring holds a line and is a power of two");
}

void Buffer::format_time(base::WallTime now) {
    const auto second = std::chrono::floor<std::chrono::seconds>(now);
    const auto ms = std::chrono::floor<std::chrono::milliseconds>(now - second).count();
    if (second.time_since_epoch().count() != time_second_) {
        time_second_ = second.time_since_epoch().count();
        const auto day = std::chrono::floor<std::chrono::days>(second);
        const std::chrono::year_month_day date(day);
        const std::chrono::hh_mm_ss time(second - day);
        std::memcpy(time_text_, "0000-00-00T00:00:00.000Z", sizeof time_text_);
        put_digits(time_text_, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
        put_digits(time_text_ + 5, static_cast<unsigned>(date.month()), 2);
        put_digits(time_text_ + 8, static_cast<unsigned>(date.day()), 2);
        put_digits(time_text_ + 11, static_cast<std::uint64_t>(time.hours().count()), 2);
        put_digits(time_text_ + 14, static_cast<std::uint64_t>(time.minutes().count()), 2);
        put_digits(time_text_ + 17, static_cast<std::uint64_t>(time.seconds().count()), 2);
    }
    put_digits(time_text_ + 20, static_cast<std::uint64_t>(ms), 3);
}

Line Buffer::line(base::WallTime now, std::string_view event) {
    const std::uint64_t unreported = dropped() - dropped_reported_;
    // Not before half of the ring is free: else one notice and one line would take turns.
    if (unreported > 0 && room() >= ring_size_ / 2) {
        dropped_reported_ += unreported;
        Line(*this, now, "dropped").number(Field::count, unreported).commit();
    }
    return {*this, now, event};
}

std::size_t Buffer::room() {
    consumed_seen_ = consumed_.load(std::memory_order_acquire);
    return ring_size_ - (written_.load(std::memory_order_relaxed) - consumed_seen_);
}

void Buffer::commit() {
    const std::uint64_t written = written_.load(std::memory_order_relaxed);
    const std::size_t size = scratch_used_;
    if (ring_size_ - (written - consumed_seen_) < size && room() < size) {
        dropped_.store(dropped() + 1, std::memory_order_relaxed);
    } else {
        const std::size_t begin = written & (ring_size_ - 1);
        const std::size_t before_end = std::min(size, ring_size_ - begin);
        std::memcpy(ring_.get() + begin, scratch_.get(), before_end);
        std::memcpy(ring_.get(), scratch_.get() + before_end, size - before_end);
        written_.store(written + size, std::memory_order_release);
    }
    wake_when_half_full();
}

void Buffer::wake_when_half_full() {
    const std::uint64_t written = written_.load(std::memory_order_relaxed);
    if (written - consumed_seen_ <= ring_size_ / 2 || room() >= ring_size_ / 2) {
        woken_ = false;
    } else if (!woken_ && wake_descriptor_ >= 0) {
        woken_ = true;
        const std::uint64_t one = 1;
        // It can fail only where the log thread has not yet seen 2^64 wake-ups.
        [[maybe_unused]] const auto result = ::write(wake_descriptor_, &one, sizeof one);
    }
}

// --- Buffer, the log thread's side
// ------------------------------------------------------------------------------------------

Buffer::Pending Buffer::pending() const {
    const std::uint64_t consumed = consumed_.load(std::memory_order_relaxed);
    const std::size_t size = written_.load(std::memory_order_acquire) - consumed;
    const std::size_t begin = consumed & (ring_size_ - 1);
    const std::size_t before_end = std::min(size, ring_size_ - begin);
    return {{ring_.get() + begin, before_end}, {ring_.get(), size - before_end}};
}

void Buffer::consume(std::size_t octets) {
    consumed_.store(consumed_.load(std::memory_order_relaxed) + octets, std::memory_order_release);
}

}  // namespace postern::log

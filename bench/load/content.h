#pragma once

#define XXH_STATIC_LINKING_ONLY  // the state is held by value
#include <xxhash.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What a message is known by: the sums of its content, and the reverse-path that carries them. So
/// the sink can check a message by itself, and the content stays as it is, octet for octet. Plain
/// values; any thread.
namespace postern::bench {

/// Header and body are summed apart, so that a changed header is told from a changed body. The
/// header ends behind the first empty line.
struct Sums {
    std::uint64_t size = 0;  // octets of both
    std::uint32_t header = 0;
    std::uint32_t body = 0;
    bool operator==(const Sums&) const = default;
};

/// Takes a message in pieces, as they come.
class ContentSum {
   public:
    ContentSum() { reset(); }

    void reset();
    void append(std::string_view piece);
    /// Of all that was appended. Call once, then reset().
    Sums finish();

   private:
    XXH3_state_t state_;
    Sums sums_;
    int matched_ = 2;  // octets of CRLF CRLF seen; a message may begin with its empty line
    bool in_body_ = false;
};

Sums sums_of(std::string_view content);

/// Skips the trace lines that the gateways under test put in front: up to `lines` Received: header
/// fields, folded lines included.
class ReceivedSkipper {
   public:
    explicit ReceivedSkipper(int lines = 0) { reset(lines); }

    void reset(int lines);

    /// How many fields were skipped so far.
    int skipped() const { return skipped_; }

    /// What lies behind them: `held` (octets of earlier pieces that only looked like the field's
    /// name), then `rest`.
    struct Behind {
        std::string_view held, rest;
    };

    Behind pass(std::string_view piece);

    /// What is still held when the message ends.
    std::string_view finish() const { return {held_, state_ == State::name ? matched_ : 0}; }

   private:
    enum class State : std::uint8_t { name, line, line_end, through };
    State state_ = State::through;
    std::size_t matched_ = 0;
    char held_[9] = {};
    int lines_ = 0;
    int skipped_ = 0;
};

/// b-RUN-NUMBER-SIZE-HEADER-BODY in hexadecimal digits: the local part of the reverse-path, at most
/// 62 octets.
struct Identity {
    std::uint32_t run = 0;
    std::uint64_t number = 0;
    Sums sums;
    bool operator==(const Identity&) const = default;
};

void append_local_part(std::string& to, const Identity& identity);
/// nullopt: not a local part that append_local_part made.
std::optional<Identity> parse_local_part(std::string_view text);

std::uint64_t recipient_sum(std::string_view address);

/// As a gateway that repairs bare line ends hands it on: a bare LF becomes CRLF, a bare CR a blank.
std::string repaired(std::string_view content);
/// RFC 5321, 4.5.2: a dot more in front of each line that begins with one; then the lone dot that
/// ends the data.
std::string as_data(std::string_view content);

}  // namespace postern::bench

#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

/// Reads message content as the sink receives it: by DATA (RFC 5321, 4.1.1.4 and 4.5.2) it finds
/// the end and takes the stuffed dots out; by BDAT it looks on. In both it counts what no gateway
/// may send. Pure; one message at a time.
namespace postern::bench {

class ContentScanner {
   public:
    enum class By : std::uint8_t { data, bdat };
    void reset(By by);

    /// Appends to `content` the parts of `bytes` that are the message's, in order; they point into
    /// `bytes` or to constants. Returns how many octets were taken: all, or fewer where the data
    /// end within them.
    std::size_t scan(std::string_view bytes, std::vector<std::string_view>& content);

    /// By DATA: the final dot was seen.
    bool ended() const { return state_ == State::ended; }

    std::uint64_t bare_cr() const { return bare_cr_ + (state_ == State::cr ? 1 : 0); }

    std::uint64_t bare_lf() const { return bare_lf_; }

    bool eight_bit() const { return eight_bit_; }

   private:
    enum class State : std::uint8_t { line_start, text, cr, dot, dot_cr, ended };
    By by_ = By::data;
    State state_ = State::line_start;
    std::uint64_t bare_cr_ = 0;
    std::uint64_t bare_lf_ = 0;
    bool eight_bit_ = false;
};

}  // namespace postern::bench

#pragma once

#include <cstdint>
#include <string_view>

/// Looks once at each octet of a body as it arrives and turns it into the canonical form
/// (mail/body.h): lines end in CRLF and in nothing else, dots are not stuffed. The end of a DATA
/// body is CRLF.CRLF as it came, decided before any repair, and nothing else; a bare LF becomes
/// CRLF after that, a bare CR a blank. Pure, a few octets of state, for one message at a time.
namespace postern::smtp {

/// A piece of canonical content.
struct BodyPiece {
    std::string_view run;  // empty: nothing to append
    bool in_place =
        false;  // `run` lies in the bytes that were handed in; else it is text that lives for ever
    bool begins_line = false;   // its first octet is the first of a line
    bool has_dot_line = false;  // some line that begins in it begins with a dot
    bool ends_data = false;     // CRLF.CRLF was found: what follows is no part of the body
};

class BodyScanner {
   public:
    /// A new message. `stuffed`: by DATA, with its dots and its end; else by BDAT, where the driver
    /// knows the length and CRLF.CRLF is content.
    void begin(bool stuffed);

    /// Takes bytes from the front of `input` and gives the next piece of content. When it returns
    /// an empty run without `ends_data`, all of `input` was taken. At most two octets (a dot and a
    /// CR whose meaning the next octet decides) are held back between calls.
    BodyPiece next(std::string_view& input);

    /// The end of a body that came by BDAT: what was held back.
    BodyPiece finish();

    /// Was there a CR or LF that was no CRLF?
    bool bare_newline() const { return bare_newline_; }

    /// Was there an octet over 127?
    bool eight_bit() const { return eight_bit_; }

   private:
    /// Where the scanner stands in the octets as they came.
    enum class State : std::uint8_t {
        line_start,  // behind a true CRLF (or at the beginning), by DATA only: a dot here is
                     // stuffed or the end
        dot,         // such a dot was held back
        dot_cr,      // and a CR behind it
        text,        // anywhere else
        cr,          // in text, and a CR was held back
    };

    BodyPiece take_text(std::string_view& input);
    BodyPiece literal(std::string_view text);
    BodyPiece piece(std::string_view run, bool dot_line_inside);

    State state_ = State::line_start;
    bool stuffed_ = true;
    bool at_line_begin_ = true;  // of the canonical content
    bool bare_newline_ = false;
    bool eight_bit_ = false;
};

/// The part of the scan that goes 64 octets at a time; for its test and benchmark.
struct OddOctet {
    std::size_t index = 0;   // of the first octet that needs a closer look, or the size
    bool eight_bit = false;  // an octet before it is over 127
    bool dot_line =
        false;  // before it, a dot stands behind an LF (only where `stop_at_dots` is false)
};

/// Finds the first bare LF, the first CR that no LF follows (or that comes last), and with
/// `stop_at_dots` the first dot behind an LF. The octet in front of `text` is taken as neither CR
/// nor LF.
OddOctet find_odd_octet(std::string_view text, bool stop_at_dots);
/// The same in its two variants: for all processors, and where AVX2 is there.
OddOctet find_odd_octet_sse2(std::string_view text, bool stop_at_dots);
OddOctet find_odd_octet_avx2(std::string_view text, bool stop_at_dots);

}  // namespace postern::smtp

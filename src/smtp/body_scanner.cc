#include "postern/smtp/body_scanner.h"

#include "postern/base/assert.h"

namespace postern::smtp {

namespace {
constexpr std::string_view crlf = "\r\n";
constexpr std::string_view blank = " ";
}  // namespace

void BodyScanner::begin(bool stuffed) {
    *this = BodyScanner{};
    stuffed_ = stuffed;
    state_ = stuffed ? State::line_start : State::text;
}

BodyPiece BodyScanner::piece(std::string_view run, bool dot_line_inside) {
    BodyPiece result;
    result.run = run;
    result.in_place = true;
    if (!run.empty()) {
        result.begins_line = at_line_begin_;
        result.has_dot_line = dot_line_inside || (at_line_begin_ && run.front() == '.');
        at_line_begin_ =
            run.back() == '\n';  // a run never ends within a CRLF, and holds no bare LF
    }
    return result;
}

BodyPiece BodyScanner::literal(std::string_view text) {
    BodyPiece result = piece(text, false);
    result.in_place = false;
    return result;
}

BodyPiece BodyScanner::next(std::string_view& input) {
    while (!input.empty()) {
        const char c = input.front();
        switch (state_) {
            case State::line_start:
                if (c == '.') {
                    state_ = State::dot;
                    input.remove_prefix(1);
                } else {
                    state_ = State::text;
                }
                break;
            case State::dot:
                // Anything but the end: the dot was stuffed and goes (RFC 5321, section 4.5.2).
                if (c == '\r') {
                    state_ = State::dot_cr;
                    input.remove_prefix(1);
                } else {
                    state_ = State::text;
                }
                break;
            case State::dot_cr:
                if (c == '\n') {
                    input.remove_prefix(1);
                    state_ = State::line_start;
                    BodyPiece end;
                    end.ends_data = true;
                    return end;
                }
                state_ = State::cr;
                break;
            case State::cr:
                if (c == '\n') {
                    input.remove_prefix(1);
                    state_ = stuffed_ ? State::line_start : State::text;
                    return literal(crlf);
                }
                bare_newline_ = true;
                state_ = State::text;
                return literal(blank);
            case State::text: {
                const BodyPiece result = take_text(input);
                if (!result.run.empty()) {
                    return result;
                }
                break;
            }
        }
    }
    return {};
}

BodyPiece BodyScanner::take_text(std::string_view& input) {
    const OddOctet odd = find_odd_octet(input, stuffed_);
    eight_bit_ |= odd.eight_bit;
    const std::string_view run = input.substr(0, odd.index);
    input.remove_prefix(odd.index);
    if (!run.empty() && stuffed_ && run.back() == '\n') {
        state_ = State::line_start;
        return piece(run, odd.dot_line);
    }
    if (!input.empty() && input.front() == '\r') {
        state_ = State::cr;
        input.remove_prefix(1);
        return piece(run, odd.dot_line);
    }
    if (run.empty() && !input.empty()) {
        POSTERN_ASSERT(input.front() == '\n', "only a bare LF is left where a run is empty");
        bare_newline_ = true;
        input.remove_prefix(1);
        return literal(crlf);
    }
    return piece(run, odd.dot_line);
}

BodyPiece BodyScanner::finish() {
    POSTERN_ASSERT(!stuffed_, "a body by DATA ends with its dot");
    if (state_ != State::cr) {
        return {};
    }
    bare_newline_ = true;
    state_ = State::text;
    return literal(blank);
}

}  // namespace postern::smtp

#pragma once

#include <cstdint>
#include <string_view>

/// Reads a message's header as its canonical content goes by, until the first empty line: counts
/// Received: lines, those of our own among them (to end loops, RFC 5321, section 6.3), and sees
/// octets over 127 (RFC 6532). Pure, constant size.
namespace postern::smtp {

class HeaderWatcher {
   public:
    /// The next piece of canonical content. `hostname`: our name, as our Received: lines say it.
    void watch(std::string_view run, std::string_view hostname);

    std::uint32_t received_count() const { return received_count_; }

    /// Received: lines that say "by HOSTNAME (Postern)", folded or not.
    std::uint32_t own_received_count() const { return own_received_count_; }

    bool non_ascii() const { return non_ascii_; }

   private:
    enum class State : std::uint8_t {
        name,      // at `matched_` octets of "received:", from the line's beginning
        cr,        // the line began with a CR: an empty one, if an LF follows
        skip,      // in a field that is of no interest, up to the line's end
        received,  // in the value of a Received: field
        line_end,  // behind its CRLF: a blank goes on with the field
        done,
    };
    /// What of "by HOSTNAME (Postern)" has been read, word by word.
    enum class Own : std::uint8_t { nothing, by, hostname, counted };

    void at_line_begin(char c);
    void in_received(char c, std::string_view hostname);
    void word_ended(std::string_view hostname);

    State state_ = State::name;
    Own own_ = Own::nothing;
    bool by_matches_ = true;  // the word so far is the beginning of "by"
    bool wanted_matches_ =
        true;  // the word so far is the beginning of the word that is wanted next
    bool non_ascii_ = false;
    std::uint16_t matched_ = 0;  // octets of the field's name, or of the word
    std::uint32_t received_count_ = 0;
    std::uint32_t own_received_count_ = 0;
};

}  // namespace postern::smtp

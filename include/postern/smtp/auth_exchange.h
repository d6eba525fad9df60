#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "postern/smtp/answer.h"

/// AUTH (RFC 4954) from the command to a name and a password, by PLAIN (RFC 4616) or LOGIN. Pure.
namespace postern::smtp {

enum class Mechanism : std::uint8_t { plain, login };

/// Views into an AuthExchange.
struct Credentials {
    std::string_view name;
    std::string_view password;
};

/// What the client has said since its AUTH. Takes lines as they come, however they are cut, so that
/// none needs to be held whole, and keeps what they decode to, until it is destroyed and that
/// overwritten.
class AuthExchange {
   public:
    explicit AuthExchange(Mechanism mechanism) : mechanism_(mechanism) {}

    ~AuthExchange();
    AuthExchange(const AuthExchange&) = delete;
    AuthExchange& operator=(const AuthExchange&) = delete;

    /// A line begins; of an initial response so many octets of AUTH's own stand before it.
    void begin_line(std::size_t octets_before);
    /// Part of a line.
    void take(std::string_view part);
    /// The line is over. Answer::none: all is said; a 334: the next line is wanted; else the AUTH
    /// has failed, and that says why. `initial`: it came with the command.
    Answer end_line(bool initial);

    /// Octets of the line so far.
    std::size_t line_octets() const { return line_octets_; }

    /// After end_line said none. False: no name or password that could be somebody's.
    bool credentials(Credentials& credentials) const;

    /// What is asked for when a line begins: a 334.
    Answer challenge() const;

   private:
    void decode(char c);
    void put(std::uint32_t value, unsigned count);

    /// Three parts of 255 octets and what stands between them (RFC 4616, section 2), and more for a
    /// long password. What is longer is nobody's.
    static constexpr std::size_t decoded_max = 1280;

    const Mechanism mechanism_;
    bool has_name_ = false;        // LOGIN: the line before was it
    bool bad_ = false;             // the line is no base64
    bool too_much_ = false;        // of all lines: decoded, there is no room for it
    char first_ = '\0';            // of the line's characters
    std::uint8_t padding_ = 0;     // '=' so far
    std::uint8_t characters_ = 0;  // of a group of four
    std::uint32_t group_ = 0;      // their bits
    std::size_t taken_ = 0;        // characters of the line
    std::size_t line_octets_ = 0;
    std::size_t name_size_ = 0;  // LOGIN
    std::size_t size_ = 0;
    std::array<char, decoded_max> decoded_;
};

/// RFC 4954, section 4: a line with its CRLF.
constexpr std::size_t auth_line_octets_max = 12288;

}  // namespace postern::smtp

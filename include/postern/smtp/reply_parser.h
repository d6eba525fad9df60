#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "postern/mail/reply.h"

/// What a smart host says: its replies (RFC 5321, 4.2), the extensions that its EHLO announces, and
/// what of a reply is passed on to the sender. Pure; views into the caller's bytes; nothing is
/// allocated.
namespace postern::smtp {

/// A whole reply as it came. `bytes`: all its lines, each with its CRLF.
struct HostReply {
    std::uint16_t code = 0;  // 200 to 599
    std::string_view bytes;

    /// Walks the lines' texts, without code, separator and CRLF.
    class Lines {
       public:
        explicit Lines(std::string_view bytes) : rest_(bytes) {}

        bool next(std::string_view& text);

       private:
        std::string_view rest_;
    };

    Lines lines() const { return Lines(bytes); }

    /// For a log line: without the last CRLF.
    std::string_view said() const { return bytes.substr(0, bytes.size() - 2); }
};

/// Finds a reply's end. Bounds are far over RFC 5321, 4.5.3.1.5, and a host that passes them is not
/// talking SMTP. Lines end in CRLF and in nothing else: were a bare LF an end, text that a host
/// repeats could be read as another answer.
class ReplyParser {
   public:
    static constexpr std::size_t line_octets_max = 2048;  // its CRLF included
    static constexpr std::size_t lines_max = 128;
    static constexpr std::size_t octets_max = 16384;  // of all lines

    enum class Status : std::uint8_t { consumed, partial, error };

    struct Result {
        Status status;
        std::size_t consumed = 0;  // octets of `bytes` that were the reply
        HostReply reply;           // set for consumed
    };

    /// `bytes` begin with a reply's first octet. After `partial` the next call has the same octets
    /// and more behind them; what was looked at is not looked at again. `error`: malformed, and
    /// nothing behind it can be told apart.
    Result parse(std::string_view bytes);

   private:
    std::size_t scanned_ = 0;     // no LF in front of this but those of whole lines
    std::size_t line_begin_ = 0;  // of the line that is not whole yet
    std::size_t lines_ = 0;
    std::uint16_t code_ = 0;
};

/// What XFORWARD can tell of a client, a bit each, in the order in which it is said.
enum class Xforward : std::uint8_t { name, addr, port, proto, helo, ident, source };
using XforwardSet = std::uint8_t;

constexpr XforwardSet set_of(Xforward word) {
    return static_cast<XforwardSet>(1U << static_cast<unsigned>(word));
}

/// What a host can do, as its EHLO said.
struct Capabilities {
    bool pipelining = false;
    bool chunking = false;
    bool eight_bit_mime = false;
    bool smtputf8 = false;
    bool dsn = false;
    bool starttls = false;
    bool auth_plain = false;
    bool auth_login = false;
    XforwardSet xforward = 0;  // the words that it knows
    bool size = false;
    std::uint64_t size_max = 0;  // octets; 0: none stated
    std::uint32_t mail_max = 0;  // LIMITS (RFC 9422): messages on a connection; 0: none stated
    std::uint32_t recipients_max = 0;  // in a transaction; 0: none stated
    std::uint32_t recipient_domains_max = 0;
};

/// `ignore`: keywords, upper case, that are passed over whatever the host says.
Capabilities parse_capabilities(const HostReply& reply, std::span<const std::string> ignore);

/// The least room that `reply_for_sender` wants.
constexpr std::size_t sender_text_octets = 8 * 512;

/// What of a host's answer its sender is given (product.md, section 4): the code mapped (421 to
/// 451; 552 to RCPT to 452; any 2xx to 250), the enhanced code if its class agrees, else X.0.0, and
/// at most 8 lines, each short enough for a line of 512 octets with both codes in front, other than
/// printable ASCII as '?'. The reply's text lies in `room`.
mail::Reply reply_for_sender(const HostReply& reply, bool to_rcpt, std::span<char> room);

/// Codes that tell of the host and not of the message, as its first refused step: 502, 503, 521,
/// 530 to 538, 555.
bool is_host_trouble(std::uint16_t code);

}  // namespace postern::smtp

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "postern/tls/context.h"

struct ssl_st;
struct ssl_session_st;

/// One TLS connection as a pure thing: octets go in, octets come out. It knows no socket and never
/// waits: each call does what it can with the octets that came and the room for those that go, and
/// says what is missing. One thread.
namespace postern::tls {

/// What a call takes and gives, from the front of each. Octets on the wire; nothing of it is kept
/// past the call.
struct Wire {
    std::string_view input;  // from the peer
    std::span<char> output;  // room for what is to be sent to it
};

enum class Status : std::uint8_t {
    done,    // what was asked for
    input,   // all input is taken, and more is needed
    room,    // the output is full: send it, and call again with more room
    ended,   // the peer has ended it in order (close_notify); what we have to say can still be said
    failed,  // it is over: send the output (it may hold an alert), and close; `failure` says why
};

/// What a client keeps of a session, to begin the next one with the same server for less. To be
/// used with the context and the names that it was made with: what was verified then is not
/// verified again.
class Resumption {
   public:
    Resumption() = default;
    ~Resumption();

    Resumption(Resumption&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}

    Resumption& operator=(Resumption&& other) noexcept {
        std::swap(session_, other.session_);
        return *this;
    }

    explicit operator bool() const { return session_ != nullptr; }

   private:
    friend class Session;
    friend struct SessionGlue;

    explicit Resumption(ssl_session_st* session) : session_(session) {}

    ssl_session_st* session_ = nullptr;
};

/// Whom a client speaks to. Views live for the call.
struct Peer {
    std::string_view server_name;  // that we tell it (SNI); empty: none, as for an address
    /// The host name or address that its certificate must hold, where the context verifies.
    std::string_view verified_name;
    const Resumption* resumption = nullptr;
};

class Session {
   public:
    /// The server's end. The context outlives it.
    explicit Session(const ServerContext& context);
    /// The client's.
    Session(const ClientContext& context, const Peer& peer);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// Goes on with the handshake. Output is to be sent after each call, whatever it returned: that
    /// holds for all below. REQUIRES: not established.
    Status handshake(Wire& wire);

    bool established() const { return established_; }

    /// Decrypts into `into`, as much as has come and fits: `count` octets, whatever is returned.
    /// done: `into` is full. REQUIRES, here and below: established.
    Status read(Wire& wire, std::span<char> into, std::size_t& count);

    /// From now on the session's own copy of what `read` gives is overwritten: it may be a
    /// password.
    void wipe_what_is_read();

    /// Part of a record has come, or octets are decrypted that were not read.
    bool holds_input() const;

    /// Encrypts what fits into the room: `plain` is taken from the front. done: all of it. Each
    /// call makes records of its own: gather before. May stop with `room` while there is a little.
    Status write(Wire& wire, std::string_view& plain);

    /// Says that nothing more will be written (close_notify). Once; then only `read`.
    Status close(Wire& wire);

    /// With so much room `write` takes at least one octet of what it is given.
    static constexpr std::size_t room_min = 512;
    /// So much more than plain octets its records may hold, for each 16 KiB that it begins.
    static constexpr std::size_t record_overhead_max = 128;

    /// Why it failed, in one clause: "certificate verify failed: self-signed certificate".
    const std::string& failure() const { return failure_; }

    // After the handshake: text that lives for ever; before it, null.
    const char* version() const;  // "TLSv1.3"
    const char* cipher() const;   // "TLS_AES_256_GCM_SHA384"
    bool resumed() const;

    /// The name that the client asked for (SNI); empty: none.
    std::string_view server_name() const;

    /// A client's: what the server has given for the next time, since this was called last. With
    /// TLS 1.3 it comes with the first octets behind the handshake.
    Resumption take_resumption() { return std::move(resumption_); }

   private:
    friend struct SessionGlue;

    /// How long a client says that its hello is: OpenSSL takes memory for all of it (up to 128 KiB)
    /// when it is told, and holds it until the last octet has come. Looks at a server's input in
    /// front of OpenSSL: records (RFC 8446, section 5.1), and where a handshake's next message is
    /// a hello, the type and the length that it begins with, over however many records.
    class Hello {
       public:
        bool passes(std::string_view octets);
        /// The next message is another one, or may be.
        void expect();

       private:
        std::array<unsigned char, 5> record_{};   // its type, version and length
        std::array<unsigned char, 4> message_{};  // its type and length
        std::uint8_t record_size_ = 0;            // what has come of each
        std::uint8_t message_size_ = 0;
        std::uint32_t left_ = 0;  // of the record
    };

    void begin(ssl_st* ssl);
    Status status_of(int result);

    ssl_st* ssl_ = nullptr;
    Wire* wire_ = nullptr;  // of the call under way
    bool established_ = false;
    bool failed_ = false;
    Hello hello_;
    std::uint32_t key_updates_ = 0;  // of the peer
    const char* refusal_ = nullptr;  // why nothing more is read of it
    std::string failure_;
    Resumption resumption_;
};

}  // namespace postern::tls

#include "postern/tls/session.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "errors.h"
#include "resumption.h"
#include "server_context.h"

namespace postern::tls {
namespace {

/// New keys that a peer may take in one session. They are due every 2^24 records (RFC 8446, section
/// 5.5), and each of them costs us more than it costs the peer.
constexpr std::uint32_t key_updates_max = 64;

/// OpenSSL has about as much at hand for messages of a handshake, from the first on. The longest
/// hellos that clients make, with keys that withstand quantum computers, are a quarter of it.
constexpr std::uint32_t hello_octets_max = 16384;

/// Octets as they stand on the wire, the first the highest.
std::uint32_t number_in(std::span<const unsigned char> octets) {
    std::uint32_t number = 0;
    for (const unsigned char octet : octets) {
        number = number << 8 | octet;
    }
    return number;
}

}  // namespace

/// What OpenSSL calls.
struct SessionGlue {
    static Session& session_of(BIO* bio) { return *static_cast<Session*>(BIO_get_data(bio)); }

    static int read(BIO* bio, char* into, std::size_t size, std::size_t* count) {
        BIO_clear_retry_flags(bio);
        Session& session = session_of(bio);
        if (session.refusal_ != nullptr) {
            *count = 0;
            return 0;  // and not again
        }
        std::string_view& input = session.wire_->input;
        *count = std::min(size, input.size());
        if (*count == 0) {
            BIO_set_retry_read(bio);
            return 0;
        }
        if (!session.established_ && SSL_is_server(session.ssl_) == 1 &&
            !session.hello_.passes(input.substr(0, *count))) {
            session.refusal_ = "the hello is too long";
            *count = 0;
            return 0;
        }
        std::memcpy(into, input.data(), *count);
        input.remove_prefix(*count);
        return 1;
    }

    static int write(BIO* bio, const char* from, std::size_t size, std::size_t* count) {
        BIO_clear_retry_flags(bio);
        std::span<char>& output = session_of(bio).wire_->output;
        *count = std::min(size, output.size());
        if (*count == 0) {
            BIO_set_retry_write(bio);
            return 0;
        }
        std::memcpy(output.data(), from, *count);
        output = output.subspan(*count);
        return 1;
    }

    static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH; }

    static BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* method =
                BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "postern wire");
            BIO_meth_set_read_ex(method, read);
            BIO_meth_set_write_ex(method, write);
            BIO_meth_set_ctrl(method, control);
            return method;
        }();
        return made;
    }

    // Called with each message of a handshake and behind it.
    static void on_message(
        int is_write,
        int version,
        int content,
        const void* octets,
        std::size_t size,
        SSL* ssl,
        void*) {
        if (content != SSL3_RT_HANDSHAKE || size == 0) {
            return;
        }
        Session& session = *static_cast<Session*>(SSL_get_app_data(ssl));
        const unsigned char type = *static_cast<const unsigned char*>(octets);
        if (is_write == 0 && type == SSL3_MT_KEY_UPDATE &&
            ++session.key_updates_ > key_updates_max) {
            session.refusal_ = "too many key updates";
        } else if (is_write == 1 && type == SSL3_MT_SERVER_HELLO && version == TLS1_3_VERSION) {
            // It may be a HelloRetryRequest (RFC 8446, section 4.1.4). Where it is none, all that
            // follows is sealed, in records of another kind; in TLS 1.2 it would be of this one.
            session.hello_.expect();
        }
    }

    static int on_new_session(SSL* ssl, SSL_SESSION* session) {
        static_cast<Session*>(SSL_get_app_data(ssl))->resumption_ = Resumption(session);
        return 1;  // it is ours now
    }
};

void keep_resumptions(ssl_ctx_st* context) {
    SSL_CTX_sess_set_new_cb(context, SessionGlue::on_new_session);
}

Resumption::~Resumption() {
    SSL_SESSION_free(session_);
}

void Session::Hello::expect() {
    message_size_ = 0;
}

/// False: it says that it is longer than that.
bool Session::Hello::passes(std::string_view octets) {
    for (const char c : octets) {
        const auto octet = static_cast<unsigned char>(c);
        if (record_size_ < record_.size()) {
            record_[record_size_++] = octet;
            left_ = number_in(std::span(record_).last(2));
        } else {
            --left_;
            if (record_.front() == SSL3_RT_HANDSHAKE && message_size_ < message_.size()) {
                message_[message_size_++] = octet;
                if (message_size_ == message_.size() && message_.front() == SSL3_MT_CLIENT_HELLO &&
                    number_in(std::span(message_).last(3)) > hello_octets_max) {
                    return false;
                }
            }
        }
        if (record_size_ == record_.size() && left_ == 0) {
            record_size_ = 0;
        }
    }
    return true;
}

Session::Session(const ServerContext& context) {
    begin(SSL_new(context.implementation().contexts.front().get()));
    SSL_set_accept_state(ssl_);
}

Session::Session(const ClientContext& context, const Peer& peer) {
    begin(SSL_new(context.get()));
    SSL_set_connect_state(ssl_);
    bool good = true;
    if (!peer.server_name.empty()) {
        good = SSL_set_tlsext_host_name(ssl_, std::string(peer.server_name).c_str()) == 1;
    }
    if (context.verifies()) {
        const std::string name(peer.verified_name);
        std::array<unsigned char, sizeof(in6_addr)> address;
        X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl_);
        X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        const bool is_address = inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
                                inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
        // No name at all would be taken for any name.
        POSTERN_ASSERT(!name.empty(), "a name to verify is needed");
        good = good && (is_address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str())
                                   : X509_VERIFY_PARAM_set1_host(
                                         parameters, name.c_str(), name.size())) == 1;
    }
    if (!good) {
        failed_ = true;
        failure_ = "the name '" + std::string(peer.verified_name) + "' cannot be checked";
        ERR_clear_error();
    }
    if (peer.resumption != nullptr && *peer.resumption) {
        SSL_set_session(ssl_, peer.resumption->session_);
        ERR_clear_error();  // where it is of no use any more, the handshake is a full one
    }
}

Session::~Session() {
    if (!failed_) {
        // Where the connection was not ended in order, OpenSSL would have its session never
        // resumed.
        SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(ssl_);
}

void Session::begin(ssl_st* ssl) {
    POSTERN_ASSERT(ssl != nullptr, "OpenSSL has no memory for a session");
    ssl_ = ssl;
    SSL_set_app_data(ssl, this);
    SSL_set_msg_callback(ssl, SessionGlue::on_message);
    BIO* bio = BIO_new(SessionGlue::method());
    POSTERN_ASSERT(bio != nullptr, "OpenSSL has no memory for a session");
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
}

Status Session::status_of(int result) {
    switch (SSL_get_error(ssl_, result)) {
        case SSL_ERROR_NONE:
            return Status::done;
        case SSL_ERROR_WANT_READ:
            return Status::input;
        case SSL_ERROR_WANT_WRITE:
            return Status::room;
        case SSL_ERROR_ZERO_RETURN:
            return Status::ended;
        default:
            break;
    }
    failed_ = true;
    failure_ = take_error();
    if (refusal_ != nullptr) {
        failure_ = refusal_;
    }
    if (const long verified = SSL_get_verify_result(ssl_);
        !established_ && verified != X509_V_OK && SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE) {
        failure_ += std::string(": ") + X509_verify_cert_error_string(verified);
    }
    return Status::failed;
}

Status Session::handshake(Wire& wire) {
    POSTERN_ASSERT(!established_, "a handshake that is done cannot go on");
    if (failed_) {
        return Status::failed;
    }
    wire_ = &wire;
    ERR_clear_error();
    const Status status = status_of(SSL_do_handshake(ssl_));
    wire_ = nullptr;
    established_ = status == Status::done;
    return status == Status::ended ? Status::failed : status;
}

Status Session::read(Wire& wire, std::span<char> into, std::size_t& count) {
    POSTERN_ASSERT(established_, "octets are read behind the handshake");
    count = 0;
    if (failed_) {
        return Status::failed;
    }
    wire_ = &wire;
    ERR_clear_error();
    Status status = Status::done;
    while (status == Status::done && count < into.size()) {
        std::size_t got = 0;  // of one record at most
        status = status_of(SSL_read_ex(ssl_, into.data() + count, into.size() - count, &got));
        count += got;
    }
    wire_ = nullptr;
    return status;
}

bool Session::holds_input() const {
    return SSL_has_pending(ssl_) == 1;
}

Status Session::write(Wire& wire, std::string_view& plain) {
    POSTERN_ASSERT(established_, "octets are written behind the handshake");
    if (failed_) {
        return Status::failed;
    }
    wire_ = &wire;
    ERR_clear_error();
    Status status = Status::done;
    while (status == Status::done && !plain.empty()) {
        // What cannot leave as a whole is not begun: OpenSSL would have to be given the same octets
        // again.
        const std::size_t room = wire.output.size();
        const std::size_t size = std::min(
            {plain.size(),
             std::size_t{SSL3_RT_MAX_PLAIN_LENGTH},
             room > record_overhead_max ? room - record_overhead_max : 0});
        if (size == 0 || (size < plain.size() && room < room_min)) {
            status = Status::room;
            break;
        }
        std::size_t taken = 0;
        status = status_of(SSL_write_ex(ssl_, plain.data(), size, &taken));
        plain.remove_prefix(taken);
    }
    wire_ = nullptr;
    return status;
}

Status Session::close(Wire& wire) {
    if (failed_ || !established_) {
        return Status::done;
    }
    wire_ = &wire;
    ERR_clear_error();
    const int result = SSL_shutdown(ssl_);
    const Status status = result >= 0 ? Status::done : status_of(result);
    wire_ = nullptr;
    return status;
}

const char* Session::version() const {
    return established_ ? SSL_get_version(ssl_) : nullptr;
}

const char* Session::cipher() const {
    return established_ ? SSL_get_cipher_name(ssl_) : nullptr;
}

void Session::wipe_what_is_read() {
    SSL_set_options(ssl_, SSL_OP_CLEANSE_PLAINTEXT);
}

bool Session::resumed() const {
    return SSL_session_reused(ssl_) == 1;
}

std::string_view Session::server_name() const {
    const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
    return name == nullptr ? std::string_view() : name;
}

}  // namespace postern::tls

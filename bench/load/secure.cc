#include "bench/load/secure.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <utility>

#include "postern/base/assert.h"

namespace postern::bench {

namespace {

constexpr std::size_t record_octets = SSL3_RT_MAX_PLAIN_LENGTH;

std::string last_error() {
    const char* reason = ERR_reason_error_string(ERR_get_error());
    ERR_clear_error();
    return reason == nullptr ? "no reason given" : reason;
}

bool configure(ssl_ctx_st* context) {
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1;
}

}  // namespace

void TlsDeleter::operator()(ssl_ctx_st* context) const {
    SSL_CTX_free(context);
}

void TlsDeleter::operator()(ssl_session_st* session) const {
    SSL_SESSION_free(session);
}

void TlsDeleter::operator()(ssl_st* ssl) const {
    // A connection that ended without a close_notify may be resumed all the same.
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
}

base::Result<TlsContext> TlsContext::server(const std::string& chain, const std::string& key) {
    TlsContext made(SSL_CTX_new(TLS_server_method()));
    if (made.get() == nullptr || !configure(made.get())) {
        return base::Error{"TLS cannot be set up: " + last_error()};
    }
    if (SSL_CTX_use_certificate_chain_file(made.get(), chain.c_str()) != 1) {
        return base::Error{chain + " holds no certificate that can be read: " + last_error()};
    }
    if (SSL_CTX_use_PrivateKey_file(made.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) {
        return base::Error{key + " holds no key of that certificate: " + last_error()};
    }
    return made;
}

base::Result<TlsContext> TlsContext::client() {
    TlsContext made(SSL_CTX_new(TLS_client_method()));
    if (made.get() == nullptr || !configure(made.get())) {
        return base::Error{"TLS cannot be set up: " + last_error()};
    }
    SSL_CTX_set_verify(made.get(), SSL_VERIFY_NONE, nullptr);
    return made;
}

Secure::Secure(const TlsContext& context, Role role, TlsTicket ticket)
    : ssl_(SSL_new(context.get())) {
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    POSTERN_ASSERT(ssl_ && in != nullptr && out != nullptr, "no memory for a TLS session");
    BIO_set_mem_eof_return(in, -1);  // empty: more is to come
    BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(ssl_.get(), in, out);
    if (role == Role::server) {
        SSL_set_accept_state(ssl_.get());
    } else {
        SSL_set_connect_state(ssl_.get());
    }
    if (ticket) {
        SSL_set_session(ssl_.get(), ticket.get());
    }
}

bool Secure::established() const {
    return SSL_is_init_finished(ssl_.get()) == 1;
}

bool Secure::resumed() const {
    return SSL_session_reused(ssl_.get()) == 1;
}

bool Secure::receive(std::string_view sealed, std::string& plain) {
    std::size_t taken = 0;
    if (!sealed.empty() &&
        BIO_write_ex(SSL_get_rbio(ssl_.get()), sealed.data(), sealed.size(), &taken) != 1) {
        return false;
    }
    ERR_clear_error();
    if (!established()) {
        const int done = SSL_do_handshake(ssl_.get());
        if (done != 1) {
            return SSL_get_error(ssl_.get(), done) == SSL_ERROR_WANT_READ;
        }
    }
    std::array<char, record_octets> piece;
    std::size_t count = 0;
    int done = 0;
    while ((done = SSL_read_ex(ssl_.get(), piece.data(), piece.size(), &count)) == 1) {
        plain.append(piece.data(), count);
    }
    const int why = SSL_get_error(ssl_.get(), done);
    // Who has said that he is done may have said more before it.
    return why == SSL_ERROR_WANT_READ || (why == SSL_ERROR_ZERO_RETURN && !plain.empty());
}

void Secure::send(std::span<const iovec> plain) {
    gathered_.clear();
    for (const iovec& piece : plain) {
        gathered_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    }
    std::string_view rest = gathered_;
    while (!rest.empty()) {
        std::size_t count = 0;
        const int done =
            SSL_write_ex(ssl_.get(), rest.data(), std::min(rest.size(), record_octets), &count);
        POSTERN_ASSERT(done == 1, "a BIO in memory takes all");
        rest.remove_prefix(count);
    }
}

bool Secure::take_sealed(std::string& sealed) {
    BIO* out = SSL_get_wbio(ssl_.get());
    sealed.resize(BIO_ctrl_pending(out));
    std::size_t count = 0;
    if (!sealed.empty()) {
        BIO_read_ex(out, sealed.data(), sealed.size(), &count);
    }
    return count > 0;
}

TlsTicket Secure::take_ticket() {
    TlsTicket ticket(SSL_get1_session(ssl_.get()));
    if (ticket && SSL_SESSION_is_resumable(ticket.get()) != 1) {
        ticket.reset();
    }
    return ticket;
}

}  // namespace postern::bench

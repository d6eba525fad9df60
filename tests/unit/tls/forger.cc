#include "tests/unit/tls/forger.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>

#include <charconv>

#include "postern/base/assert.h"

namespace postern::tls::test {

namespace {

constexpr std::size_t tag_octets = 16;
constexpr std::size_t header_octets = 5;

std::vector<unsigned char> from_hex(std::string_view text) {
    std::vector<unsigned char> octets;
    for (; text.size() >= 2; text.remove_prefix(2)) {
        std::from_chars(text.data(), text.data() + 2, octets.emplace_back(), 16);
    }
    return octets;
}

const unsigned char* octets_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

Forger::Forger(const ServerContext& context)
    : session(context), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_keylog_callback(context_, [](const SSL* ssl, const char* line) {
        const std::string_view text(line);
        if (text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) {
            *static_cast<Octets*>(SSL_get_app_data(ssl)) =
                from_hex(text.substr(text.rfind(' ') + 1));
        }
    });
    ssl_ = SSL_new(context_);
    SSL_set_app_data(ssl_, &secret_);
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl_), -1);
    SSL_set_connect_state(ssl_);
    shake();
    renew();
}

Forger::~Forger() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    ERR_clear_error();
}

void Forger::shake() {
    std::vector<char> room(1 << 16);
    for (int i = 0; i < 3 && !session.established(); ++i) {
        SSL_do_handshake(ssl_);
        ERR_clear_error();
        char* said = nullptr;
        const long size = BIO_get_mem_data(SSL_get_wbio(ssl_), &said);
        Wire wire{{said, static_cast<std::size_t>(size)}, room};
        session.handshake(wire);
        static_cast<void>(BIO_reset(SSL_get_wbio(ssl_)));
        BIO_write(
            SSL_get_rbio(ssl_), room.data(), static_cast<int>(room.size() - wire.output.size()));
    }
    POSTERN_ASSERT(session.established() && !secret_.empty(), "both ends come together");
}

/// HKDF-Expand-Label with no context (RFC 8446, section 7.1).
Forger::Octets Forger::expand(const Octets& secret, std::string_view label, std::size_t size) {
    EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "TLS13-KDF", nullptr);
    EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
    char digest[] = "SHA256";
    char prefix[] = "tls13 ";
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    Octets key_in = secret;
    std::string name(label);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key_in.data(), key_in.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, sizeof prefix - 1),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, name.data(), name.size()),
        OSSL_PARAM_construct_end()};
    Octets key(size);
    POSTERN_ASSERT(
        EVP_KDF_derive(context, key.data(), key.size(), parameters) == 1, "keys are derived");
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return key;
}

void Forger::renew() {
    key_ = expand(secret_, "key", 16);
    iv_ = expand(secret_, "iv", 12);
    number_ = 0;
}

std::string Forger::record(Content content, std::string_view plain) {
    std::string inner(plain);
    inner += static_cast<char>(content);
    const std::size_t size = inner.size() + tag_octets;
    std::string made{'\x17', '\x03', '\x03', static_cast<char>(size >> 8), static_cast<char>(size)};
    Octets nonce = iv_;
    for (std::size_t i = 0; i < 8; ++i) {
        nonce[nonce.size() - 1 - i] ^= static_cast<unsigned char>(number_ >> (8 * i));
    }
    ++number_;
    Octets sealed(size);
    int count = 0;
    EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), nullptr, key_.data(), nonce.data());
    EVP_EncryptUpdate(cipher, nullptr, &count, octets_of(made), header_octets);
    EVP_EncryptUpdate(
        cipher, sealed.data(), &count, octets_of(inner), static_cast<int>(inner.size()));
    EVP_EncryptFinal_ex(cipher, sealed.data() + count, &count);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, tag_octets, sealed.data() + inner.size());
    EVP_CIPHER_CTX_free(cipher);
    return made.append(sealed.begin(), sealed.end());
}

std::string Forger::updated(std::string_view message) {
    std::string made = record(Content::handshake, message);
    secret_ = expand(secret_, "traffic upd", secret_.size());
    renew();
    return made;
}

}  // namespace postern::tls::test

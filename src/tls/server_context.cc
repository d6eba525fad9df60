#include "server_context.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <map>

#include "errors.h"

namespace postern::tls {
namespace {

/// ECDSA before RSA, forward secrecy always. The four with CBC at the end are for senders of old,
/// which would else come in plain text.
constexpr const char* ciphers_of_1_2 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA";
constexpr const char* ciphers_of_1_3 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* groups = "X25519:P-256:P-384";
constexpr const char* signatures =
    "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:ed448:"
    "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
    "rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
    "rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512";

const ServerContext::Implementation& implementation_of(SSL* ssl) {
    return *static_cast<const ServerContext::Implementation*>(
        SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

int on_server_name(SSL* ssl, int*, void*) {
    const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (asked == nullptr) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    std::string name(asked);
    std::transform(name.begin(), name.end(), name.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    SSL_CTX* context = implementation_of(ssl).find(name);
    if (context == nullptr) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    return SSL_set_SSL_CTX(ssl, context) == context ? SSL_TLSEXT_ERR_OK
                                                    : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// What SSL_CTX_set_tlsext_ticket_key_evp_cb asks for: -1 an error, 0 no such key, 1 the key, 2 the
/// key, and a new ticket is due.
int on_ticket(
    SSL* ssl,
    unsigned char* name,
    unsigned char* iv,
    EVP_CIPHER_CTX* cipher,
    EVP_MAC_CTX* mac,
    int encrypt) {
    const ServerContext::Implementation& server = implementation_of(ssl);
    TicketKeys::Key key;
    bool is_current = true;
    if (encrypt != 0) {
        key = server.tickets->current();
        std::copy(key.name.begin(), key.name.end(), name);
        const auto iv_octets =
            static_cast<std::size_t>(EVP_CIPHER_get_iv_length(server.ticket_cipher.get()));
        if (RAND_bytes_ex(server.library->get(), iv, iv_octets, 0) != 1) {
            return -1;
        }
    } else if (!server.tickets->find(
                   std::span<const unsigned char, 16>(name, 16), key, is_current)) {
        return 0;
    }
    char digest[] = "SHA256";
    std::array parameters{
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    const bool good =
        EVP_CipherInit_ex2(
            cipher, server.ticket_cipher.get(), key.cipher.data(), iv, encrypt, nullptr) == 1 &&
        EVP_MAC_CTX_set_params(mac, parameters.data()) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!good) {
        return -1;
    }
    // A ticket of TLS 1.3 is meant to be used once (RFC 8446, appendix C.4).
    return is_current && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

bool configure(SSL_CTX* context, ServerContext::Implementation& implementation) {
    SSL_CTX_set_app_data(context, &implementation);
    SSL_CTX_set_options(
        context,
        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
            SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(
        context,
        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(
        context, std::chrono::duration_cast<std::chrono::seconds>(TicketKeys::period).count());
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    constexpr std::string_view session_context = "postern";
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, ciphers_of_1_2) == 1 &&
           SSL_CTX_set_ciphersuites(context, ciphers_of_1_3) == 1 &&
           SSL_CTX_set1_groups_list(context, groups) == 1 &&
           SSL_CTX_set1_sigalgs_list(context, signatures) == 1 &&
           SSL_CTX_set_num_tickets(context, 1) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1 &&
           SSL_CTX_set_session_id_context(
               context,
               reinterpret_cast<const unsigned char*>(session_context.data()),
               static_cast<unsigned>(session_context.size())) == 1;
}

bool is_for(const KeyPair& pair, const std::string& name) {
    return std::find(pair.names().begin(), pair.names().end(), name) != pair.names().end();
}

/// The places in `pairs` of the first of each kind of key that is for one of `names`, ascending.
using Choice = std::vector<std::size_t>;

Choice choose(
    const std::vector<std::shared_ptr<const KeyPair>>& pairs,
    const std::vector<std::string>& names) {
    Choice choice;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const bool named = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
            return is_for(*pairs[i], name);
        });
        const bool kind_is_new = std::none_of(choice.begin(), choice.end(), [&](std::size_t other) {
            return pairs[other]->type() == pairs[i]->type();
        });
        if (named && kind_is_new) {
            choice.push_back(i);
        }
    }
    return choice;
}

}  // namespace

SSL_CTX* ServerContext::Implementation::find(const std::string& name) const {
    auto found = by_name.find(name);
    if (found == by_name.end()) {
        // A wildcard stands for one label (RFC 6125, section 6.4.3).
        const std::size_t dot = name.find('.');
        found = dot == std::string::npos ? found : by_name.find("*" + name.substr(dot));
    }
    return found == by_name.end() ? nullptr : found->second;
}

ServerContext::ServerContext(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

ServerContext::~ServerContext() = default;

base::Result<std::unique_ptr<const ServerContext>> ServerContext::create(
    const Library& library, const TicketKeys& tickets, const ServerSettings& settings) {
    POSTERN_ASSERT(!settings.pairs.empty(), "a TLS server needs a certificate");
    auto implementation = std::make_unique<Implementation>();
    implementation->library = &library;
    implementation->tickets = &tickets;
    implementation->ticket_cipher.reset(EVP_CIPHER_fetch(library.get(), "AES-256-CBC", nullptr));

    std::map<Choice, SSL_CTX*> made;
    const auto context_of = [&](const Choice& choice) -> base::Result<SSL_CTX*> {
        SSL_CTX*& context = made[choice];
        if (context == nullptr) {
            implementation->contexts.emplace_back(
                SSL_CTX_new_ex(library.get(), nullptr, TLS_server_method()));
            context = implementation->contexts.back().get();
            if (context == nullptr || !configure(context, *implementation)) {
                return base::Error{"TLS cannot be set up: " + take_error()};
            }
            for (const std::size_t place : choice) {
                const base::Result<void> used =
                    settings.pairs[place]->use_in(context, library.get());
                if (!used) {
                    return used.error();
                }
            }
        }
        return context;
    };
    Choice first = choose(settings.pairs, settings.pairs.front()->names());
    if (first.empty()) {
        first = {0};  // it is for no name
    }
    const base::Result<SSL_CTX*> context = context_of(first);
    if (!context) {
        return context.error();
    }
    for (const std::shared_ptr<const KeyPair>& pair : settings.pairs) {
        for (const std::string& name : pair->names()) {
            const base::Result<SSL_CTX*> named = context_of(choose(settings.pairs, {name}));
            if (!named) {
                return named.error();
            }
            implementation->by_name.emplace(name, *named);
        }
    }
    return std::unique_ptr<const ServerContext>(new ServerContext(std::move(implementation)));
}

}  // namespace postern::tls

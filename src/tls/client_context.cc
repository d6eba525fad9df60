#include <openssl/ssl.h>

#include <unistd.h>

#include <array>
#include <cstdlib>

#include "errors.h"
#include "owned.h"
#include "postern/tls/context.h"
#include "resumption.h"

namespace postern::tls {
namespace {

/// The file of authorities that the system trusts, all of them in one: a folder of them would be
/// read in the middle of a handshake.
std::string system_authorities() {
    const char* told = std::getenv(X509_get_default_cert_file_env());
    const std::array<const char*, 4> places{
        told == nullptr ? "" : told,
        X509_get_default_cert_file(),
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt"};
    for (const char* place : places) {
        if (access(place, R_OK) == 0) {
            return place;
        }
    }
    return {};
}

}  // namespace

base::Result<std::unique_ptr<const ClientContext>> ClientContext::create(
    const Library& library, const ClientSettings& settings) {
    OwnedContext context(SSL_CTX_new_ex(library.get(), nullptr, TLS_client_method()));
    if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
        return base::Error{"TLS cannot be set up: " + take_error()};
    }
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(
        context.get(),
        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(
        context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    keep_resumptions(context.get());
    if (settings.verify) {
        const std::string file = settings.ca_file.empty() ? system_authorities() : settings.ca_file;
        if (file.empty()) {
            return base::Error{
                "the system has no file of trusted authorities; install ca-certificates, or name a "
                "file with tls_ca"};
        }
        if (SSL_CTX_load_verify_file(context.get(), file.c_str()) != 1) {
            return base::Error{
                file + ": no certificates of authorities can be read from it: " + take_error()};
        }
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    } else {
        // Whoever takes any certificate takes any key; what is left out is what is no encryption.
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
        SSL_CTX_set_security_level(context.get(), 1);
    }
    if (settings.pair != nullptr) {
        const base::Result<void> used = settings.pair->use_in(context.get(), library.get());
        if (!used) {
            return used.error();
        }
    }
    return std::unique_ptr<const ClientContext>(
        new ClientContext(context.release(), settings.verify));
}

ClientContext::~ClientContext() {
    SSL_CTX_free(context_);
}

}  // namespace postern::tls

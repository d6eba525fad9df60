#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>

/// OpenSSL's objects, freed by their owner.
namespace postern::tls {

template <auto function>
struct Freeing {
    template <class T>
    void operator()(T* object) const {
        function(object);
    }
};

using OwnedBio = std::unique_ptr<BIO, Freeing<BIO_free>>;
using OwnedCertificate = std::unique_ptr<X509, Freeing<X509_free>>;
using OwnedKey = std::unique_ptr<EVP_PKEY, Freeing<EVP_PKEY_free>>;
using OwnedContext = std::unique_ptr<SSL_CTX, Freeing<SSL_CTX_free>>;
using OwnedCipher = std::unique_ptr<EVP_CIPHER, Freeing<EVP_CIPHER_free>>;

}  // namespace postern::tls

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>

#include "errors.h"
#include "owned.h"
#include "postern/tls/context.h"

namespace postern::tls {
namespace {

constexpr std::size_t file_octets_max = std::size_t{1} << 20;

struct Chain {
    OwnedCertificate certificate;
    STACK_OF(X509) * issuers = sk_X509_new_null();

    Chain() = default;
    Chain(const Chain&) = delete;
    Chain& operator=(const Chain&) = delete;

    ~Chain() { sk_X509_pop_free(issuers, X509_free); }
};

base::Error error_of(const std::string& file, const std::string& what) {
    return {file + ": " + what};
}

base::Result<std::string> read_file(const std::string& file) {
    std::FILE* opened = std::fopen(file.c_str(), "rbe");
    if (opened == nullptr) {
        return error_of(file, std::string("cannot be read: ") + std::strerror(errno));
    }
    std::string text(file_octets_max + 1, '\0');
    errno = 0;
    text.resize(std::fread(text.data(), 1, text.size(), opened));
    const int error = std::ferror(opened) != 0 ? errno : 0;
    std::fclose(opened);
    if (error != 0) {
        return error_of(file, std::string("cannot be read: ") + std::strerror(error));
    }
    if (text.size() > file_octets_max) {
        return error_of(file, "is larger than 1 MiB: this is no PEM file of certificates or a key");
    }
    return text;
}

/// Nobody is here to be asked for a password.
int no_password(char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
}

OwnedBio reader_of(const std::string& text) {
    return OwnedBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// What is wrong; empty: nothing.
std::string parse_chain(const std::string& text, OSSL_LIB_CTX* library, Chain& chain) {
    const OwnedBio reader = reader_of(text);
    for (;;) {
        X509* certificate = X509_new_ex(library, nullptr);
        bool asked = false;
        if (PEM_read_bio_X509(reader.get(), &certificate, no_password, &asked) == nullptr) {
            X509_free(certificate);
            break;
        }
        if (!chain.certificate) {
            chain.certificate.reset(certificate);
        } else {
            sk_X509_push(chain.issuers, certificate);
        }
    }
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_REASON(code) == PEM_R_NO_START_LINE && chain.certificate) {
        ERR_clear_error();  // the end of the file
        return {};
    }
    const std::string reason = take_error();
    return chain.certificate ? "holds something that is no certificate (" + reason + ")"
                             : "holds no certificate in PEM form (" + reason + ")";
}

std::string parse_key(const std::string& text, OSSL_LIB_CTX* library, OwnedKey& key) {
    bool asked = false;
    key.reset(PEM_read_bio_PrivateKey_ex(
        reader_of(text).get(), nullptr, no_password, &asked, library, nullptr));
    if (key) {
        ERR_clear_error();
        return {};
    }
    const std::string reason = take_error();
    return asked ? "the key is encrypted; it must stand in the file in the clear, readable by us "
                   "alone"
                 : "holds no private key in PEM form (" + reason + ")";
}

base::WallTime time_of(const ASN1_TIME* time) {
    std::tm parts{};
    ASN1_TIME_to_tm(time, &parts);
    // RFC 5280, section 4.1.2.5: one that is good for ever ends in the year 9999, and we count in
    // nanoseconds.
    constexpr auto last =
        std::chrono::floor<std::chrono::seconds>(base::WallTime::max().time_since_epoch());
    return base::WallTime(
        std::clamp<std::chrono::seconds>(std::chrono::seconds(timegm(&parts)), -last, last));
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return result;
}

std::vector<std::string> names_of(X509* certificate) {
    std::vector<std::string> names;
    auto* alternatives = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives, i);
        if (name->type == GEN_DNS) {
            const ASN1_STRING* text = name->d.dNSName;
            names.push_back(lower(
                {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                 static_cast<std::size_t>(ASN1_STRING_length(text))}));
        }
    }
    GENERAL_NAMES_free(alternatives);
    if (names.empty()) {
        X509_NAME* subject = X509_get_subject_name(certificate);
        const int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (place >= 0) {
            const ASN1_STRING* text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place));
            names.push_back(lower(
                {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                 static_cast<std::size_t>(ASN1_STRING_length(text))}));
        }
    }
    ERR_clear_error();
    return names;
}

KeyType type_of(const EVP_PKEY* key) {
    switch (EVP_PKEY_get_base_id(key)) {
        case EVP_PKEY_EC:
            return KeyType::ecdsa;
        case EVP_PKEY_RSA:
            return KeyType::rsa;
        default:
            return KeyType::other;
    }
}

}  // namespace

base::Result<std::shared_ptr<const KeyPair>> KeyPair::load(
    const std::string& chain_file, const std::string& key_file) {
    base::Result<std::string> chain_text = read_file(chain_file);
    if (!chain_text) {
        return chain_text.error();
    }
    base::Result<std::string> key_text = read_file(key_file);
    if (!key_text) {
        return key_text.error();
    }
    Chain chain;
    if (const std::string wrong = parse_chain(*chain_text, nullptr, chain); !wrong.empty()) {
        return error_of(chain_file, wrong);
    }
    OwnedKey key;
    if (const std::string wrong = parse_key(*key_text, nullptr, key); !wrong.empty()) {
        OPENSSL_cleanse(key_text->data(), key_text->size());
        return error_of(key_file, wrong);
    }
    std::shared_ptr<KeyPair> pair(new KeyPair);
    pair->chain_file_ = chain_file;
    pair->key_file_ = key_file;
    pair->chain_ = std::move(*chain_text);
    pair->key_ = std::move(*key_text);
    if (X509_check_private_key(chain.certificate.get(), key.get()) != 1) {
        ERR_clear_error();
        return error_of(
            key_file,
            "is not the key of the first certificate in " + chain_file +
                "; the server's own certificate must come first there");
    }
    pair->type_ = type_of(key.get());
    pair->names_ = names_of(chain.certificate.get());
    pair->not_before_ = time_of(X509_get0_notBefore(chain.certificate.get()));
    pair->not_after_ = time_of(X509_get0_notAfter(chain.certificate.get()));
    return std::shared_ptr<const KeyPair>(std::move(pair));
}

KeyPair::~KeyPair() {
    OPENSSL_cleanse(key_.data(), key_.size());
}

/// Parsed again for each context, so that nothing is shared between libraries.
base::Result<void> KeyPair::use_in(ssl_ctx_st* context, ossl_lib_ctx_st* library) const {
    Chain chain;
    OwnedKey key;
    std::string wrong = parse_chain(chain_, library, chain);
    if (wrong.empty()) {
        wrong = parse_key(key_, library, key);
    }
    if (wrong.empty() && SSL_CTX_use_cert_and_key(
                             context, chain.certificate.get(), key.get(), chain.issuers, 1) != 1) {
        wrong = "cannot be used: " + take_error();
    }
    return wrong.empty() ? base::Result<void>() : error_of(chain_file_, wrong);
}

}  // namespace postern::tls

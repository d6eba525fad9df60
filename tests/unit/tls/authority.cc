#include "authority.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <unistd.h>

#include <fstream>
#include <iterator>

namespace postern::tls::test {
namespace {

EVP_PKEY* make_key(Kind kind) {
    return kind == Kind::ecdsa ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
}

void extend(X509* certificate, X509* issuer, int id, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str());
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

X509* make_certificate(EVP_PKEY* key, const std::string& name, int serial, int days) {
    X509* certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), days < 0 ? -400L * 86400 : -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), days * 86400L);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(certificate),
        "CN",
        MBSTRING_ASC,
        reinterpret_cast<const unsigned char*>(name.c_str()),
        -1,
        -1,
        0);
    return certificate;
}

void write_key(const std::string& file, EVP_PKEY* key) {
    std::FILE* to = std::fopen(file.c_str(), "w");
    PEM_write_PrivateKey(to, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(to);
}

void write_chain(const std::string& file, X509* first, X509* second) {
    std::FILE* to = std::fopen(file.c_str(), "w");
    PEM_write_X509(to, first);
    if (second != nullptr) {
        PEM_write_X509(to, second);
    }
    std::fclose(to);
}

}  // namespace

struct Authority::Implementation {
    EVP_PKEY* key = make_key(Kind::ecdsa);
    X509* certificate = make_certificate(key, "An authority for tests", 1, 365);
};

Authority::Authority() : implementation_(new Implementation) {
    std::string name = (std::filesystem::temp_directory_path() / "postern-tls-XXXXXX").native();
    folder_ = mkdtemp(name.data());
    X509* certificate = implementation_->certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, certificate, NID_key_usage, "critical,keyCertSign");
    extend(certificate, certificate, NID_subject_key_identifier, "hash");
    X509_sign(certificate, implementation_->key, EVP_sha256());
    write_chain(ca_file(), certificate, nullptr);
}

Authority::~Authority() {
    X509_free(implementation_->certificate);
    EVP_PKEY_free(implementation_->key);
    delete implementation_;
    std::filesystem::remove_all(folder_);
}

Files Authority::issue(const std::vector<std::string>& names, Kind kind, int days) {
    return issue_for(make_key(kind), names, days);
}

Files Authority::issue_for(EVP_PKEY* key, const std::vector<std::string>& names, int days) {
    const std::string stem = (folder_ / std::to_string(++issued_)).native();
    X509* certificate =
        make_certificate(key, names.empty() ? "nobody" : names[0], issued_ + 1, days);
    X509_set_issuer_name(certificate, X509_get_subject_name(implementation_->certificate));
    std::string alternatives;
    for (const std::string& name : names) {
        const bool address = name.find_first_not_of("0123456789.") == std::string::npos ||
                             name.find(':') != std::string::npos;
        alternatives +=
            (alternatives.empty() ? "" : ",") + std::string(address ? "IP:" : "DNS:") + name;
    }
    if (!alternatives.empty()) {
        extend(certificate, implementation_->certificate, NID_subject_alt_name, alternatives);
    }
    extend(certificate, implementation_->certificate, NID_authority_key_identifier, "keyid");
    X509_sign(certificate, implementation_->key, EVP_sha256());
    const Files files{stem + ".pem", stem + ".key"};
    write_chain(files.chain, certificate, implementation_->certificate);
    write_key(files.key, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return files;
}

std::string Authority::file(const std::string& name, const std::string& content) {
    const std::string path = (folder_ / name).native();
    std::ofstream(path) << content;
    return path;
}

std::string content_of(const std::string& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace postern::tls::test

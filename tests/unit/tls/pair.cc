#include "tests/unit/tls/pair.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <algorithm>

namespace postern::tls::test {

std::array<std::byte, TicketKeys::secret_octets> a_secret(int value) {
    std::array<std::byte, TicketKeys::secret_octets> octets;
    octets.fill(static_cast<std::byte>(value));
    return octets;
}

std::string locked_copy(const std::string& key_file) {
    std::FILE* from = std::fopen(key_file.c_str(), "r");
    EVP_PKEY* key = PEM_read_PrivateKey(from, nullptr, nullptr, nullptr);
    std::fclose(from);
    BIO* to = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(to, key, EVP_aes_128_cbc(), "secret", 6, nullptr, nullptr);
    char* text = nullptr;
    const long size = BIO_get_mem_data(to, &text);
    std::string result(text, static_cast<std::size_t>(size));
    BIO_free(to);
    EVP_PKEY_free(key);
    return result;
}

Files weak(Authority& authority) {
    EVP_PKEY* key = EVP_RSA_gen(1024);
    return authority.issue_for(key, {"weak.example"});
}

Foreign::Foreign(Role role)
    : context(SSL_CTX_new(role == Role::client ? TLS_client_method() : TLS_server_method())),
      ssl(SSL_new(context)) {
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
    role == Role::client ? SSL_set_connect_state(ssl) : SSL_set_accept_state(ssl);
}

Foreign::~Foreign() {
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
}

std::string Foreign::said() {
    char* octets = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(ssl), &octets);
    std::string result(octets, static_cast<std::size_t>(size));
    static_cast<void>(BIO_reset(SSL_get_wbio(ssl)));
    return result;
}

void Foreign::hear(const std::string& octets) {
    BIO_write(SSL_get_rbio(ssl), octets.data(), static_cast<int>(octets.size()));
}

void Foreign::shake(Session& session) {
    for (int i = 0; i < 5; ++i) {
        SSL_do_handshake(ssl);
        ERR_clear_error();
        std::string from = said();
        std::string to;
        if (!session.established()) {
            call(from, to, 1 << 20, 1 << 16, [&](Wire& wire) { return session.handshake(wire); });
        }
        hear(to);
    }
}

namespace {

std::string common_name(X509* certificate) {
    char name[256] = {};
    X509_NAME_get_text_by_NID(
        X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    return name;
}

}  // namespace

std::string shown_by(
    const ServerContext& server, const std::string& server_name, const std::string& only) {
    Foreign client(Foreign::Role::client);
    if (only == "rsa") {
        SSL_set1_sigalgs_list(client.ssl, "rsa_pss_rsae_sha256:rsa_pkcs1_sha256");
    }
    if (!server_name.empty()) {
        SSL_set_tlsext_host_name(client.ssl, server_name.c_str());
    }
    Session session(server);
    client.shake(session);
    EXPECT_TRUE(session.established()) << session.failure();
    EXPECT_EQ(session.server_name(), server_name);
    X509* shown = SSL_get0_peer_certificate(client.ssl);
    if (shown == nullptr) {
        return "nothing";
    }
    const bool rsa = EVP_PKEY_get_base_id(X509_get0_pubkey(shown)) == EVP_PKEY_RSA;
    return common_name(shown) + (rsa ? " rsa" : " ecdsa");
}

std::string shown_to_asker(const ClientContext& client) {
    Authority authority;
    const Files files = authority.issue({"asker.example"}, Kind::ecdsa);
    Foreign server(Foreign::Role::server);
    SSL_use_certificate_file(server.ssl, files.chain.c_str(), SSL_FILETYPE_PEM);
    SSL_use_PrivateKey_file(server.ssl, files.key.c_str(), SSL_FILETYPE_PEM);
    SSL_set_verify(server.ssl, SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    Session session(client, {});
    server.shake(session);
    EXPECT_TRUE(session.established()) << session.failure();
    X509* shown = SSL_get0_peer_certificate(server.ssl);
    return shown == nullptr ? "" : common_name(shown);
}

void Pair::shake(std::size_t octets_max, std::size_t room_max) {
    const auto step = [&](Session& end, Status& status, std::string& from, std::string& to) {
        if (end.established() || status == Status::failed) {
            return false;
        }
        const std::size_t waited = from.size();
        const std::size_t sent = to.size();
        status =
            call(from, to, octets_max, room_max, [&](Wire& wire) { return end.handshake(wire); });
        return from.size() != waited || to.size() != sent;
    };
    for (bool moved = true; moved;) {
        moved = step(client, client_status, to_client, to_server);
        moved = step(server, server_status, to_server, to_client) || moved;
    }
}

std::string Pair::carry(
    Session& from,
    Session& to,
    std::string_view text,
    std::size_t octets_max,
    std::size_t room_max) {
    std::string& there = &from == &client ? to_server : to_client;
    std::string& back = &from == &client ? to_client : to_server;
    std::string arrived;
    std::string into(std::min<std::size_t>(octets_max, 40000), '\0');
    for (;;) {
        const Status written = call(
            back, there, octets_max, room_max, [&](Wire& wire) { return from.write(wire, text); });
        std::size_t count = 0;
        Status read = Status::done;
        while (read == Status::done || !there.empty()) {
            read = call(there, back, octets_max, room_max, [&](Wire& wire) {
                return to.read(wire, into, count);
            });
            arrived.append(into, 0, count);
            if (read != Status::done && read != Status::input) {
                ADD_FAILURE() << to.failure();
                return arrived;
            }
        }
        if (written != Status::room) {
            EXPECT_EQ(written, Status::done) << from.failure();
            return arrived;
        }
    }
}

}  // namespace postern::tls::test

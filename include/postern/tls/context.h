#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/base/time.h"

struct ossl_lib_ctx_st;
struct ssl_ctx_st;

/// What TLS sessions are made from: our certificates, whom we trust, and how tickets are sealed.
/// All of it is built by the control thread, which may read files and wait; a context is immutable
/// from then on and any thread may start sessions from it. TLS 1.2 and 1.3; no renegotiation, no
/// compression, no early data.
namespace postern::tls {

/// What a worker's contexts have in common: its own copy of what OpenSSL would else share between
/// all threads under locks. One for each worker; outlives its contexts and its thread.
class Library {
   public:
    Library();
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    ossl_lib_ctx_st* get() const { return library_; }

   private:
    ossl_lib_ctx_st* library_;
};

enum class KeyType : std::uint8_t { ecdsa, rsa, other };

/// A certificate, the certificates of those who issued it, and its key: read from two PEM files,
/// and found to belong together. Immutable.
class KeyPair {
   public:
    /// `chain_file`: the certificate comes first. The error begins with the name of the file that
    /// it is about.
    static base::Result<std::shared_ptr<const KeyPair>> load(
        const std::string& chain_file, const std::string& key_file);
    ~KeyPair();
    KeyPair(const KeyPair&) = delete;
    KeyPair& operator=(const KeyPair&) = delete;

    const std::string& chain_file() const { return chain_file_; }

    const std::string& key_file() const { return key_file_; }

    KeyType type() const { return type_; }

    /// The DNS names that it is for, in lower case, as they stand in it ("*.example.net"); the
    /// common name where it has none.
    const std::vector<std::string>& names() const { return names_; }

    base::WallTime not_before() const { return not_before_; }

    base::WallTime not_after() const { return not_after_; }

   private:
    friend class ServerContext;
    friend class ClientContext;
    KeyPair() = default;
    base::Result<void> use_in(ssl_ctx_st* context, ossl_lib_ctx_st* library) const;

    std::string chain_file_;
    std::string key_file_;
    std::string chain_;  // the files' content
    std::string key_;
    KeyType type_ = KeyType::other;
    std::vector<std::string> names_;
    base::WallTime not_before_;
    base::WallTime not_after_;
};

/// The keys that session tickets are sealed with (RFC 5077): one for all workers and generations,
/// so that a sender that comes again is known to whichever worker it meets, and after a reload. A
/// new key seals from each `rotate` on; the one before still opens. Any thread: the lock is held
/// for a copy, once in a handshake that costs a thousand times as much.
class TicketKeys {
   public:
    static constexpr std::size_t secret_octets = 80;
    using Secret = std::span<const std::byte, secret_octets>;  // random
    /// How often `rotate` is to be called. No ticket is good for longer.
    static constexpr base::Duration period = std::chrono::hours(4);

    explicit TicketKeys(Secret secret);
    ~TicketKeys();
    TicketKeys(const TicketKeys&) = delete;
    TicketKeys& operator=(const TicketKeys&) = delete;

    void rotate(Secret secret);

    struct Key {
        std::array<unsigned char, 16> name;
        std::array<unsigned char, 32> cipher;
        std::array<unsigned char, 32> mac;
    };

    Key current() const;
    /// False: no such key, or one that is too old.
    bool find(std::span<const unsigned char, 16> name, Key& key, bool& is_current) const;

   private:
    mutable std::mutex lock_;
    std::array<Key, 2> keys_{};  // the current one, and the one before
    bool has_previous_ = false;
};

struct ServerSettings {
    /// At least one. The first is for those who name nobody that we have a certificate for. Of
    /// several for one name, each is for the peers that can use its kind of key: ECDSA before RSA.
    std::vector<std::shared_ptr<const KeyPair>> pairs;
};

class ServerContext {
   public:
    /// `library` and `tickets` outlive it. The error begins with the name of the file that it is
    /// about.
    static base::Result<std::unique_ptr<const ServerContext>> create(
        const Library& library, const TicketKeys& tickets, const ServerSettings& settings);
    ~ServerContext();
    ServerContext(const ServerContext&) = delete;
    ServerContext& operator=(const ServerContext&) = delete;

    struct Implementation;

    const Implementation& implementation() const { return *implementation_; }

   private:
    explicit ServerContext(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

struct ClientSettings {
    bool verify = false;                  // the server's certificate, against `ca_file` and a name
    std::string ca_file;                  // PEM; empty: those that the system trusts
    std::shared_ptr<const KeyPair> pair;  // our certificate, for servers that ask for one; or null
};

class ClientContext {
   public:
    /// As ServerContext::create.
    static base::Result<std::unique_ptr<const ClientContext>> create(
        const Library& library, const ClientSettings& settings);
    ~ClientContext();
    ClientContext(const ClientContext&) = delete;
    ClientContext& operator=(const ClientContext&) = delete;

    ssl_ctx_st* get() const { return context_; }

    bool verifies() const { return verifies_; }

   private:
    ClientContext(ssl_ctx_st* context, bool verifies) : context_(context), verifies_(verifies) {}

    ssl_ctx_st* context_;
    bool verifies_;
};

}  // namespace postern::tls

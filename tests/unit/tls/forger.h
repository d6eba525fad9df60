#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "postern/tls/session.h"

struct ssl_st;
struct ssl_ctx_st;

namespace postern::tls::test {

enum class Content : unsigned char { alert = 21, handshake = 22, data = 23 };

/// A client of TLS 1.3 that has shaken hands with a session as it should be, and then makes its
/// records itself, whatever they hold: what only who has the keys can do.
class Forger {
   public:
    explicit Forger(const ServerContext& context);
    ~Forger();
    Forger(const Forger&) = delete;
    Forger& operator=(const Forger&) = delete;

    /// A record that holds `plain`, sealed as what it says it is.
    std::string record(Content content, std::string_view plain);

    /// A KeyUpdate, and the keys behind it.
    std::string updated(std::string_view message);

    Session session;

   private:
    using Octets = std::vector<unsigned char>;

    static Octets expand(const Octets& secret, std::string_view label, std::size_t size);
    void shake();
    void renew();

    ssl_ctx_st* context_;
    ssl_st* ssl_;
    Octets secret_;
    Octets key_;
    Octets iv_;
    std::uint64_t number_ = 0;
};

}  // namespace postern::tls::test

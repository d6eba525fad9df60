#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "postern/base/result.h"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

/// TLS 1.3 for load and sink: by OpenSSL itself, not by what is measured.
namespace postern::bench {

enum class Tls : std::uint8_t { none, starttls, implicit };

struct TlsDeleter {
    void operator()(ssl_ctx_st* context) const;
    void operator()(ssl_session_st* session) const;
    void operator()(ssl_st* ssl) const;
};

/// Immutable; any thread. Speaks TLS_AES_128_GCM_SHA256 alone, so that all who are compared do the
/// same work.
class TlsContext {
   public:
    static base::Result<TlsContext> server(const std::string& chain, const std::string& key);
    /// Believes any certificate.
    static base::Result<TlsContext> client();

    ssl_ctx_st* get() const { return context_.get(); }

   private:
    explicit TlsContext(ssl_ctx_st* context) : context_(context) {}

    std::unique_ptr<ssl_ctx_st, TlsDeleter> context_;
};

/// A session that may be resumed, once.
using TlsTicket = std::unique_ptr<ssl_session_st, TlsDeleter>;

/// One connection's end: sealed octets in, plain ones out, and back. One thread; the context
/// outlives it.
class Secure {
   public:
    enum class Role : std::uint8_t { server, client };

    Secure(const TlsContext& context, Role role, TlsTicket ticket = nullptr);

    bool established() const;
    bool resumed() const;

    /// Takes what came, and appends what was said to `plain`. False: it is over, by its peer or by
    /// an error. A client's first call has no octets.
    bool receive(std::string_view sealed, std::string& plain);
    /// REQUIRES: established.
    void send(std::span<const iovec> plain);

    /// What is to be sent now, from all of the above, in place of what `sealed` held; false:
    /// nothing.
    bool take_sealed(std::string& sealed);

    /// What the server gave for the next time, if anything.
    TlsTicket take_ticket();

   private:
    std::unique_ptr<ssl_st, TlsDeleter> ssl_;
    std::string gathered_;
};

}  // namespace postern::bench

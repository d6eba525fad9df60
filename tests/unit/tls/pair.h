#pragma once

#include <openssl/ssl.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "postern/tls/session.h"
#include "tests/unit/tls/authority.h"

/// A server's and a client's session in one process, with a wire between them that can be cut at
/// any octet.
namespace postern::tls::test {

std::array<std::byte, TicketKeys::secret_octets> a_secret(int value);

/// A key file's content, locked with a password.
std::string locked_copy(const std::string& key_file);

/// An RSA key of 1024 bits with its certificate.
Files weak(Authority& authority);

/// OpenSSL itself as the other end, for what a Session does not do.
class Foreign {
   public:
    enum class Role : std::uint8_t { server, client };

    explicit Foreign(Role role);
    ~Foreign();
    Foreign(const Foreign&) = delete;
    Foreign& operator=(const Foreign&) = delete;

    /// Shakes hands with `session` as far as it goes, and gives it what is said behind it.
    void shake(Session& session);
    /// What its SSL has written since.
    std::string said();
    void hear(const std::string& octets);

    SSL_CTX* context;
    SSL* ssl;
};

/// What the server shows a client that names `server_name`: the certificate's common name and the
/// kind of its key. `only`: "rsa" for a client that can use no other kind.
std::string shown_by(
    const ServerContext& server, const std::string& server_name, const std::string& only);

/// What a client shows a server that asks for its certificate: the common name; empty: none.
std::string shown_to_asker(const ClientContext& client);

/// Two ends and what is on its way between them.
struct Pair {
    Pair(const ServerContext& server_context, const ClientContext& client_context, const Peer& peer)
        : server(server_context), client(client_context, peer) {}

    /// Lets both ends do what they can until nothing moves any more. At most `octets_max` octets
    /// are given to an end at a time, and at most `room_max` taken.
    void shake(std::size_t octets_max = 1 << 20, std::size_t room_max = 1 << 16);

    /// All of `text` is written by `from` and read by `to`, as `shake`.
    std::string carry(
        Session& from,
        Session& to,
        std::string_view text,
        std::size_t octets_max = 1 << 20,
        std::size_t room_max = 1 << 16);

    Session server;
    Session client;
    std::string to_server;
    std::string to_client;
    Status server_status = Status::input;
    Status client_status = Status::input;
};

/// One call to an end: `to` gains what it said, `from` loses what it took.
template <class Call>
Status call(
    std::string& from, std::string& to, std::size_t octets_max, std::size_t room_max, Call&& what) {
    std::string room(room_max, '\0');
    Wire wire{std::string_view(from).substr(0, octets_max), room};
    const std::size_t offered = wire.input.size();
    const Status status = what(wire);
    from.erase(0, offered - wire.input.size());
    to.append(room, 0, room_max - wire.output.size());
    return status;
}

}  // namespace postern::tls::test

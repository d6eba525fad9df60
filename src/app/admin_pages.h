#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "admin.h"

/// The HTTP of the admin server, without a socket: a whole request in, a whole answer out.
namespace postern::app {

/// A request with its headers and its body is no longer than that.
constexpr std::size_t admin_request_octets_max = 16 * 1024;

/// How many octets the request that begins so has in all; nullopt: not known yet, more must come.
/// Never more than admin_request_octets_max: what claims to be longer is answered as it is then.
std::optional<std::size_t> admin_request_octets(std::string_view begun);

class AdminPages {
   public:
    AdminPages(const config::AdminAddress& address, AdminAnswers answers);
    ~AdminPages();

    /// The octets of the answer to this request; empty: none is due, the connection is closed.
    /// Several threads at a time.
    std::string answer(std::string_view request) const;

   private:
    class Server;
    std::unique_ptr<Server> server_;
};

}  // namespace postern::app

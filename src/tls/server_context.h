#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "owned.h"
#include "postern/tls/context.h"

namespace postern::tls {

struct ServerContext::Implementation {
    /// Of the name that a client asked for, in lower case; null: we have none for it.
    SSL_CTX* find(const std::string& name) const;

    const Library* library;
    const TicketKeys* tickets;
    OwnedCipher ticket_cipher;
    std::vector<OwnedContext> contexts;  // the first is the one for those who name nobody
    std::unordered_map<std::string, SSL_CTX*> by_name;  // "*.example.net" for a wildcard
};

}  // namespace postern::tls

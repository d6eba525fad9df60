#pragma once

#include <netinet/in.h>

#include "postern/io/ring.h"

namespace postern::bench {

/// io::open_listener, where port 0 is any free one: `address` is set to where it listens in the
/// end.
inline base::Result<int> listen_at(io::Address& address) {
    const auto listener = io::open_listener(address);
    if (listener.ok()) {
        sockaddr_storage bound{};
        socklen_t size = sizeof bound;
        ::getsockname(*listener, reinterpret_cast<sockaddr*>(&bound), &size);
        address = io::Address::from(reinterpret_cast<const sockaddr*>(&bound));
    }
    return listener;
}

}  // namespace postern::bench

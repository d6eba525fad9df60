#pragma once

#include <string>

#include "postern/io/address.h"
#include "postern/relay/relay.h"

namespace postern::app {

/// What `check --connect` finds at a smart host, here and now.
struct HostLook {
    std::string trouble;  // "does not greet"; empty: none
    std::string tls;      // "TLSv1.3 with TLS_AES_256_GCM_SHA384"; empty: not spoken
};

/// Connects, and goes as far as a connection of the pool would: up to TLS. `tls`: the pool's
/// context, null for none. Waits for each answer some seconds at most.
HostLook look_at_host(
    const relay::HostAddress& host, const relay::PoolSettings& pool, const tls::ClientContext* tls);

}  // namespace postern::app

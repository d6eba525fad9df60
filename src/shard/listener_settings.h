#pragma once

#include <cstdint>

#include "postern/inbound/inbound.h"
#include "postern/relay/relay.h"
#include "postern/shard/snapshot.h"

namespace postern::shard {

/// What inbound needs to know of a listener of the snapshot, on that worker.
inbound::ListenerSettings settings_of(
    const config::Listener& listener, const Snapshot& snapshot, std::uint32_t worker);

relay::Timeouts timeouts_of(const config::Config& config);

}  // namespace postern::shard

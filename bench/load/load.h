#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/load/messages.h"
#include "bench/load/secure.h"
#include "bench/load/sender.h"
#include "postern/base/time.h"
#include "postern/io/address.h"

/// The load: workers with a ring each drive Senders on many connections; the thread that calls
/// run_load then asks the sinks what came, compares, and reports.
namespace postern::bench {

struct LoadOptions {
    std::vector<io::Address> targets;  // connections take them in turn
    std::vector<io::Address> sources;  // to connect from, in turn; empty: any
    std::vector<io::Address> sinks;    // control addresses, asked at the end
    unsigned workers = 1;
    unsigned connections = 1;    // over all workers
    std::uint64_t messages = 0;  // over all workers; 0: until `duration` is over
    std::optional<base::Duration> duration;
    std::uint64_t messages_per_connection = 0;  // then QUIT and a new one; 0: no limit
    double rate = 0;  // messages a second, open loop; 0: as fast as answers come
    std::uint64_t octets_per_second = 0;  // each connection sends no faster; 0: no limit
    base::Duration timeout = std::chrono::seconds(60);
    base::Duration settle =
        std::chrono::seconds(2);  // waits so long for accepted messages at the sinks
    Tls tls = Tls::none;
    bool resume = false;   // a connection resumes the TLS session of the one before it
    SenderOptions sender;  // its `run` and `recipients` are set by run_load
    MessageOptions messages_made;
    RecipientOptions recipients;
    std::optional<base::Duration> below;  // answers sooner than this are also reported alone
    bool json = false;
};

/// Returns the exit code: 0 when every message was accepted and, where sinks are asked, arrived
/// once and unchanged.
int run_load(LoadOptions options);

}  // namespace postern::bench

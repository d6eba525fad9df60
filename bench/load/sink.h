#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/load/receiver.h"
#include "bench/load/secure.h"
#include "postern/io/address.h"

/// The sink: workers with a ring each take connections and feed Receivers; the thread that calls
/// run_sink answers questions on the control address until it is told to stop.
namespace postern::bench {

struct SinkOptions {
    std::vector<io::Address> listen;
    std::optional<io::Address> control;
    unsigned workers = 1;
    ReceiverOptions receiver;
    Tls tls = Tls::none;
    std::string chain;  // PEM files: the certificate that is shown, and its key
    std::string key;
    std::string store_folder;
    std::uint64_t count = 0;  // ends after so many messages; 0: no
    bool json = false;
};

/// Until SIGTERM, SIGINT or `count`. Prints where it listens when it does, and its report at the
/// end. Returns the exit code.
int run_sink(SinkOptions options);

}  // namespace postern::bench

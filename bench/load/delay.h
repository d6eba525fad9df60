#pragma once

#include "postern/base/time.h"
#include "postern/io/address.h"

/// A TCP relay that holds all octets for a while, each way: a host on this machine as if it were
/// far away.
namespace postern::bench {

struct DelayOptions {
    io::Address listen;
    io::Address to;
    base::Duration hold = std::chrono::milliseconds(10);  // each way
};

/// Until SIGTERM or SIGINT. Prints where it listens when it does. Returns the exit code.
int run_delay(DelayOptions options);

}  // namespace postern::bench

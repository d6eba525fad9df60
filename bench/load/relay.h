#pragma once

#include "postern/io/address.h"

/// The least that can store a message and pass it on: takes all of it into memory, sends it to one
/// smart host on a kept connection, and answers what the host answers. What a gateway's CPU is held
/// against, and nothing to run: it looks at no more of a command than its verb, trusts the sender
/// to wait for the answer to its message, needs PIPELINING of the host, and leaves by BDAT the dots
/// in that DATA has put in front.
namespace postern::bench {

struct RelayOptions {
    io::Address listen;
    io::Address to;
};

/// Until SIGTERM or SIGINT. Prints where it listens when it does. Returns the exit code.
int run_relay(RelayOptions options);

}  // namespace postern::bench

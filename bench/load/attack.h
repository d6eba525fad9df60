#pragma once

#include "postern/io/address.h"

/// Senders that mean harm, thousands of them, each from an address of its own (127.16.0.1 and on):
/// slow ones say an octet every second or three of what a sender would say, or nothing at all, or
/// ask and never read the answers; the others throw garbage four times a second. Each paces itself,
/// so they are never in step. Who is sent away comes again after half a second.
namespace postern::bench {

struct AttackOptions {
    io::Address target;
    unsigned slow = 0;
    unsigned garbage = 0;
};

/// Until SIGTERM or SIGINT. Prints a line of JSON each second: connections opened, ended by the
/// other side and open now, and octets sent. Returns the exit code.
int run_attack(const AttackOptions& options);

}  // namespace postern::bench

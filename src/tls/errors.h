#pragma once

#include <string>

namespace postern::tls {

/// What OpenSSL's newest error on this thread says, in its words ("no start line"); forgets all of
/// them.
std::string take_error();

}  // namespace postern::tls

#pragma once

#include <string_view>

namespace postern::app {

/// Tells the service manager (sd_notify(3)): one datagram of lines NAME=VALUE to the socket that
/// NOTIFY_SOCKET names; a leading '@' means an abstract one. Nothing where it is not set. Any
/// thread.
void notify(std::string_view state);

}  // namespace postern::app

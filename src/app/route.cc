#include "commands.h"
#include "load.h"

namespace postern::app {
int route(const std::string&, const RouteOptions&) { return 1; }
}  // namespace postern::app

#include <cstdio>

#include <fmt/format.h>

#include "ask.h"
#include "commands.h"
#include "say.h"

namespace postern::app {

int reload(const std::string& config_file, const ReloadCommand& command) {
    const base::Result<config::Admin> admin = admin_of(command.admin, config_file);
    if (!admin) {
        // A file that cannot be read is refused, as the process itself would; another address is a
        // wrong command.
        return complain(command.admin.empty() ? 1 : 2, admin.error().text);
    }
    const std::string target =
        fmt::format("/reload?dry_run={:d}&force={:d}", command.dry_run, command.force);
    return print_reply(*admin, ask(*admin, "POST", target));
}

}  // namespace postern::app

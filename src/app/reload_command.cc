#include <cstdio>

#include <fmt/format.h>

#include "ask.h"
#include "commands.h"
#include "say.h"

namespace postern::app {

int reload(const std::string& config_file, const ReloadCommand& command) {
    const base::Result<config::Admin> admin = admin_of(command.admin, config_file);
    if (!admin) {
        return complain(2, admin.error().text);
    }
    const std::string target =
        fmt::format("/reload?dry_run={:d}&force={:d}", command.dry_run, command.force);
    return print_reply(*admin, ask(*admin, "POST", target));
}

}  // namespace postern::app

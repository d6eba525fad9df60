#pragma once

#include <optional>
#include <string>

#include "commands.h"

/// `postern queue` on a spool that no process has open.
namespace postern::app {

/// The configuration's; nullopt: there is no such file, or it can not be read.
std::optional<std::string> spool_folder_of(const std::string& config_file);

/// Lists the messages in `folder`, and says that it does: nobody answered at `admin`. Returns the
/// exit code.
int list_archive(
    const std::string& admin, const std::string& folder, const QueueCommand& command, bool whole);

}  // namespace postern::app

#pragma once

#include <string>
#include <string_view>

#include "postern/base/result.h"
#include "postern/config/config.h"

/// How commands talk to a running Postern: by its admin address.
namespace postern::app {

struct Reply {
    int status = 0;  // of HTTP; 0: nobody answered
    std::string body;
};

/// Which admin address a command means: `given` (--admin), else that of the configuration file,
/// else, where nobody names that file and it is missing, the default. The error says what is wrong
/// with `given` or the file.
base::Result<config::Admin> admin_of(const std::string& given, const std::string& config_file);

/// What people call it.
std::string name_of(const config::Admin& admin);

/// One request. `target`: path and query.
Reply ask(const config::Admin& admin, const std::string& method, const std::string& target);

/// Prints the reply: to standard output, or what is wrong to standard error. Returns the exit code:
/// 0, 1 when it was refused, 2 when nobody answered.
int print_reply(const config::Admin& admin, const Reply& reply);

/// For a query: everything but letters and digits as %XX.
std::string escape_query(std::string_view text);

}  // namespace postern::app

#pragma once

#include <string>
#include <vector>

/// The commands of `postern`. Each returns the exit code; what it has to say goes to standard
/// output, errors to standard error.
namespace postern::app {

int run(const std::string& config_file);

struct CheckOptions {
    bool connect = false;
};

int check(const std::string& config_file, const CheckOptions& options);

/// Prints the rules that equal Postfix's tables; no configuration is read.
int check_from_postfix(const std::vector<std::string>& names);

struct RouteOptions {
    std::vector<std::string> addresses;
    std::string from;  // empty: for any client
    bool json = false;
    bool live = false;  // the running process is asked, at `admin` or the file's admin.address
    std::string admin;
};

int route(const std::string& config_file, const RouteOptions& options);

struct ReloadCommand {
    bool dry_run = false;
    bool force = false;
    std::string admin;  // empty: the file's admin.address
};

int reload(const std::string& config_file, const ReloadCommand& command);

}  // namespace postern::app

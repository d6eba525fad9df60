#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "queue_request.h"

/// The commands of `postern`. Each returns the exit code; what it has to say goes to standard
/// output, errors to standard error.
namespace postern::app {

/// The one that is meant where none is named.
constexpr const char* default_config_file = "/etc/postern/postern.toml";

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

struct QueueCommand {
    QueueWords words;   // which messages
    std::string admin;  // empty: the file's admin.address
    bool json = false;
    std::uint64_t limit = 0;  // most that are listed; 0: all
    bool all = false;         // a change without a filter is meant
    bool notify = false;      // of what is removed, the senders are told
};

/// Without a running Postern, the spool that the file names is read.
int queue_list(const std::string& config_file, const QueueCommand& command);
int queue_show(const std::string& config_file, const QueueCommand& command);
int queue_change(
    const std::string& config_file, shard::QueueChange change, const QueueCommand& command);
/// Of a spool that no process has open, into files of `folder`.
int queue_export(
    const std::string& config_file, const QueueCommand& command, const std::string& folder);

}  // namespace postern::app

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "postern/base/result.h"

/// What the process may do, and gives up: SECURITY.md, "Privileges". Capabilities are a thread's,
/// and a thread begins with those of the one that made it.
namespace postern::app {

/// For every start, before there are threads: no program that is started gains privileges, and the
/// memory, in which secrets and mail lie, is neither dumped nor open to other processes of the same
/// user.
void protect_process();

/// What is left of a start as root.
struct Privileges {
    bool root = false;     // still root
    std::string sentence;  // for the log; empty where there was nothing to give up
};

/// After all is bound, before there are other threads: root becomes the user `postern`, where there
/// is one, and `given` become that user's, where they are root's. The thread keeps two capabilities
/// for reloads: to bind a low port, and to read what root reads (keys, rules). The error says what
/// stands in the way of a drop that was begun.
base::Result<Privileges> drop_root(const std::vector<std::filesystem::path>& given);

/// For the main thread, which goes on to open the log anew: it may read what root reads, where it
/// could before, and nothing else.
void forget_binding();

/// For threads that read nothing but sockets: the calling thread has no capability from now on.
void forget_capabilities();

}  // namespace postern::app

#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/route/table.h"

/// Rules files (product.md, section 1): text in, a table or all that is wrong with it out. Pure;
/// for the control thread, since it allocates freely and takes about half a microsecond a rule.
namespace postern::route {

/// One file's content. Views need to live for the call of load() only.
struct Source {
    std::string_view name;  // as messages and logs show it
    std::string_view text;
};

/// What of the configuration the rules depend on.
struct RuleSettings {
    std::vector<std::string> pools;  // names of the pools that exist
    std::map<std::string, std::shared_ptr<const Recipients>> recipients;  // by pool; of those that
                                                                          // have a list
    bool allow_open_relay = false;
    std::string recipient_delimiter =
        "+";  // each of its characters ends the local part that is tried second; empty: off
};

struct Loaded {
    std::unique_ptr<const Table> table;  // null when there are errors
    std::vector<std::string>
        errors;  // all of them: "FILE:LINE:COLUMN: what is wrong, and what is allowed"
};

/// Reads and checks all files and builds the table. Columns count characters, from 1.
Loaded load(std::span<const Source> sources, const RuleSettings& settings, const Secrets& secrets);

}  // namespace postern::route

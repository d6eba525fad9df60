#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/config/parse.h"

namespace postern::app {

/// A sentence about a file that a key of the configuration `file` names: "FILE:LINE:COLUMN: KEY:
/// PATH what".
std::string about_named(
    const std::string& file, const config::NamedFile& named, std::string_view what);

/// Its content; nullopt: it cannot be read, and `errors` says why.
std::optional<std::string> read_named(
    const std::string& file,
    const config::NamedFile& named,
    std::size_t octets_max,
    std::vector<std::string>& errors);

}  // namespace postern::app

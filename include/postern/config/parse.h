#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/result.h"
#include "postern/config/config.h"

/// From text to Config, with everything that is wrong with it in one go. `parse` and `reference`
/// are pure; `load` reads files. Any thread; blocking and allocating: for the control thread.
namespace postern::config {

/// A place in a file and a sentence about it.
struct Problem {
    std::string file;
    std::uint32_t line = 1;    // from 1
    std::uint32_t column = 1;  // in characters, from 1
    std::string text;          // what is wrong, and what is allowed

    /// "FILE:LINE:COLUMN: TEXT"
    std::string format() const;
};

/// A file that a key names, whose content is looked at by others.
struct NamedFile {
    std::string key;  // "pool.cluster-a.tls_ca"
    std::filesystem::path path;
    std::uint32_t line = 1;  // of the value
    std::uint32_t column = 1;
};

struct Parsed {
    std::optional<Config> config;  // set exactly when there are no errors
    // What could be read of a file with errors, so that the files it names are checked in the same
    // go; unset where it is no TOML. Nothing else of it may be relied on.
    std::optional<Config> flawed;
    std::vector<Problem> errors;  // in the file's order
    std::vector<Problem> warnings;
    std::vector<NamedFile> files;  // of keys that name one file each
};

/// The files that match a glob. A relative one starts at `folder`, which is no pattern itself.
using Expand = std::vector<std::filesystem::path> (*)(
    const std::filesystem::path& folder, const std::string& glob);

/// `file`: for messages, and its folder is what relative paths are joined to. `system_hostname`:
/// the default of `hostname`. `expand`: asked for each entry of rules.files, where an empty answer
/// is an error; null: the globs stay as they are.
Parsed parse(
    std::string_view text,
    const std::string& file,
    std::string_view system_hostname,
    Expand expand = nullptr);

/// A regular file's octets. The error says why there are none, without the name: what the system
/// said, that it is no file (a pipe is not waited for), or that it is larger than `octets_max`.
base::Result<std::string> read_file(const std::string& name, std::size_t octets_max);

inline constexpr std::size_t configuration_octets_max = std::size_t{16} << 20;

/// Reads `file` and parses it, with the globs of rules.files expanded.
Parsed load(const std::string& file, std::string_view system_hostname);

/// The keys whose values differ and are applied by a restart alone: "log.format".
std::vector<std::string> changed_for_restart(Config running, Config next);

/// The manual's page of all keys, in Markdown.
std::string reference();

}  // namespace postern::config

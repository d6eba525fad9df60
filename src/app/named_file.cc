#include "named_file.h"

#include <utility>

#include <fmt/format.h>

namespace postern::app {

std::string about_named(
    const std::string& file, const config::NamedFile& named, std::string_view what) {
    return config::Problem{
        file,
        named.line,
        named.column,
        fmt::format("{}: {} {}", named.key, named.path.native(), what)}
        .format();
}

std::optional<std::string> read_named(
    const std::string& file,
    const config::NamedFile& named,
    std::size_t octets_max,
    std::vector<std::string>& errors) {
    base::Result<std::string> text = config::read_file(named.path, octets_max);
    if (text) {
        return std::move(*text);
    }
    errors.push_back(about_named(file, named, "cannot be read: " + text.error().text));
    return std::nullopt;
}

}  // namespace postern::app

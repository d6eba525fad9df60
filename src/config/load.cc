#include <glob.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "postern/config/parse.h"

namespace postern::config {
namespace {

std::vector<std::filesystem::path> expand_glob(const std::filesystem::path& pattern) {
    std::vector<std::filesystem::path> files;
    glob_t matches{};
    if (glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
        files.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    }
    globfree(&matches);
    return files;
}

}  // namespace

Parsed load(const std::string& file, std::string_view system_hostname) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    if (!stream || !(text << stream.rdbuf())) {
        Parsed parsed;
        parsed.errors.push_back(
            {file,
             1,
             1,
             std::string("the configuration can not be read: ") + std::strerror(errno)});
        return parsed;
    }
    return parse(text.str(), file, system_hostname, expand_glob);
}

}  // namespace postern::config

#include <glob.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "postern/config/parse.h"

namespace postern::config {
namespace {

std::vector<std::filesystem::path> expand_glob(
    const std::filesystem::path& folder, const std::string& pattern) {
    std::string escaped;  // a folder's name is no pattern
    for (const char c : pattern.starts_with('/') ? "" : (folder / "").native()) {
        escaped += std::string_view("*?[]\\").find(c) != std::string_view::npos ? "\\" : "";
        escaped += c;
    }
    std::vector<std::filesystem::path> files;
    glob_t matches{};
    if (glob((escaped + pattern).c_str(), 0, nullptr, &matches) == 0) {
        files.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    }
    globfree(&matches);
    return files;
}

/// False with errno set: it can not be read.
bool read_file(const std::string& name, std::string& text) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen(name.c_str(), "rbe"), std::fclose);
    if (file == nullptr) {
        return false;
    }
    std::array<char, 65536> buffer;
    std::size_t count = 0;
    while ((count = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0) {
        text.append(buffer.data(), count);
    }
    return std::ferror(file.get()) == 0;
}

}  // namespace

Parsed load(const std::string& file, std::string_view system_hostname) {
    std::string text;
    if (!read_file(file, text)) {
        Parsed parsed;
        parsed.errors.push_back(
            {file,
             1,
             1,
             std::string("the configuration can not be read: ") + std::strerror(errno)});
        return parsed;
    }
    return parse(text, file, system_hostname, expand_glob);
}

}  // namespace postern::config

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

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

}  // namespace

base::Result<std::string> read_file(const std::string& name, std::size_t octets_max) {
    // Without O_NONBLOCK a pipe would be waited for before it is seen to be one.
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    struct stat status {};

    if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
        const int error = errno;
        if (descriptor >= 0) {
            ::close(descriptor);
        }
        return base::Error{std::strerror(error)};
    }
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        ::fdopen(descriptor, "rb"), std::fclose);
    if (!S_ISREG(status.st_mode)) {
        return base::Error{"it is no file"};
    }
    const base::Error too_large{
        "it has more than " + std::to_string(octets_max >> 20) + " MiB, the most allowed"};
    if (static_cast<std::uint64_t>(status.st_size) > octets_max) {
        return too_large;
    }
    std::string text;
    text.reserve(static_cast<std::size_t>(status.st_size));
    std::array<char, 65536> buffer;
    std::size_t count = 0;
    while ((count = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0) {
        if (count > octets_max - text.size()) {
            return too_large;
        }
        text.append(buffer.data(), count);
    }
    if (std::ferror(file.get()) != 0) {
        return base::Error{std::strerror(errno)};
    }
    return text;
}

Parsed load(const std::string& file, std::string_view system_hostname) {
    const base::Result<std::string> text = read_file(file, configuration_octets_max);
    if (!text) {
        Parsed parsed;
        parsed.errors.push_back(
            {file, 1, 1, "the configuration can not be read: " + text.error().text});
        return parsed;
    }
    return parse(*text, file, system_hostname, expand_glob);
}

}  // namespace postern::config

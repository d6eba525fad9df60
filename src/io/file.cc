#include "postern/io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "postern/base/assert.h"

namespace postern::io {
namespace {

base::Error world_error(const std::string& attempted) {
    return {attempted + ": " + strerrordesc_np(errno)};
}

constexpr mode_t owner_only = 0700;
constexpr std::size_t zeros_at_once = 1 << 20;

struct Freed {
    void operator()(void* memory) const { std::free(memory); }
};

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// What a folder says of names is on stable storage only once it is synchronised itself (fsync(2)).
base::Result<void> sync_folder(const std::string& path) {
    const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return world_error("cannot open the folder " + path);
    }
    const bool synced = ::fsync(folder) == 0;
    base::Error error = world_error("cannot bring the folder " + path + " to stable storage");
    ::close(folder);
    return synced ? base::Result<void>() : error;
}

base::Result<void> fill_with_zeros(
    int file, const std::string& path, std::uint64_t offset, std::uint64_t octets) {
    const std::unique_ptr<void, Freed> zeros(std::aligned_alloc(file_block_size, zeros_at_once));
    POSTERN_ASSERT(zeros != nullptr, "there is no memory for a block of zeros");
    std::memset(zeros.get(), 0, zeros_at_once);
    while (offset < octets) {
        const std::size_t most = std::min<std::uint64_t>(zeros_at_once, octets - offset);
        const ssize_t count = ::pwrite(file, zeros.get(), most, static_cast<off_t>(offset));
        if (count < 0 && errno != EINTR) {
            return world_error("cannot fill " + path + " with zeros");
        }
        offset += count < 0 ? 0 : static_cast<std::uint64_t>(count);
    }
    // The data, its place on the disk and the size; later writes change none of the last two.
    if (::fsync(file) != 0) {
        return world_error("cannot bring " + path + " to stable storage");
    }
    return {};
}

/// Past the page cache where the file system has that (tmpfs before 6.6 and some others refuse).
base::Result<BlockFile> open_with(const std::string& path, int flags) {
    const auto attempt = [&](int more) {
        return ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags | more, 0600);
    };
    BlockFile file;
    file.descriptor = attempt(O_DIRECT);
    file.direct = file.descriptor >= 0;
    if (file.descriptor < 0 && errno == EINVAL) {
        file.descriptor = attempt(0);
        if (file.descriptor < 0 && errno == EEXIST) {
            file.descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        }
    }
    if (file.descriptor < 0) {
        return world_error("cannot open " + path);
    }
    return file;
}

base::Error lock_error(const std::string& path, int folder) {
    base::Error error = errno == EWOULDBLOCK
                            ? base::Error{"another process works in the folder " + path}
                            : world_error("cannot lock the folder " + path);
    ::close(folder);
    return error;
}

}  // namespace

base::Result<void> make_folder(const std::string& path) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) {
        return {};
    }
    const std::string above = folder_of(path);
    if (above != path) {
        if (base::Result<void> made = make_folder(above); !made) {
            return made;
        }
    }
    if (::mkdir(path.c_str(), owner_only) != 0 && errno != EEXIST) {
        return world_error("cannot make the folder " + path);
    }
    return sync_folder(above);
}

base::Result<std::vector<std::string>> list_folder(const std::string& path) {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) {
        return world_error("cannot list the folder " + path);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(folder)) {
        struct stat about {};

        if (::fstatat(::dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(about.st_mode)) {
            names.emplace_back(entry->d_name);
        }
        errno = 0;
    }
    const bool whole = errno == 0;
    base::Error error = world_error("cannot list the folder " + path);
    ::closedir(folder);
    std::sort(names.begin(), names.end());
    return whole ? base::Result(std::move(names)) : error;
}

base::Result<std::uint64_t> free_octets(const std::string& folder) {
    struct statvfs about {};

    if (::statvfs(folder.c_str(), &about) != 0) {
        return world_error("cannot learn how much room the file system of " + folder + " has");
    }
    return std::uint64_t{about.f_bavail} * about.f_frsize;
}

base::Result<int> lock_folder(const std::string& path) {
    const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return world_error("cannot open the folder " + path);
    }
    // A process that was killed holds it until its operations with the kernel have ended.
    constexpr int tries = 60;
    constexpr timespec pause{0, 50'000'000};
    for (int i = 0; ::flock(folder, LOCK_EX | LOCK_NB) != 0; ++i) {
        if (errno != EWOULDBLOCK || i == tries) {
            return lock_error(path, folder);
        }
        ::nanosleep(&pause, nullptr);
    }
    return folder;
}

base::Result<BlockFile> create_file(const std::string& path, std::uint64_t octets) {
    POSTERN_ASSERT(octets % file_block_size == 0, "a file of blocks is whole blocks long");
    base::Result<BlockFile> opened = open_with(path, O_CREAT | O_EXCL);
    if (!opened) {
        return opened;
    }
    opened->octets = octets;
    base::Result<void> filled = fill_with_zeros(opened->descriptor, path, 0, octets);
    if (filled) {
        filled = sync_folder(folder_of(path));
    }
    if (!filled) {
        // What is half there would only take up room.
        ::unlink(path.c_str());
        close_file(*opened);
        return filled.error();
    }
    return opened;
}

base::Result<BlockFile> open_file(const std::string& path) {
    base::Result<BlockFile> opened = open_with(path, 0);
    if (!opened) {
        return opened;
    }

    struct stat about {};

    if (::fstat(opened->descriptor, &about) != 0) {
        base::Error error = world_error("cannot learn the size of " + path);
        close_file(*opened);
        return error;
    }
    opened->octets = static_cast<std::uint64_t>(about.st_size);
    return opened;
}

base::Result<void> read_file(
    const BlockFile& file, const std::string& path, std::uint64_t offset, std::span<char> into) {
    while (!into.empty()) {
        const ssize_t count =
            ::pread(file.descriptor, into.data(), into.size(), static_cast<off_t>(offset));
        if (count == 0) {
            return base::Error{
                "cannot read " + path + ": it ends at octet " + std::to_string(offset)};
        }
        if (count < 0 && errno != EINTR) {
            return world_error(
                "cannot read " + path + " from octet " + std::to_string(offset) + " on");
        }
        const auto octets = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        into = into.subspan(octets);
        offset += octets;
    }
    return {};
}

base::Result<void> write_file(
    const BlockFile& file,
    const std::string& path,
    std::uint64_t offset,
    std::span<const char> octets) {
    while (!octets.empty()) {
        const iovec run{const_cast<char*>(octets.data()), octets.size()};
        const ssize_t count =
            ::pwritev2(file.descriptor, &run, 1, static_cast<off_t>(offset), RWF_DSYNC);
        if (count < 0 && errno != EINTR) {
            return world_error(
                "cannot write to " + path + " from octet " + std::to_string(offset) + " on");
        }
        const auto written = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        octets = octets.subspan(written);
        offset += written;
    }
    return {};
}

base::Result<void> zero_file(const BlockFile& file, const std::string& path, std::uint64_t offset) {
    return fill_with_zeros(file.descriptor, path, offset, file.octets);
}

base::Result<void> save_file(const std::string& path, std::string_view content) {
    const std::string draft = path + ".new";
    const int file =
        ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return world_error("cannot open " + draft);
    }
    base::Result<void> written;
    while (!content.empty() && written) {
        const ssize_t count = ::write(file, content.data(), content.size());
        if (count < 0 && errno != EINTR) {
            written = world_error("cannot write to " + draft);
        }
        content.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    }
    if (written && ::fsync(file) != 0) {
        written = world_error("cannot bring " + draft + " to stable storage");
    }
    ::close(file);
    if (written) {
        written = rename_file(draft, path);
    }
    if (!written) {
        ::unlink(draft.c_str());
    }
    return written;
}

base::Result<void> rename_file(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) {
        return world_error("cannot rename " + from + " to " + to);
    }
    return sync_folder(folder_of(to));
}

base::Result<void> remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        return world_error("cannot remove " + path);
    }
    return sync_folder(folder_of(path));
}

void close_file(BlockFile& file) {
    ::close(file.descriptor);
    file = {};
}

}  // namespace postern::io

#include "privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <fmt/format.h>

namespace postern::app {
namespace {

constexpr const char* user_name = "postern";

constexpr std::uint64_t bit(int capability) {
    return std::uint64_t{1} << capability;
}

constexpr std::uint64_t kept = bit(CAP_NET_BIND_SERVICE) | bit(CAP_DAC_READ_SEARCH);

/// Of the calling thread.
std::uint64_t capabilities() {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2] = {};
    return ::syscall(SYS_capget, &header, data) == 0
               ? data[0].permitted | std::uint64_t{data[1].permitted} << 32
               : 0;
}

/// Of the calling thread; none is for programs that it starts. Fewer always succeeds.
bool set_capabilities(std::uint64_t wanted) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2] = {};
    for (int half = 0; half < 2; ++half) {
        data[half].permitted = data[half].effective =
            static_cast<std::uint32_t>(wanted >> (32 * half));
    }
    return ::syscall(SYS_capset, &header, data) == 0;
}

void give(const std::filesystem::path& path, const passwd& user) {
    struct stat found {};

    // What has another owner than root is as the operator wants it.
    if (::lstat(path.c_str(), &found) == 0 && found.st_uid == 0 && !S_ISLNK(found.st_mode)) {
        // Where it fails, what needs the file says so.
        static_cast<void>(!::lchown(path.c_str(), user.pw_uid, user.pw_gid));
    }
}

}  // namespace

void protect_process() {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // The leak checker reads this process as a debugger does.
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    // Root's rings are not counted; those of the user that it becomes are.
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

base::Result<Privileges> drop_root(const std::vector<std::filesystem::path>& given) {
    if (::geteuid() != 0) {
        return Privileges{};
    }
    const passwd* const user = ::getpwnam(user_name);
    if (user == nullptr || user->pw_uid == 0) {
        return Privileges{
            true,
            fmt::format(
                "it runs as root, for there is no user {} that it could become: adduser --system "
                "--group {}",
                user_name,
                user_name)};
    }
    const std::uint64_t had = capabilities();
    if ((had & bit(CAP_SETUID)) == 0 || (had & bit(CAP_SETGID)) == 0) {
        return Privileges{
            true,
            fmt::format(
                "it runs as root, for it may not become the user {} (CAP_SETUID, CAP_SETGID)",
                user_name)};
    }
    for (const std::filesystem::path& path : given) {
        give(path, *user);
    }
    const auto failed = [&](const char* attempted) -> base::Error {
        return {fmt::format(
            "root could not become the user {}: {}: {}",
            user_name,
            attempted,
            std::strerror(errno))};
    };
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
        return failed("PR_SET_KEEPCAPS");
    }
    if (::initgroups(user_name, user->pw_gid) != 0) {
        return failed("initgroups");
    }
    if (::setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0) {
        return failed("setresgid");
    }
    if (::setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) {
        return failed("setresuid");
    }
    ::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    if (!set_capabilities(had & kept)) {
        return failed("capset");
    }
    if (::setuid(0) == 0) {
        return base::Error{fmt::format("root became the user {} and could go back", user_name)};
    }
    return Privileges{
        false,
        fmt::format(
            "it was started as root and runs as the user {}; reloads may still bind low ports and "
            "read what root reads",
            user_name)};
}

void forget_binding() {
    set_capabilities(capabilities() & bit(CAP_DAC_READ_SEARCH));
}

void forget_capabilities() {
    set_capabilities(0);
}

}  // namespace postern::app

#include "setup_error.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace postern::io {

namespace {

constexpr const char* allow_in_filter =
    "allow io_uring_setup, io_uring_enter and io_uring_register in it (Docker: --security-opt "
    "seccomp=FILE; systemd: "
    "SystemCallFilter=@system-service)";

std::string why_forbidden(const SetupFacts& facts) {
    if (facts.disabled == 2) {
        return "the sysctl kernel.io_uring_disabled is 2, for nobody; set it to 0";
    }
    if (facts.disabled == 1) {
        return "the sysctl kernel.io_uring_disabled is 1, for privileged processes and the group "
               "kernel.io_uring_group only; set it "
               "to 0, or add Postern's user to that group";
    }
    if (facts.filtered) {
        return std::string("a seccomp filter forbids it; ") + allow_in_filter;
    }
    return "a security module (SELinux, AppArmor) forbids it; allow io_uring to Postern in its "
           "policy";
}

std::string why_missing(const SetupFacts& facts) {
    if (facts.filtered) {
        return std::string("a seccomp filter hides it; ") + allow_in_filter;
    }
    return "this kernel (" + facts.kernel +
           ") was built without CONFIG_IO_URING; run one that has it, 6.1 or newer";
}

std::string in_kib(std::size_t octets) {
    return octets == RLIM_INFINITY ? "unlimited" : std::to_string(octets / 1024) + " KiB";
}

}  // namespace

base::Error setup_error(int error, const SetupFacts& facts) {
    std::string text =
        "cannot use io_uring (" + facts.attempted + ": " + strerrorname_np(error) + "): ";
    switch (error) {
        case EPERM:
        case EACCES:
            return {text + why_forbidden(facts)};
        case ENOSYS:
            return {text + why_missing(facts)};
        case ENOMEM:
            return {
                text + "memory that may be locked ran out: each worker's ring takes " +
                in_kib(facts.wanted_octets) +
                " of it and RLIMIT_MEMLOCK, for all processes of this user, is " +
                in_kib(facts.memlock_octets) +
                "; raise it (systemd: LimitMEMLOCK=infinity; Docker: --ulimit memlock=-1)"};
        case EINVAL:
            return {text + "this kernel (" + facts.kernel + ") is too old; run 6.1 or newer"};
        default:
            return {text + strerrordesc_np(error)};
    }
}

SetupFacts read_setup_facts(std::string attempted, std::size_t wanted_octets) {
    SetupFacts facts;
    facts.attempted = std::move(attempted);
    facts.wanted_octets = wanted_octets;

    utsname kernel{};
    uname(&kernel);
    facts.kernel = kernel.release;

    rlimit memlock{};
    getrlimit(RLIMIT_MEMLOCK, &memlock);
    facts.memlock_octets = memlock.rlim_cur;

    if (FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re")) {
        int disabled = 0;
        if (std::fscanf(file, "%d", &disabled) == 1) {
            facts.disabled = disabled;
        }
        std::fclose(file);
    }
    if (FILE* file = std::fopen("/proc/self/status", "re")) {
        char line[256];
        while (std::fgets(line, sizeof line, file) != nullptr) {
            constexpr const char* label = "Seccomp:";
            if (std::strncmp(line, label, std::strlen(label)) == 0) {
                facts.filtered =
                    std::strpbrk(line, "12") != nullptr;  // 0: none, 1: strict, 2: a filter
            }
        }
        std::fclose(file);
    }
    return facts;
}

}  // namespace postern::io

#include "src/io/setup_error.h"

#include <gtest/gtest.h>

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdio>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

SetupFacts facts() {
    return {
        .attempted = "io_uring_setup",
        .kernel = "6.1.0-38-amd64",
        .disabled = {},
        .filtered = false,
        .memlock_octets = 64 * 1024,
        .wanted_octets = 140 * 1024};
}

TEST(SetupError, SaysWhichSysctlForbidsIt) {
    SetupFacts f = facts();
    f.disabled = 2;
    f.filtered = true;  // the sysctl comes first: it is what the filter's owner cannot change
    EXPECT_EQ(
        setup_error(EPERM, f).text,
        "cannot use io_uring (io_uring_setup: EPERM): the sysctl kernel.io_uring_disabled is 2, "
        "for nobody; set it to 0");
    f.disabled = 1;
    EXPECT_EQ(
        setup_error(EPERM, f).text,
        "cannot use io_uring (io_uring_setup: EPERM): the sysctl kernel.io_uring_disabled is 1, "
        "for privileged processes and the "
        "group kernel.io_uring_group only; set it to 0, or add Postern's user to that group");
}

TEST(SetupError, SaysThatAFilterForbidsOrHidesIt) {
    SetupFacts f = facts();
    f.disabled = 0;
    f.filtered = true;
    const std::string allow =
        "; allow io_uring_setup, io_uring_enter and io_uring_register in it (Docker: "
        "--security-opt seccomp=FILE; systemd: "
        "SystemCallFilter=@system-service)";
    EXPECT_EQ(
        setup_error(EPERM, f).text,
        "cannot use io_uring (io_uring_setup: EPERM): a seccomp filter forbids it" + allow);
    EXPECT_EQ(
        setup_error(ENOSYS, f).text,
        "cannot use io_uring (io_uring_setup: ENOSYS): a seccomp filter hides it" + allow);
}

TEST(SetupError, SaysThatASecurityModuleForbidsIt) {
    EXPECT_EQ(
        setup_error(EACCES, facts()).text,
        "cannot use io_uring (io_uring_setup: EACCES): a security module (SELinux, AppArmor) "
        "forbids it; allow io_uring to Postern "
        "in its policy");
}

TEST(SetupError, SaysThatTheKernelLacksIt) {
    EXPECT_EQ(
        setup_error(ENOSYS, facts()).text,
        "cannot use io_uring (io_uring_setup: ENOSYS): this kernel (6.1.0-38-amd64) was built "
        "without CONFIG_IO_URING; run one that "
        "has it, 6.1 or newer");
}

TEST(SetupError, SaysThatTheKernelIsTooOld) {
    SetupFacts f = facts();
    f.kernel = "5.15.0-113-generic";
    EXPECT_EQ(
        setup_error(EINVAL, f).text,
        "cannot use io_uring (io_uring_setup: EINVAL): this kernel (5.15.0-113-generic) is too "
        "old; run 6.1 or newer");
}

TEST(SetupError, SaysHowMuchMemoryMayBeLocked) {
    EXPECT_EQ(
        setup_error(ENOMEM, facts()).text,
        "cannot use io_uring (io_uring_setup: ENOMEM): memory that may be locked ran out: each "
        "worker's ring takes 140 KiB of it and "
        "RLIMIT_MEMLOCK, for all processes of this user, is 64 KiB; raise it (systemd: "
        "LimitMEMLOCK=infinity; Docker: --ulimit "
        "memlock=-1)");
}

TEST(SetupError, SaysWhatElseTheKernelSaid) {
    EXPECT_EQ(
        setup_error(EMFILE, facts()).text,
        "cannot use io_uring (io_uring_setup: EMFILE): Too many open files");
}

// --- the same, from the kernel -------------------------------------------------------------------

/// What Ring::create says in a child process that has done `before` to itself; empty if it made a
/// ring.
template <class Before>
std::string create_in_child(Before before, const RingOptions& options = {}) {
    int ends[2];
    if (pipe(ends) != 0) {
        return "no pipe";
    }
    const pid_t child = fork();
    if (child == 0) {
        before();
        const auto ring = Ring::create(options);
        const std::string text = ring ? "" : ring.error().text;
        const bool told =
            ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        _exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    std::string said;
    char buffer[1024];
    for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
        said.append(buffer, static_cast<std::size_t>(count));
    }
    ::close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child failed: " << status;
    return said;
}

/// From here on the system call `number` fails with `error` in this process.
void refuse(long number, int error) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program{.len = sizeof filter / sizeof *filter, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(2);
    }
}

TEST(Refusal, NothingRefusedMakesARing) {
    EXPECT_EQ(create_in_child([] {}), "");
}

TEST(Refusal, BySeccompWithEperm) {
    const std::string said = create_in_child([] { refuse(SYS_io_uring_setup, EPERM); });
    EXPECT_TRUE(said.starts_with(
        "cannot use io_uring (io_uring_setup: EPERM): a seccomp filter forbids it; allow "))
        << said;
}

TEST(Refusal, BySeccompWithEnosys) {
    const std::string said = create_in_child([] { refuse(SYS_io_uring_setup, ENOSYS); });
    EXPECT_TRUE(said.starts_with(
        "cannot use io_uring (io_uring_setup: ENOSYS): a seccomp filter hides it; allow "))
        << said;
}

TEST(Refusal, OfAPartOfIt) {
    const std::string said = create_in_child([] { refuse(SYS_io_uring_register, EPERM); });
    EXPECT_TRUE(said.starts_with(
        "cannot use io_uring (IORING_REGISTER_RING_FDS: EPERM): a seccomp filter forbids it; "))
        << said;
}

TEST(Refusal, AsByAKernelThatIsTooOld) {
    utsname kernel{};
    uname(&kernel);
    const std::string said = create_in_child([] { refuse(SYS_io_uring_setup, EINVAL); });
    EXPECT_EQ(
        said,
        std::string("cannot use io_uring (io_uring_setup: EINVAL): this kernel (") +
            kernel.release + ") is too old; run 6.1 or newer");
}

/// In a child: no right to lock more than `octets`. Root may lock what it likes, so it becomes
/// someone else.
void limit_locked_memory(std::size_t octets) {
    constexpr uid_t nobody = 65534;
    const rlimit limit{.rlim_cur = octets, .rlim_max = octets};
    const bool limited = setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
    const bool lowered =
        geteuid() != 0 || (setgroups(0, nullptr) == 0 && setresgid(nobody, nobody, nobody) == 0 &&
                           setresuid(nobody, nobody, nobody) == 0);
    if (!limited || !lowered) {
        _exit(2);
    }
}

/// A kernel before 6.14 does not charge a ring to the limit.
bool rings_are_charged() {
    utsname kernel{};
    uname(&kernel);
    int major = 0, minor = 0;
    EXPECT_EQ(std::sscanf(kernel.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 14);
}

TEST(Refusal, ByTheLimitOfLockedMemory) {
    const std::string played = create_in_child([] { refuse(SYS_io_uring_setup, ENOMEM); });
    EXPECT_NE(
        played.find("ENOMEM): memory that may be locked ran out: each worker's ring takes 144 KiB"),
        std::string::npos)
        << played;

    const RingOptions options;
    const std::string real =
        create_in_child([&] { limit_locked_memory(locked_octets(options) - 4096); }, options);
    if (rings_are_charged()) {
        EXPECT_NE(
            real.find(
                "ENOMEM): memory that may be locked ran out: each worker's ring takes 144 KiB"),
            std::string::npos)
            << real;
        EXPECT_NE(
            real.find("RLIMIT_MEMLOCK, for all processes of this user, is 140 KiB; raise it"),
            std::string::npos)
            << real;
    } else {
        EXPECT_EQ(real, "");
    }
}

/// What memory sums rely on: a ring takes no more than locked_octets says.
TEST(Refusal, WhatIsChargedIsWhatLockedOctetsSays) {
    RingOptions options{.entries = 64};
    for (const unsigned entries : {64u, 100u, 1024u, 4096u}) {
        options.entries = entries;
        std::string said = "never tried";
        // The kernel gives memory of an ended process back a little later.
        for (int attempt = 0; attempt < 50 && !said.empty(); ++attempt) {
            said = create_in_child([&] { limit_locked_memory(locked_octets(options)); }, options);
            usleep(20'000);
        }
        EXPECT_EQ(said, "") << entries;
    }
}

}  // namespace
}  // namespace postern::io::test

#include "src/io/restrict.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

struct Restricted {
    Restricted() {
        io_uring_params parameters{};
        parameters.flags = IORING_SETUP_R_DISABLED;
        made = io_uring_queue_init_params(8, &ring, &parameters) == 0 && restrict_ring(ring) == 0 &&
               io_uring_enable_rings(&ring) == 0;
    }

    ~Restricted() { io_uring_queue_exit(&ring); }

    /// What an operation comes to whose every other field is 0, of descriptor -1.
    int result_of(int operation, unsigned flags = 0) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring);
        *entry = {};
        entry->opcode = static_cast<std::uint8_t>(operation);
        entry->flags = static_cast<std::uint8_t>(flags);
        entry->fd = -1;
        io_uring_cqe* done = nullptr;
        if (io_uring_submit_and_wait(&ring, 1) < 0 || io_uring_peek_cqe(&ring, &done) != 0) {
            return 0;
        }
        const int result = done->res;
        io_uring_cqe_seen(&ring, done);
        return result;
    }

    io_uring ring{};
    bool made = false;
};

TEST(RestrictRing, TakesItsOperationsAndRefusesEveryOther) {
    Restricted restricted;
    ASSERT_TRUE(restricted.made);
    const std::set<int> allowed{
        IORING_OP_ACCEPT,
        IORING_OP_CONNECT,
        IORING_OP_RECV,
        IORING_OP_SEND,
        IORING_OP_SENDMSG,
        IORING_OP_CLOSE,
        IORING_OP_ASYNC_CANCEL,
        IORING_OP_POLL_ADD,
        IORING_OP_READ,
        IORING_OP_WRITE};
    for (int operation = 0; operation < IORING_OP_LAST; ++operation) {
        const int result = restricted.result_of(operation);
        EXPECT_EQ(result == -EACCES, !allowed.contains(operation)) << operation << ' ' << result;
    }
}

TEST(RestrictRing, RefusesWhatWouldLetAnEntryRunOnAnotherThreadOrBehindAnother) {
    Restricted restricted;
    ASSERT_TRUE(restricted.made);
    for (const unsigned flag : {IOSQE_ASYNC, IOSQE_IO_LINK, IOSQE_FIXED_FILE, IOSQE_IO_DRAIN}) {
        EXPECT_EQ(restricted.result_of(IORING_OP_CLOSE, flag), -EACCES) << flag;
    }
}

TEST(RestrictRing, RefusesToBeChanged) {
    Restricted restricted;
    ASSERT_TRUE(restricted.made);
    int descriptor = 0;
    EXPECT_EQ(io_uring_register_files(&restricted.ring, &descriptor, 1), -EACCES);
    EXPECT_EQ(io_uring_register_eventfd(&restricted.ring, 0), -EACCES);
    EXPECT_LT(restrict_ring(restricted.ring), 0);
}

/// The rings that workers have.
TEST(RestrictRing, EveryRingIsRestricted) {
    const auto ring = make_ring();
    int found = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (std::filesystem::read_symlink(entry, gone) == "anon_inode:[io_uring]") {
            ++found;
            io_uring by_hand{};
            by_hand.ring_fd = by_hand.enter_ring_fd = std::stoi(entry.path().filename());
            int descriptor = 0;
            EXPECT_EQ(io_uring_register_files(&by_hand, &descriptor, 1), -EACCES);
        }
    }
    EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace postern::io::test

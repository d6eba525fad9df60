#include "restrict.h"

#include <cstdint>
#include <iterator>

namespace postern::io {
namespace {

/// A new operation of Ring's is a row here; without it the operation completes with -EACCES.
constexpr io_uring_op operations[] = {
    IORING_OP_ACCEPT,
    IORING_OP_CONNECT,
    IORING_OP_RECV,
    IORING_OP_SEND,
    IORING_OP_SENDMSG,
    IORING_OP_CLOSE,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_POLL_ADD,
    IORING_OP_READ,
    IORING_OP_WRITE,
};
constexpr std::uint8_t entry_flags = IOSQE_BUFFER_SELECT;
/// At its end a ring gives its number back.
constexpr std::uint8_t registrations[] = {IORING_UNREGISTER_RING_FDS};

}  // namespace

int restrict_ring(io_uring& ring) {
    io_uring_restriction allowed[std::size(operations) + std::size(registrations) + 1] = {};
    unsigned count = 0;
    for (const io_uring_op operation : operations) {
        allowed[count].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[count++].sqe_op = static_cast<std::uint8_t>(operation);
    }
    for (const std::uint8_t registration : registrations) {
        allowed[count].opcode = IORING_RESTRICTION_REGISTER_OP;
        allowed[count++].register_op = registration;
    }
    allowed[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    allowed[count++].sqe_flags = entry_flags;
    return io_uring_register_restrictions(&ring, allowed, count);
}

}  // namespace postern::io

#pragma once

#include <liburing.h>

namespace postern::io {

/// Of a ring that is not enabled yet (IORING_SETUP_R_DISABLED): what it may be used for from then
/// on, for ever, is what Ring (ring.h) does, and nothing that opens a file, starts something or
/// changes the ring. Whoever came to write into its queue gets no more than that. 0, or a negative
/// errno.
int restrict_ring(io_uring& ring);

}  // namespace postern::io

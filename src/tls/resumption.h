#pragma once

struct ssl_ctx_st;

namespace postern::tls {

/// Has the sessions of a client's context keep what servers give them for the next time. The
/// context makes no sessions but those of session.h.
void keep_resumptions(ssl_ctx_st* context);

}  // namespace postern::tls

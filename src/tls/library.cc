#include <openssl/crypto.h>

#include "postern/tls/context.h"

namespace postern::tls {

Library::Library() : library_(OSSL_LIB_CTX_new()) {
    POSTERN_ASSERT(library_ != nullptr, "OpenSSL has no memory for a library context");
}

Library::~Library() {
    OSSL_LIB_CTX_free(library_);
}

}  // namespace postern::tls

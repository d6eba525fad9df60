#include "errors.h"

#include <openssl/err.h>

namespace postern::tls {

std::string take_error() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "an error that OpenSSL does not name" : reason;
}

}  // namespace postern::tls

#include <openssl/crypto.h>

#include <cstring>

#include "postern/tls/context.h"

namespace postern::tls {
namespace {

TicketKeys::Key key_of(TicketKeys::Secret secret) {
    TicketKeys::Key key;
    static_assert(
        sizeof key.name + sizeof key.cipher + sizeof key.mac == TicketKeys::secret_octets);
    const std::byte* at = secret.data();
    std::memcpy(key.name.data(), at, key.name.size());
    at += key.name.size();
    std::memcpy(key.cipher.data(), at, key.cipher.size());
    at += key.cipher.size();
    std::memcpy(key.mac.data(), at, key.mac.size());
    return key;
}

}  // namespace

TicketKeys::TicketKeys(Secret secret) {
    keys_[0] = key_of(secret);
}

TicketKeys::~TicketKeys() {
    OPENSSL_cleanse(&keys_, sizeof keys_);
}

void TicketKeys::rotate(Secret secret) {
    const std::lock_guard guard(lock_);
    keys_[1] = keys_[0];
    keys_[0] = key_of(secret);
    has_previous_ = true;
}

TicketKeys::Key TicketKeys::current() const {
    const std::lock_guard guard(lock_);
    return keys_[0];
}

bool TicketKeys::find(std::span<const unsigned char, 16> name, Key& key, bool& is_current) const {
    const std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < (has_previous_ ? 2U : 1U); ++i) {
        if (std::memcmp(keys_[i].name.data(), name.data(), name.size()) == 0) {
            key = keys_[i];
            is_current = i == 0;
            return true;
        }
    }
    return false;
}

}  // namespace postern::tls

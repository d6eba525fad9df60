#pragma once

#include <string_view>

#include "postern/mail/domain.h"

namespace postern::shard {

/// An address as it is kept, split at its last "@", and its domain as routing compares it. Views
/// into the address.
struct AddressKey {
    explicit AddressKey(std::string_view its_address) : address(its_address) {
        const std::size_t at = address.rfind('@');
        local_part = address.substr(0, at);
        if (at != std::string_view::npos) {
            domain = address.substr(at + 1);
            has_key = mail::make_domain_key(domain, key);
        }
    }

    /// Empty: there is no domain, or an impossible one.
    std::string_view domain_key() const { return has_key ? key.view() : std::string_view(); }

    std::string_view address;
    std::string_view local_part;
    std::string_view domain;
    mail::DomainKey key;
    bool has_key = false;
};

}  // namespace postern::shard

#pragma once

#include <algorithm>
#include <span>
#include <string_view>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"

namespace postern::smtp {

/// An address whose domain alone is not ASCII, with that as A-labels, written into `into`; empty:
/// it is any other. Needed where SMTPUTF8 may not be: towards hosts that lack it, and in Received:,
/// so that our line is no reason to need it. `domain_key`: by mail::make_domain_key; empty: there
/// is none. REQUIRES: room for local part, "@" and key.
inline std::string_view in_a_labels(
    std::string_view address,
    std::string_view local_part,
    std::string_view domain_key,
    std::span<char> into) {
    if (is_ascii(address) || !is_ascii(local_part) || domain_key.empty()) {
        return {};
    }
    POSTERN_ASSERT(local_part.size() + 1 + domain_key.size() <= into.size(), "an address has room");
    char* at = std::copy(local_part.begin(), local_part.end(), into.data());
    *at++ = '@';
    at = std::copy(domain_key.begin(), domain_key.end(), at);
    return {into.data(), static_cast<std::size_t>(at - into.data())};
}

}  // namespace postern::smtp

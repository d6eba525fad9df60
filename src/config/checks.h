#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "postern/config/config.h"

/// The grammar of texts inside values. Pure.
namespace postern::config {

/// What we offer at EHLO (smtp's extension_rows, which this room does not know).
inline constexpr std::string_view own_extensions =
    "PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, LIMITS, STARTTLS, AUTH, "
    "XCLIENT, XFORWARD, DSN";

// Checks of the key table: make the text canonical, say if it is allowed.
bool check_host_name(std::string& text);  // letters, digits and hyphens in labels (RFC 1123, 2.1)
bool check_helo(std::string& text);       // a host name or an address literal (RFC 5321, 4.1.3)
bool check_optional_name(std::string& text);     // a host name or nothing
bool check_optional_mailbox(std::string& text);  // local@domain or nothing
bool check_optional_pool(std::string& text);
bool check_delimiter(std::string& text);
bool check_ehlo_keyword(std::string& text);   // becomes upper case
bool check_own_extension(std::string& text);  // the same, of own_extensions
bool check_address(std::string& text);
bool check_word(std::string& text);       // printable ASCII without blanks, or nothing
bool check_auth_user(std::string& text);  // the same, of a length that SASL PLAIN takes

/// "host", "host:port", "192.0.2.1", "[192.0.2.1]:25", "[2001:db8::1]:25", "[IPv6:2001:db8::1]".
/// `port`: when none stands there; nullopt: one must.
std::optional<Endpoint> parse_endpoint(std::string_view text, std::optional<std::uint16_t> port);

/// A pool's name: letters, digits, '-' and '_', and not the name of a target.
bool is_pool_name(std::string_view name);

}  // namespace postern::config

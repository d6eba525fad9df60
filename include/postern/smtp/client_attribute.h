#pragma once

#include <array>
#include <cstdint>
#include <string_view>

/// What XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README) say of a client: one
/// attribute after the other, NAME=value in xtext (RFC 3461, section 4). Pure.
namespace postern::smtp {

enum class ClientAttribute : std::uint8_t {
    name,
    address,
    port,
    protocol,
    helo,
    login,
    destination_address,
    destination_port,
    source,
    ident,
};
constexpr std::size_t client_attributes = 10;

/// Which of the two commands: it says which attributes there may be, and of what form.
enum class Introduction : std::uint8_t { client, forward };

/// XCLIENT_README, note 1.
constexpr std::size_t client_attribute_max = 255;

/// One attribute, decoded. Plain printable ASCII.
struct StatedAttribute {
    ClientAttribute attribute = ClientAttribute::name;
    std::uint16_t size = 0;  // 0: [UNAVAILABLE] or [TEMPUNAVAIL]
    std::array<char, client_attribute_max> octets;

    std::string_view value() const { return {octets.data(), size}; }
};

/// Takes the next attribute from the front of `text`, blanks in front of it included. An address
/// comes without "IPV6:". False: it is malformed, unknown, or not one of that command.
bool take_attribute(std::string_view& text, Introduction kind, StatedAttribute& stated);

}  // namespace postern::smtp

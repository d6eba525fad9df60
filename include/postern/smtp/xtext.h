#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

/// How a parameter's value says octets that it may not hold: xtext (RFC 3461, section 4), and the
/// forms of an internationalized address (RFC 6533, section 3). Pure.
namespace postern::smtp {

/// RFC 3461, section 4.4.
constexpr std::size_t envelope_id_octets_max = 100;
/// RFC 3461, section 4: by so much may a RCPT be longer.
constexpr std::size_t original_recipient_octets_max = 500;

/// What one character of such a text stands for: an octet, or a character of UTF-8.
struct XtextCharacter {
    std::array<char, 4> octets{};
    std::uint8_t size = 0;  // 0: malformed

    std::string_view view() const { return {octets.data(), size}; }
};

/// Takes the next character of an xtext from its front. REQUIRES: !text.empty().
XtextCharacter take_xtext(std::string_view& text);

/// `text` as xtext, written into `into`; nullopt: it does not fit.
std::optional<std::string_view> write_xtext(std::string_view text, std::span<char> into);

/// An ORCPT= (RFC 3461, section 4.2), taken apart.
class OriginalRecipient {
   public:
    explicit OriginalRecipient(std::string_view value);

    /// As it came ("rfc822"); empty: there is none, or it is no atom.
    std::string_view type() const { return type_; }

    /// It is of the type "utf-8" (RFC 6533): its address may hold any character.
    bool is_utf8() const { return is_utf8_; }

    /// No more of the address is left.
    bool empty() const { return rest_.empty(); }

    /// Takes the next character of the address. REQUIRES: !empty().
    XtextCharacter take();

   private:
    std::string_view type_;
    std::string_view rest_;
    bool is_utf8_ = false;
};

/// `value`, an ORCPT= as it came, for a command without SMTPUTF8: as utf-8-addr-xtext where it is
/// not ASCII (RFC 6533, section 3), then in `into`. nullopt: it does not fit.
std::optional<std::string_view> in_ascii(std::string_view value, std::span<char> into);

/// The ORCPT= that says `address`, written into `into`, in ASCII. nullopt: it does not fit.
std::optional<std::string_view> write_original_recipient(
    std::string_view address, std::span<char> into);

}  // namespace postern::smtp

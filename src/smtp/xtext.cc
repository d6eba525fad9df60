#include "postern/smtp/xtext.h"

#include <algorithm>

#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

constexpr std::string_view digits = "0123456789ABCDEF";
constexpr std::string_view rfc822_type = "rfc822;";
constexpr std::string_view utf8_type = "utf-8;";

/// The digits of xtext are upper case. `digits.size()`: it is none.
std::size_t hex_value(char c) {
    return std::min(digits.find(c), digits.size());
}

XtextCharacter of_octet(char c) {
    XtextCharacter character;
    character.octets[0] = c;
    character.size = 1;
    return character;
}

XtextCharacter of_code_point(std::uint32_t point) {
    XtextCharacter character;
    const auto put = [&](std::uint32_t octet) {
        character.octets[character.size++] = static_cast<char>(octet);
    };
    const auto tail = [&](unsigned shift) { put(0x80U | (point >> shift & 0x3fU)); };
    if (point < 0x80) {
        put(point);
    } else if (point < 0x800) {
        put(0xc0U | point >> 6);
        tail(0);
    } else if (point < 0x10000) {
        put(0xe0U | point >> 12);
        tail(6);
        tail(0);
    } else {
        put(0xf0U | point >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
    return character;
}

/// REQUIRES: `character` is one of well-formed UTF-8.
std::uint32_t code_point(std::string_view character) {
    const auto first = static_cast<unsigned char>(character[0]);
    std::uint32_t point = character.size() == 1 ? first : first & (0x7fU >> character.size());
    for (const char c : character.substr(1)) {
        point = point << 6 | (static_cast<unsigned char>(c) & 0x3fU);
    }
    return point;
}

/// May it stand for itself in an address of the type utf-8 (QCHAR)?
bool is_plain_utf8_xtext(char c) {
    return is_visible(c) && c != '+' && c != '=' && c != '\\';
}

/// EmbeddedUnicodeChar, "\x{" and "}" included: of what need not be said so, nothing may be.
XtextCharacter take_embedded(std::string_view& text) {
    constexpr std::string_view begin = "\\x{";
    constexpr std::size_t digits_min = 2;
    constexpr std::size_t digits_max = 6;
    const std::size_t end = text.substr(0, begin.size() + digits_max + 1).find('}');
    if (!text.starts_with(begin) || end == std::string_view::npos ||
        end < begin.size() + digits_min) {
        return {};
    }
    const std::string_view hex = text.substr(begin.size(), end - begin.size());
    std::uint32_t point = 0;
    for (const char c : hex) {
        const std::size_t value = hex_value(c);
        if (value == digits.size()) {
            return {};
        }
        point = point << 4 | static_cast<std::uint32_t>(value);
    }
    const XtextCharacter character = point <= 0x10ffff ? of_code_point(point) : XtextCharacter();
    const bool good = point < 0x80 ? !is_plain_utf8_xtext(character.octets[0])
                                   : utf8_non_ascii(character.view()) != 0;  // no surrogate
    if (!good || (hex.size() > digits_min && hex.front() == '0')) {
        return {};
    }
    text.remove_prefix(end + 1);
    return character;
}

/// utf-8-addr-xtext and utf-8-addr-unitext: the second has other characters than ASCII as they are.
XtextCharacter take_utf8_xtext(std::string_view& text) {
    if (text.front() == '\\') {
        return take_embedded(text);
    }
    XtextCharacter character;
    if (is_plain_utf8_xtext(text.front())) {
        character = of_octet(text.front());
    } else {
        character.size = static_cast<std::uint8_t>(utf8_non_ascii(text));
        std::copy_n(text.begin(), character.size, character.octets.begin());
    }
    text.remove_prefix(character.size);
    return character;
}

/// Fills a span from its front, as far as that goes.
class Writer {
   public:
    explicit Writer(std::span<char> into) : into_(into) {}

    void text(std::string_view part) {
        fits_ = fits_ && part.size() <= into_.size() - size_;
        if (fits_) {
            std::copy(part.begin(), part.end(), into_.begin() + static_cast<std::ptrdiff_t>(size_));
            size_ += part.size();
        }
    }

    void octet(char c) { text({&c, 1}); }

    /// At least two digits.
    void hex(std::uint32_t value) {
        for (unsigned shift = 28; shift > 0; shift -= 4) {
            if (shift == 4 || value >> shift != 0) {
                octet(digits[value >> shift & 15]);
            }
        }
        octet(digits[value & 15]);
    }

    void utf8_xtext(std::string_view character) {
        if (is_plain_utf8_xtext(character[0])) {
            text(character);
        } else {
            text("\\x{");
            hex(code_point(character));
            text("}");
        }
    }

    std::optional<std::string_view> written() const {
        return fits_ ? std::optional(std::string_view(into_.data(), size_)) : std::nullopt;
    }

   private:
    std::span<char> into_;
    std::size_t size_ = 0;
    bool fits_ = true;
};

}  // namespace

XtextCharacter take_xtext(std::string_view& text) {
    const char c = text.front();
    if (!is_visible(c) || c == '=') {
        return {};
    }
    if (c != '+') {
        text.remove_prefix(1);
        return of_octet(c);
    }
    const std::size_t high = text.size() > 2 ? hex_value(text[1]) : digits.size();
    const std::size_t low = text.size() > 2 ? hex_value(text[2]) : digits.size();
    if (high == digits.size() || low == digits.size()) {
        return {};
    }
    text.remove_prefix(3);
    return of_octet(static_cast<char>(high * 16 + low));
}

std::optional<std::string_view> write_xtext(std::string_view text, std::span<char> into) {
    Writer out(into);
    for (const char c : text) {
        if (is_visible(c) && c != '+' && c != '=') {
            out.octet(c);
        } else {
            out.octet('+');
            out.hex(static_cast<unsigned char>(c));
        }
    }
    return out.written();
}

OriginalRecipient::OriginalRecipient(std::string_view value) {
    const std::size_t size = value.find(';');
    if (size == std::string_view::npos ||
        !std::all_of(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(size), is_atext)) {
        return;
    }
    type_ = value.substr(0, size);
    rest_ = value.substr(size + 1);
    is_utf8_ = equal_ignoring_case(value.substr(0, size + 1), utf8_type);
}

XtextCharacter OriginalRecipient::take() {
    return is_utf8_ ? take_utf8_xtext(rest_) : take_xtext(rest_);
}

std::optional<std::string_view> in_ascii(std::string_view value, std::span<char> into) {
    if (is_ascii(value)) {
        return value;
    }
    Writer out(into);
    out.text(utf8_type);
    for (OriginalRecipient original(value); !original.empty();) {
        const XtextCharacter character = original.take();
        if (character.size == 0) {
            return std::nullopt;
        }
        out.utf8_xtext(character.view());
    }
    return out.written();
}

std::optional<std::string_view> write_original_recipient(
    std::string_view address, std::span<char> into) {
    Writer out(into);
    if (is_ascii(address)) {
        out.text(rfc822_type);
        const std::size_t size = rfc822_type.size();
        const auto text = write_xtext(address, into.subspan(std::min(size, into.size())));
        return text ? std::optional(std::string_view(into.data(), size + text->size()))
                    : std::nullopt;
    }
    out.text(utf8_type);
    while (!address.empty()) {
        const std::size_t size = std::max<std::size_t>(utf8_non_ascii(address), 1);
        if (size == 1 && !is_ascii(address.front())) {
            return std::nullopt;
        }
        out.utf8_xtext(address.substr(0, size));
        address.remove_prefix(size);
    }
    return out.written();
}

}  // namespace postern::smtp

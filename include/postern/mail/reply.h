#pragma once

#include <cstdint>
#include <string_view>

namespace postern::mail {

/// RFC 3463: class.subject.detail. {0,0,0}: none.
struct EnhancedCode {
    std::uint16_t cls = 0;
    std::uint16_t subject = 0;
    std::uint16_t detail = 0;

    constexpr bool present() const { return cls != 0; }

    bool operator==(const EnhancedCode&) const = default;
};

/// An SMTP answer as a value. A view: whoever hands one on says how long its text lives (as a rule:
/// for the call).
struct Reply {
    std::uint16_t code = 0;
    EnhancedCode enhanced;
    std::string_view text;  // lines separated by '\n', no codes, printable ASCII

    int reply_class() const { return code / 100; }

    bool positive() const { return code / 100 == 2; }

    bool temporary() const { return code / 100 == 4; }

    bool permanent() const { return code / 100 == 5; }
};

}  // namespace postern::mail

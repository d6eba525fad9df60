#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "postern/mail/reply.h"

namespace postern::shard {

/// "550 5.7.1 text", as text. Lives as long as the object.
class ReplyText {
   public:
    explicit ReplyText(const mail::Reply& reply) {
        number(reply.code);
        if (reply.enhanced.present()) {
            put(" ");
            number(reply.enhanced.cls);
            put(".");
            number(reply.enhanced.subject);
            put(".");
            number(reply.enhanced.detail);
        }
        if (!reply.text.empty()) {
            put(" ");
            put(reply.text);
        }
    }

    std::string_view view() const { return {octets_.data(), size_}; }

   private:
    void put(std::string_view text) {
        const std::size_t count = std::min(text.size(), octets_.size() - size_);
        std::memcpy(octets_.data() + size_, text.data(), count);
        size_ += count;
    }

    void number(unsigned value) {
        char digits[8];
        const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
        put({digits, static_cast<std::size_t>(end - digits)});
    }

    std::array<char, 1024> octets_;
    std::size_t size_ = 0;
};

/// The other way: what such a text says, of which the reply's text is a view. Code 0: it is none.
inline mail::Reply reply_of(std::string_view text) {
    mail::Reply reply;
    const char* at = text.data();
    const char* const end = at + text.size();
    const auto number = [&](std::uint16_t& value, char behind) {
        const auto [next, error] = std::from_chars(at, end, value);
        if (error != std::errc() || (next != end && *next != behind)) {
            return false;
        }
        at = next == end ? next : next + 1;
        return true;
    };
    if (!number(reply.code, ' ')) {
        return {};
    }
    const char* const behind_code = at;
    mail::EnhancedCode& enhanced = reply.enhanced;
    if (!number(enhanced.cls, '.') || !number(enhanced.subject, '.') ||
        !number(enhanced.detail, ' ')) {
        enhanced = {};
        at = behind_code;
    }
    reply.text = {at, static_cast<std::size_t>(end - at)};
    return reply;
}

}  // namespace postern::shard

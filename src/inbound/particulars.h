#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "postern/mail/submission.h"
#include "postern/smtp/client_attribute.h"

namespace postern::inbound {

/// What few connections have: what XCLIENT and XFORWARD said of their client. Lives in the
/// corridor's pool, from the first of these commands to the connection's end.
class Particulars {
   public:
    /// Takes every attribute of a command; what was said before and is not said again stays.
    /// `forwarded`: so does what the last XFORWARD said. REQUIRES: they are good.
    void take(smtp::Introduction kind, std::string_view attributes, bool forwarded) {
        const bool forward = kind == smtp::Introduction::forward;
        if (forward && !forwarded) {
            for (Text& text : forwarded_) {
                text.size = 0;
            }
        }
        smtp::StatedAttribute stated;
        while (!attributes.empty() && smtp::take_attribute(attributes, kind, stated)) {
            if (forward) {
                forwarded_text(stated.attribute).set(stated.value());
            } else if (stated.attribute == smtp::ClientAttribute::name) {
                name_.set(stated.value());
            }
        }
    }

    std::string_view name() const { return name_.view(); }

    /// Valid until the next call.
    const mail::Forwarded& forwarded() {
        using Attribute = smtp::ClientAttribute;
        view_ = {
            .name = forwarded_text(Attribute::name).view(),
            .address = forwarded_text(Attribute::address).view(),
            .port = forwarded_text(Attribute::port).view(),
            .protocol = forwarded_text(Attribute::protocol).view(),
            .helo = forwarded_text(Attribute::helo).view(),
            .source = forwarded_text(Attribute::source).view(),
            .ident = forwarded_text(Attribute::ident).view()};
        return view_;
    }

   private:
    struct Text {
        std::uint8_t size = 0;
        std::array<char, smtp::client_attribute_max> octets;

        void set(std::string_view value) {
            size = static_cast<std::uint8_t>(value.size());
            std::copy(value.begin(), value.end(), octets.begin());
        }

        std::string_view view() const { return {octets.data(), size}; }
    };

    Text& forwarded_text(smtp::ClientAttribute attribute) {
        return forwarded_[static_cast<std::size_t>(attribute)];
    }

    Text name_;
    std::array<Text, smtp::client_attributes> forwarded_;
    mail::Forwarded view_;
};

}  // namespace postern::inbound

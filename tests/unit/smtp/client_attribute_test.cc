#include "postern/smtp/client_attribute.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace postern::smtp {
namespace {

std::optional<std::string> value_of(std::string_view text, Introduction kind) {
    StatedAttribute stated;
    return take_attribute(text, kind, stated) && text.empty()
               ? std::optional(std::string(stated.value()))
               : std::nullopt;
}

TEST(client_attribute, values_are_xtext) {
    constexpr auto forward = Introduction::forward;
    EXPECT_EQ(value_of("NAME=a.example", forward), "a.example");
    EXPECT_EQ(value_of("helo=a+2Bb+3d", forward), "a+b=");
    EXPECT_EQ(value_of("IDENT=a+20b+00c+C3+A4", forward), "a?b?c??");
    EXPECT_EQ(value_of("IDENT=a=b", forward), "a=b");
    EXPECT_EQ(value_of("NAME=[UNAVAILABLE]", forward), "");
    EXPECT_EQ(value_of("NAME=[tempunavail]", forward), "");
    EXPECT_EQ(value_of("NAME=+5BUNAVAILABLE+5D", forward), "");
    for (const std::string_view text :
         {"NAME=a+",
          "NAME=a+2",
          "NAME=a+2x",
          "NAME=a+-1",
          "NAME=\xc3\xa4",
          "NAME=",
          "NAME",
          "=a",
          "",
          " ",
          "NOTHING=a"}) {
        EXPECT_EQ(value_of(text, forward), std::nullopt) << text;
    }
    EXPECT_EQ(value_of("HELO=" + std::string(255, 'a'), forward)->size(), 255U);
    EXPECT_EQ(value_of("HELO=" + std::string(256, 'a'), forward), std::nullopt);
    std::string longest = "HELO=";
    for (int i = 0; i < 255; ++i) {
        longest += "+61";
    }
    EXPECT_EQ(value_of(longest, forward), std::string(255, 'a'));
}

TEST(client_attribute, addresses) {
    constexpr auto client = Introduction::client;
    EXPECT_EQ(value_of("ADDR=192.0.2.1", client), "192.0.2.1");
    EXPECT_EQ(value_of("ADDR=IPV6:2001:db8::1", client), "2001:db8::1");
    EXPECT_EQ(value_of("DESTADDR=ipv6:::1", client), "::1");
    for (const std::string_view text :
         {"ADDR=2001:db8::1", "ADDR=IPV6:192.0.2.1", "ADDR=IPV6:", "ADDR=a.example"}) {
        EXPECT_EQ(value_of(text, client), std::nullopt) << text;
    }
}

TEST(client_attribute, one_after_the_other) {
    std::string_view text = "NAME=a  PORT=25 LOGIN=joe";
    StatedAttribute stated;
    ASSERT_TRUE(take_attribute(text, Introduction::client, stated));
    EXPECT_EQ(stated.attribute, ClientAttribute::name);
    ASSERT_TRUE(take_attribute(text, Introduction::client, stated));
    EXPECT_EQ(stated.attribute, ClientAttribute::port);
    EXPECT_EQ(stated.value(), "25");
    std::string_view again = text;
    ASSERT_TRUE(take_attribute(text, Introduction::client, stated));
    EXPECT_EQ(stated.value(), "joe");
    EXPECT_TRUE(text.empty());
    EXPECT_FALSE(take_attribute(again, Introduction::forward, stated));
}

}  // namespace
}  // namespace postern::smtp

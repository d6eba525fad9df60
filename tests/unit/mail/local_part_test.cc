#include "postern/mail/local_part.h"

#include <gtest/gtest.h>

#include <string>

namespace postern::mail {
namespace {

std::string key_of(std::string_view local_part) {
    LocalPartKey key;
    return make_local_part_key(local_part, key) ? std::string(key.view()) : "too long";
}

TEST(LocalPartKey, IsOneForQuotedAndUnquotedForms) {
    EXPECT_EQ(key_of("John.Doe"), "john.doe");
    EXPECT_EQ(key_of("\"John.Doe\""), "john.doe");
    EXPECT_EQ(key_of("\"john\\.doe\""), "john.doe");
    EXPECT_EQ(key_of("\"a \\\" b\\\\\""), "a \" b\\");
    EXPECT_EQ(key_of("\"\""), "");
    EXPECT_EQ(
        key_of("\xc3\x9c"
               "A"),
        "\xc3\x9c"
        "a");  // only ASCII case is ignored
}

TEST(LocalPartKey, HoldsSixtyFourOctetsOnceUnquoted) {
    std::string longest(64, 'x');
    EXPECT_EQ(key_of(longest), longest);
    EXPECT_EQ(key_of("\"" + longest + "\""), longest);
    EXPECT_EQ(key_of(longest + "x"), "too long");
    EXPECT_EQ(key_of(std::string(4000, 'x')), "too long");
}

TEST(LocalPartKey, OfALongerOneHoldsWhatADelimiterMayEnd) {
    const std::string longest(64, 'x');
    LocalPartKey key;
    EXPECT_FALSE(make_local_part_key("\"" + longest + "+Tag\"", key));
    EXPECT_EQ(key.view(), longest + "+");
    EXPECT_FALSE(make_local_part_key("A+" + std::string(4000, 'B'), key));
    EXPECT_EQ(key.view(), "a+" + std::string(63, 'b'));
}

TEST(RoutedLocalPart, IsFoundAfterUnquoting) {
    for (const char* routed :
         {"a%b",
          "a!b",
          "a:b",
          "\"a@b\"",
          "\"a\\@b\"",
          "\"a\\%b\"",
          "/var/mail",
          "|cmd",
          "\"|cmd x\"",
          "\"/etc\"",
          "\"\\/etc\"",
          "%",
          "\"@\""}) {
        EXPECT_TRUE(is_routed_local_part(routed)) << routed;
    }
    for (const char* plain :
         {"john", "a/b", "a|b", "\"a b\"", "\"a\\\"b\"", "#x", "a+b", "\"\"", "\\"}) {
        EXPECT_FALSE(is_routed_local_part(plain)) << plain;
    }
}

}  // namespace
}  // namespace postern::mail

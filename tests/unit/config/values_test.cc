#include <gtest/gtest.h>

#include "checks.h"

namespace postern::config {
namespace {

std::string show(const std::optional<Endpoint>& endpoint) {
    if (!endpoint) {
        return "none";
    }
    return endpoint->host + ' ' + std::to_string(endpoint->port) +
           (endpoint->is_address ? " address" : " name");
}

TEST(Endpoint, IsReadInEveryForm) {
    EXPECT_EQ(show(parse_endpoint("mx1.internal", 25)), "mx1.internal 25 name");
    EXPECT_EQ(show(parse_endpoint("mx1.internal:2525", 25)), "mx1.internal 2525 name");
    EXPECT_EQ(show(parse_endpoint("localhost", 25)), "localhost 25 name");
    EXPECT_EQ(show(parse_endpoint("192.0.2.1", 25)), "192.0.2.1 25 address");
    EXPECT_EQ(show(parse_endpoint("192.0.2.1:26", 25)), "192.0.2.1 26 address");
    EXPECT_EQ(show(parse_endpoint("[192.0.2.1]:26", 25)), "192.0.2.1 26 address");
    EXPECT_EQ(show(parse_endpoint("[2001:db8::1]", 25)), "2001:db8::1 25 address");
    EXPECT_EQ(show(parse_endpoint("[2001:DB8::1]:26", 25)), "2001:db8::1 26 address");
    EXPECT_EQ(show(parse_endpoint("[IPv6:2001:db8::1]:26", 25)), "2001:db8::1 26 address");
    EXPECT_EQ(show(parse_endpoint("[::]:25", std::nullopt)), ":: 25 address");
}

TEST(Endpoint, RefusesWhatIsNone) {
    for (const char* text :
         {"",
          ":25",
          "mx1.internal:",
          "mx1.internal:0",
          "mx1.internal:65536",
          "mx1.internal:25x",
          "2001:db8::1",
          "[2001:db8::1",
          "[]:25",
          "[mx1.internal]:25",
          "[IPv6:192.0.2.1]",
          "192.0.2.256",
          "192.0.2",
          "-a.example",
          "a..b",
          "a b",
          "mx:example.net",
          "[::1]x",
          "a_b",
          "a.example.",
          "*"}) {
        EXPECT_EQ(show(parse_endpoint(text, 25)), "none") << text;
    }
    EXPECT_EQ(show(parse_endpoint("192.0.2.1", std::nullopt)), "none");
}

TEST(HostName, HoldsTheLimitsOfTheDns) {
    const auto allowed = [](std::string name) { return check_host_name(name); };
    EXPECT_TRUE(allowed(std::string(63, 'a') + ".example"));
    EXPECT_FALSE(allowed(std::string(64, 'a') + ".example"));
    std::string long_name;
    for (int i = 0; i < 126; ++i) {
        long_name += "a.";
    }
    EXPECT_TRUE(allowed(long_name + "b"));    // 253
    EXPECT_FALSE(allowed(long_name + "bb"));  // 254
    EXPECT_FALSE(allowed("192.0.2.1"));
    EXPECT_TRUE(allowed("1and1.example"));
}

TEST(Checks, SayWhatIsAllowed) {
    const auto allowed = [](auto check, std::string text) { return check(text); };
    EXPECT_TRUE(allowed(check_helo, "[192.0.2.1]"));
    EXPECT_TRUE(allowed(check_helo, "[IPv6:2001:db8::1]"));
    EXPECT_FALSE(allowed(check_helo, "[x]"));
    EXPECT_TRUE(allowed(check_optional_mailbox, ""));
    EXPECT_TRUE(allowed(check_optional_mailbox, "postmaster@example.com"));
    for (const char* text :
         {"postmaster", "@example.com", "a@", "a b@example.com", "a@b c", "a\n@example.com"}) {
        EXPECT_FALSE(allowed(check_optional_mailbox, text)) << text;
    }
    EXPECT_TRUE(allowed(check_delimiter, ""));
    EXPECT_TRUE(allowed(check_delimiter, "-"));
    EXPECT_FALSE(allowed(check_delimiter, "@"));
    EXPECT_FALSE(allowed(check_delimiter, "+-"));
    std::string keyword = "chunking";
    EXPECT_TRUE(check_ehlo_keyword(keyword));
    EXPECT_EQ(keyword, "CHUNKING");
    EXPECT_FALSE(allowed(check_ehlo_keyword, "A B"));
    EXPECT_TRUE(is_pool_name("cluster-a_1"));
    for (const char* name : {"", "a.b", "reject", "defer", "a b", "a:b"}) {
        EXPECT_FALSE(is_pool_name(name)) << name;
    }
}

}  // namespace
}  // namespace postern::config

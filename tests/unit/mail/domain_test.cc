#include "postern/mail/domain.h"

#include <gtest/gtest.h>

#include <string>

namespace postern::mail {
namespace {

std::string key_of(std::string_view domain) {
    DomainKey key;
    DomainFault fault;
    if (!make_domain_key(domain, key, &fault)) {
        return std::string("fault at ") + std::to_string(fault.at) + ": " + fault.what;
    }
    return std::string(key.view());
}

bool impossible(std::string_view domain) {
    DomainKey key;
    return !make_domain_key(domain, key);
}

TEST(DomainKey, FoldsCaseAndOneTrailingDot) {
    EXPECT_EQ(key_of("example.com"), "example.com");
    EXPECT_EQ(key_of("EXAMPLE.Com."), "example.com");
    EXPECT_EQ(key_of("localhost"), "localhost");
    EXPECT_EQ(key_of("a_b.x-y.3com.net"), "a_b.x-y.3com.net");
    EXPECT_EQ(key_of("example.com.."), "fault at 12: a label is empty");
}

TEST(DomainKey, CountsLabels) {
    DomainKey key;
    ASSERT_TRUE(make_domain_key("a.b.example.com.", key));
    EXPECT_EQ(key.label_count, 4);
    EXPECT_FALSE(key.is_literal());
    ASSERT_TRUE(make_domain_key("[192.0.2.7]", key));
    EXPECT_TRUE(key.is_literal());
}

TEST(DomainKey, TakesEitherFormOfAnInternationalisedName) {
    EXPECT_EQ(key_of("bücher.example"), "xn--bcher-kva.example");
    EXPECT_EQ(key_of("BÜCHER.Example."), "xn--bcher-kva.example");
    EXPECT_EQ(
        key_of("bu\xcc\x88"
               "cher.example"),
        "xn--bcher-kva.example");  // u and a combining diaeresis
    EXPECT_EQ(key_of("XN--BCHER-KVA.example"), "xn--bcher-kva.example");
    EXPECT_EQ(key_of("straße.example"), "xn--strae-oqa.example");
    EXPECT_TRUE(impossible("\xff\xfe.example"));
    EXPECT_TRUE(impossible("b\xc3.example"));
    EXPECT_TRUE(impossible(std::string("b\xc3\xbc\0.example", 12)));
}

TEST(DomainKey, HoldsTheLimitsOfTheDns) {
    std::string label63(63, 'a');
    std::string name253 = label63 + "." + label63 + "." + label63 + "." + std::string(61, 'b');
    ASSERT_EQ(name253.size(), 253u);
    EXPECT_EQ(key_of(name253), name253);
    EXPECT_EQ(key_of(name253 + "."), name253);
    EXPECT_EQ(key_of(name253 + "b"), "fault at 253: the name is longer than 253 octets");
    EXPECT_EQ(key_of("x." + label63 + "a.com"), "fault at 2: a label is longer than 63 octets");
    EXPECT_EQ(key_of("x." + label63 + "a"), "fault at 2: a label is longer than 63 octets");
    std::string long_idn;
    for (int i = 0; i < 60; ++i) {
        long_idn += "ü.";
    }
    EXPECT_TRUE(impossible(long_idn + long_idn + "example"));
    EXPECT_TRUE(impossible(std::string(5000, '\xc3')));
}

TEST(DomainKey, RefusesWhatNoDomainCanBe) {
    EXPECT_EQ(key_of(""), "fault at 0: the domain is empty");
    EXPECT_EQ(key_of("."), "fault at 0: the domain is empty");
    EXPECT_EQ(key_of(".example.com"), "fault at 0: a label is empty");
    EXPECT_EQ(key_of("a..b"), "fault at 2: a label is empty");
    EXPECT_EQ(key_of("-a.com"), "fault at 0: a label begins with a hyphen");
    EXPECT_EQ(key_of("a-.com"), "fault at 1: a label ends in a hyphen");
    EXPECT_EQ(key_of("a.com-"), "fault at 5: a label ends in a hyphen");
    EXPECT_EQ(key_of("a b.com"), "fault at 1: a domain has letters, digits, hyphens and dots only");
    EXPECT_EQ(
        key_of("192.0.2.7"),
        "fault at 8: the last label is a number; an address stands in brackets");
    for (const char* domain : {"a@b.com", "a%b.com", "a/b", "*.com", "a\"b", "a\n.com", "(c)d"}) {
        EXPECT_TRUE(impossible(domain)) << domain;
    }
    EXPECT_TRUE(impossible(std::string_view("a\0b.com", 7)));
}

TEST(DomainKey, GivesOneFormToEachAddress) {
    EXPECT_EQ(key_of("[192.0.2.7]"), "[192.0.2.7]");
    EXPECT_EQ(key_of("[192.000.002.007]"), "[192.0.2.7]");
    EXPECT_EQ(key_of("[IPv6:2001:DB8::7]"), "[ipv6:2001:db8::7]");
    EXPECT_EQ(key_of("[ipv6:2001:db8:0:0:0:0:0:7]"), "[ipv6:2001:db8::7]");
    EXPECT_EQ(key_of("[IPv6:0:0:0:0:0:0:0:1]"), "[ipv6:::1]");
    for (const char* literal :
         {"[]",
          "[",
          "[192.0.2.7",
          "[192.0.2]",
          "[192.0.2.256]",
          "[192.0.2.0007]",
          "[192.0.2.7.8]",
          "[192.0.2.7.]",
          "[.192.0.2]",
          "[2001:db8::7]",
          "[IPv6:]",
          "[IPv6:2001:db8::7::1]",
          "[IPv6:12345::]",
          "[IPv6:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21:22:23:24:25]",
          "[tag:content]",
          "[example.com]",
          "[192.0.2.7]."}) {
        EXPECT_TRUE(impossible(literal)) << literal;
    }
}

}  // namespace
}  // namespace postern::mail

#include "postern/io/address.h"

#include <gtest/gtest.h>

namespace postern::io {
namespace {

TEST(Address, ReadsAndWritesTheSameText) {
    for (const char* text :
         {"192.0.2.1:25",
          "0.0.0.0:0",
          "255.255.255.255:65535",
          "[2001:db8::1]:25",
          "[::]:2525",
          "[::1]:1"}) {
        const auto address = Address::parse(text);
        ASSERT_TRUE(address) << text;
        EXPECT_EQ(address->text(), text);
    }
}

TEST(Address, RefusesWhatIsNoAddressWithAPort) {
    for (const char* text :
         {"",
          ":",
          ":25",
          "192.0.2.1",
          "192.0.2.1:",
          "192.0.2.1:65536",
          "192.0.2.1:-1",
          "192.0.2.1:+1",
          "192.0.2.1:2 5",
          "192.0.2.1: 25",
          "192.0.2.256:25",
          "192.0.2:25",
          "[192.0.2.1]:25",
          "2001:db8::1:25",
          "::1",
          "[::1]",
          "[::1:25",
          "::1]:25",
          "[]:25",
          "[::1]25",
          "[fe80::1%lo]:25",
          "mail.example.com:25",
          "1.2.3.4:25 "}) {
        EXPECT_FALSE(Address::parse(text)) << text;
    }
    EXPECT_FALSE(Address::parse(std::string_view("127.0.0.1\0:25", 13)));
    EXPECT_FALSE(Address::parse(std::string(1000, '1') + ":25"));
}

TEST(Address, TakesAHostAndAPort) {
    EXPECT_EQ(Address::parse("192.0.2.1", 25)->text(), "192.0.2.1:25");
    EXPECT_EQ(Address::parse("2001:db8::1", 25)->text(), "[2001:db8::1]:25");
    EXPECT_EQ(Address::parse("[2001:DB8:0:0::1]", 25)->text(), "[2001:db8::1]:25");
    EXPECT_EQ(Address::parse("[2001:db8::1]", 25)->host_text(), "2001:db8::1");
    EXPECT_FALSE(Address::parse("192.0.2.1:25", 25));
    EXPECT_FALSE(Address::parse("", 25));
}

TEST(Address, KnowsItsParts) {
    const Address v4 = *Address::parse("192.0.2.1:25");
    EXPECT_TRUE(v4.is_v4());
    EXPECT_EQ(v4.port(), 25);
    EXPECT_EQ(v4.host_octets(), std::string_view("\xC0\x00\x02\x01", 4));
    EXPECT_EQ(v4.raw()->sa_family, AF_INET);
    EXPECT_EQ(v4.raw_size(), sizeof(sockaddr_in));

    const Address v6 = *Address::parse("[2001:db8::1]:25");
    EXPECT_FALSE(v6.is_v4());
    EXPECT_EQ(v6.port(), 25);
    EXPECT_EQ(v6.host_octets().size(), 16u);
    EXPECT_EQ(v6.raw_size(), sizeof(sockaddr_in6));
    EXPECT_EQ(Address::from(v6.raw()), v6);
}

TEST(Address, AMappedAddressIsTheIpv4One) {
    const Address mapped = *Address::parse("[::ffff:192.0.2.1]:25");
    EXPECT_TRUE(mapped.is_v4());
    EXPECT_EQ(mapped.text(), "192.0.2.1:25");
    EXPECT_EQ(mapped, *Address::parse("192.0.2.1:25"));
}

TEST(Address, IsEqualByHostAndPort) {
    const Address address = *Address::parse("192.0.2.1:25");
    EXPECT_NE(address, *Address::parse("192.0.2.1:26"));
    EXPECT_NE(address, *Address::parse("192.0.2.2:25"));
    EXPECT_NE(address, *Address::parse("[::1]:25"));
    EXPECT_NE(address, Address());
    EXPECT_EQ(Address(), Address());
}

}  // namespace
}  // namespace postern::io

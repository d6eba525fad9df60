#include "postern/base/network.h"

#include <gtest/gtest.h>

#include <random>

namespace postern::base {
namespace {

TEST(IpAddress, IsReadAndWritten) {
    for (const char* text :
         {"192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1"}) {
        const auto address = IpAddress::parse(text);
        ASSERT_TRUE(address) << text;
        EXPECT_EQ(address->text(), text);
        const auto* octets = reinterpret_cast<const char*>(address->octets.data());
        EXPECT_EQ(IpAddress::from({octets, address->size}), *address);
    }
    EXPECT_EQ(IpAddress::parse("::ffff:192.0.2.1"), IpAddress::parse("192.0.2.1"));
    EXPECT_EQ(IpAddress::parse("2001:DB8:0::1")->text(), "2001:db8::1");
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
    using namespace std::string_view_literals;
    for (const std::string_view text :
         {""sv,
          "1.2.3"sv,
          "1.2.3.4.5"sv,
          "1.2.3.256"sv,
          "01.2.3.4"sv,
          "1.2.3.4 "sv,
          " 1.2.3.4"sv,
          "1.2.3.4\0"sv,
          "::1::"sv,
          "[::1]"sv,
          "fe80::1%eth0"sv,
          "1.2.3.4:25"sv,
          "example.com"sv,
          "1111:2222:3333:4444:5555:6666:7777:8888:9999"sv}) {
        EXPECT_FALSE(IpAddress::parse(text)) << text;
    }
}

TEST(Network, IsRead) {
    const auto network = Network::parse("192.0.2.0/24");
    ASSERT_TRUE(network);
    EXPECT_EQ(network->prefix, 24);
    EXPECT_EQ(network->address.text(), "192.0.2.0");
    EXPECT_EQ(Network::parse("192.0.2.7")->prefix, 32);
    EXPECT_EQ(Network::parse("2001:db8::7")->prefix, 128);
    EXPECT_EQ(*Network::parse("::ffff:192.0.2.0/120"), *network);
    EXPECT_EQ(Network::parse("0.0.0.0/0")->prefix, 0);
}

TEST(Network, SaysWhatIsWrong) {
    EXPECT_EQ(Network::parse("x/24").error().text, "'x' is no IPv4 or IPv6 address");
    EXPECT_EQ(
        Network::parse("192.0.2.0/33").error().text, "'/33' is no prefix length from 0 to 32");
    EXPECT_EQ(Network::parse("192.0.2.0/").error().text, "'/' is no prefix length from 0 to 32");
    EXPECT_EQ(
        Network::parse("192.0.2.0/+8").error().text, "'/+8' is no prefix length from 0 to 32");
    EXPECT_EQ(
        Network::parse("::ffff:192.0.2.0/24").error().text,
        "'/24' is no prefix length from 96 to 128");
    EXPECT_EQ(
        Network::parse("192.0.2.1/24").error().text,
        "'192.0.2.1/24' has bits set behind its prefix; the network is 192.0.2.0/24");
    EXPECT_EQ(
        Network::parse("2001:db8::1/32").error().text,
        "'2001:db8::1/32' has bits set behind its prefix; the network is 2001:db8::/32");
}

/// The obvious model: compare bit by bit, network by network.
bool model_contains(const std::vector<Network>& networks, const IpAddress& address) {
    for (const Network& network : networks) {
        bool same = network.address.size == address.size;
        for (unsigned bit = 0; same && bit < network.prefix; ++bit) {
            const unsigned mask = 0x80U >> (bit % 8);
            same = (network.address.octets[bit / 8] & mask) == (address.octets[bit / 8] & mask);
        }
        if (same) {
            return true;
        }
    }
    return false;
}

class Random {
   public:
    explicit Random(unsigned seed) : engine_(seed) {}

    unsigned below(unsigned end) { return static_cast<unsigned>(engine_() % end); }

    /// Few distinct octets, so that networks overlap and addresses hit them.
    IpAddress address() {
        constexpr std::uint8_t octets[] = {0, 1, 127, 128, 254, 255};
        IpAddress address;
        address.size = below(2) == 0 ? 4 : 16;
        for (unsigned i = 0; i < address.size; ++i) {
            address.octets[i] = octets[below(6)];
        }
        return address;
    }

    Network network() {
        Network network{address(), 0};
        network.prefix = static_cast<std::uint8_t>(below(network.address.size * 8U + 1));
        for (unsigned bit = network.prefix; bit < network.address.size * 8U; ++bit) {
            network.address.octets[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
        }
        return network;
    }

   private:
    std::mt19937 engine_;
};

TEST(Networks, ContainWhatTheModelContains) {
    for (unsigned seed = 0; seed < 300; ++seed) {
        SCOPED_TRACE(seed);
        Random random(seed);
        std::vector<Network> list;
        for (unsigned count = random.below(30); count > 0; --count) {
            // Wide networks would cover everything: mostly narrow ones.
            Network network = random.network();
            if (network.prefix >= 8 || random.below(20) == 0) {
                list.push_back(network);
            }
        }
        const Networks networks(list);
        EXPECT_EQ(networks.empty(), list.empty());
        for (int i = 0; i < 200; ++i) {
            IpAddress address = random.address();
            if (!list.empty() && random.below(2) == 0) {
                // The edges of a network, and what lies right beside them.
                const Network& near = list[random.below(static_cast<unsigned>(list.size()))];
                address = near.address;
                for (unsigned bit = near.prefix; bit < address.size * 8U && random.below(40) > 0;
                     ++bit) {
                    address.octets[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
                }
                const unsigned last = address.size - 1U;
                address.octets[last] =
                    static_cast<std::uint8_t>(address.octets[last] + random.below(3) - 1);
            }
            EXPECT_EQ(networks.contains(address), model_contains(list, address)) << address.text();
        }
    }
}

TEST(Networks, TouchingAndOverlappingOnesAreOne) {
    const Networks halves(
        {*Network::parse("10.0.0.0/9"),
         *Network::parse("10.128.0.0/9"),
         *Network::parse("10.1.0.0/16")});
    EXPECT_EQ(halves, Networks({*Network::parse("10.0.0.0/8")}));
    const Networks all({*Network::parse("::/0"), *Network::parse("8000::/1")});
    EXPECT_TRUE(all.contains(*IpAddress::parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
    EXPECT_FALSE(all.contains(*IpAddress::parse("192.0.2.1")));
}

TEST(Networks, ContainAndMeetNetworks) {
    const Networks networks(
        {*Network::parse("10.0.0.0/9"),
         *Network::parse("10.128.0.0/9"),
         *Network::parse("2001:db8::/32")});
    EXPECT_TRUE(networks.contains(*Network::parse("10.0.0.0/8")));
    EXPECT_TRUE(networks.contains(*Network::parse("10.200.1.1")));
    EXPECT_FALSE(networks.contains(*Network::parse("8.0.0.0/6")));
    EXPECT_FALSE(networks.contains(*Network::parse("2001:db8::/31")));
    const Networks halves({*Network::parse("0.0.0.0/1"), *Network::parse("128.0.0.0/1")});
    EXPECT_TRUE(halves.contains(*Network::parse("0.0.0.0/0")));
    EXPECT_FALSE(halves.contains(*Network::parse("::/0")));
    EXPECT_TRUE(networks.meets(halves));
    EXPECT_TRUE(networks.meets(Networks({*Network::parse("2001:db8:1::1")})));
    EXPECT_FALSE(networks.meets(Networks({*Network::parse("11.0.0.0/8")})));
    EXPECT_FALSE(networks.meets(Networks()));
}

}  // namespace
}  // namespace postern::base

#include "postern/names/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace postern::names {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

base::IpAddress ip(std::string_view text) {
    return *base::IpAddress::parse(text);
}

Ourselves us() {
    return {
        "gw1.example.net",
        {{ip("192.0.2.1"), 25}, {ip("2001:db8::1"), 25}, {ip("192.0.2.1"), 587}}};
}

const Host gw1{20, "gw1.example.net", {ip("198.51.100.1")}};  // as seen from outside
const Host best{10, "mx1.example.net", {ip("192.0.2.10")}};
const Host equal{20, "mx2.example.net", {ip("192.0.2.20")}};
const Host worse{30, "mx3.example.net", {ip("192.0.2.30")}};

Answer hosts(std::vector<Host> all) {
    return {Answer::Kind::hosts, std::move(all), {}};
}

TEST(WithoutOurselves, NothingIsLeftOutWhenWeAreNotAmongThem) {
    const Answer answer = hosts({best, equal, worse});
    EXPECT_EQ(without_ourselves(answer, 25, us()), answer);
}

TEST(WithoutOurselves, WeAndThoseOfEqualOrWorsePreferenceAreLeftOut) {
    EXPECT_EQ(without_ourselves(hosts({best, gw1, equal, worse}), 25, us()), hosts({best}));
    EXPECT_EQ(without_ourselves(hosts({best, equal, gw1, worse}), 25, us()), hosts({best}));
}

TEST(WithoutOurselves, OneOfOurAddressesIsEnough) {
    const Host by_address{20, "mail.example.net", {ip("192.0.2.99"), ip("2001:db8::1")}};
    EXPECT_EQ(without_ourselves(hosts({best, by_address, worse}), 25, us()), hosts({best}));
}

TEST(WithoutOurselves, NoneIsLeft) {
    for (const auto& all : {std::vector<Host>{gw1}, {gw1, worse}, {gw1, equal, worse}}) {
        const Answer left = without_ourselves(hosts(all), 25, us());
        EXPECT_EQ(left.kind, Answer::Kind::ourselves);
        EXPECT_THAT(left.hosts, IsEmpty());
    }
}

TEST(WithoutOurselves, TheBestOfOursDecides) {
    const Host ours_too{30, "mail.example.net", {ip("192.0.2.1")}};
    EXPECT_EQ(without_ourselves(hosts({best, gw1, ours_too}), 25, us()), hosts({best}));
}

TEST(WithoutOurselves, AnotherPortOfOurMachineIsAnotherHost) {
    const Answer answer = hosts({best, gw1, worse});
    EXPECT_EQ(without_ourselves(answer, 10025, us()), answer);
    EXPECT_EQ(without_ourselves(answer, 587, us()), hosts({best}));
}

TEST(WithoutOurselves, HostsWithoutAnAddressAreLeftOutButFirstTheyAreLookedAt) {
    const Host nameless{5, "gone.example.net", {}};
    EXPECT_EQ(without_ourselves(hosts({nameless, best}), 25, us()), hosts({best}));
    // Our own name need not resolve for us.
    const Host gw1_unresolved{20, "gw1.example.net", {}};
    EXPECT_EQ(without_ourselves(hosts({best, gw1_unresolved, worse}), 25, us()), hosts({best}));
    EXPECT_EQ(
        without_ourselves(hosts({gw1_unresolved, worse}), 25, us()).kind, Answer::Kind::ourselves);
    EXPECT_EQ(
        without_ourselves({Answer::Kind::failed, {gw1_unresolved}, "x"}, 25, us()).kind,
        Answer::Kind::ourselves);
    // Those before us have no address: a "no", or a failure that is tried again.
    Answer left = hosts({nameless, gw1});
    EXPECT_EQ(without_ourselves(left, 25, us()).kind, Answer::Kind::no_addresses);
    left.trouble = "A of gone.example.net: no answer";
    EXPECT_EQ(without_ourselves(left, 25, us()).kind, Answer::Kind::failed);
}

TEST(WithoutOurselves, OtherAnswersStayAsTheyAre) {
    for (const auto kind :
         {Answer::Kind::null_mx,
          Answer::Kind::no_such_name,
          Answer::Kind::no_addresses,
          Answer::Kind::failed}) {
        EXPECT_EQ(without_ourselves({kind, {}, "x"}, 25, us()), (Answer{kind, {}, "x"}));
    }
}

TEST(WithoutOurselves, Laws) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 20000; ++round) {
        Answer answer;
        for (std::uint64_t i = random() % 5; i > 0; --i) {
            Host host{
                static_cast<std::uint16_t>(random() % 4),
                random() % 5 == 0 ? "gw1.example.net" : "mx" + std::to_string(i),
                {}};
            for (std::uint64_t j = random() % 3; j > 0; --j) {
                host.addresses.push_back(ip("192.0.2." + std::to_string(random() % 8)));
                answer.kind = Answer::Kind::hosts;
            }
            answer.hosts.push_back(std::move(host));
        }
        std::stable_sort(answer.hosts.begin(), answer.hosts.end(), [](auto& a, auto& b) {
            return a.preference < b.preference;
        });
        const auto ours = [](const Host& host) {
            return host.name == "gw1.example.net" ||
                   std::count(host.addresses.begin(), host.addresses.end(), ip("192.0.2.1")) > 0;
        };
        const Answer left = without_ourselves(answer, 25, us());
        EXPECT_EQ(left.kind == Answer::Kind::hosts, !left.hosts.empty());
        for (const Host& host : answer.hosts) {
            const bool behind_us =
                std::any_of(answer.hosts.begin(), answer.hosts.end(), [&](const Host& other) {
                    return ours(other) && other.preference <= host.preference;
                });
            EXPECT_EQ(
                std::count(left.hosts.begin(), left.hosts.end(), host) > 0,
                !behind_us && !host.addresses.empty());
            EXPECT_TRUE(left.kind != Answer::Kind::ourselves || behind_us);
        }
    }
}

TEST(Describe, SaysItInOneLine) {
    EXPECT_EQ(describe(hosts({best, equal})), "192.0.2.10, 192.0.2.20");
    EXPECT_EQ(
        describe({Answer::Kind::hosts, {best}, "A of mx1.example.net: no answer"}),
        "192.0.2.10 (not renewed: A of mx1.example.net: no answer)");
    EXPECT_EQ(describe({Answer::Kind::null_mx, {}, {}}), "takes no mail (null MX)");
    EXPECT_EQ(describe({Answer::Kind::no_such_name, {}, {}}), "no such name");
    EXPECT_EQ(describe({Answer::Kind::no_addresses, {}, {}}), "has no address");
    EXPECT_EQ(describe({Answer::Kind::failed, {}, {}}), "not resolved: no answer");
    EXPECT_EQ(describe({Answer::Kind::failed, {}, "x"}), "not resolved: x");
    EXPECT_EQ(describe({Answer::Kind::ourselves, {}, {}}), "leads to ourselves");
}

}  // namespace
}  // namespace postern::names

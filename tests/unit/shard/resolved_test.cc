#include "postern/shard/resolved.h"

#include <gtest/gtest.h>

namespace postern::shard {
namespace {

using names::Answer;
using names::Question;
using Kind = Answer::Kind;

relay::HostSettings named(const std::string& name, std::uint32_t level = 0, bool mx = false) {
    relay::HostSettings host;
    host.name = name;
    host.port = 2525;
    host.level = level;
    host.mx = mx;
    return host;
}

relay::HostSettings at(const std::string& address, std::uint32_t level = 0) {
    relay::HostSettings host;
    host.address = *io::Address::parse(address);
    host.level = level;
    return host;
}

relay::PoolSettings pool(std::vector<relay::HostSettings> hosts) {
    relay::PoolSettings settings;
    settings.hosts = std::move(hosts);
    return settings;
}

names::Host host(
    std::uint16_t preference, const std::string& name, std::vector<std::string> addresses) {
    names::Host host{preference, name, {}};
    for (const std::string& address : addresses) {
        host.addresses.push_back(*base::IpAddress::parse(address));
    }
    return host;
}

std::shared_ptr<const Answer> answer(Kind kind, std::vector<names::Host> hosts = {}) {
    return std::make_shared<const Answer>(Answer{kind, std::move(hosts), {}});
}

std::vector<std::string> text_of(const PoolAddresses& addresses) {
    std::vector<std::string> text;
    for (const relay::HostAddress& host : addresses.hosts) {
        text.push_back(host.address.text() + " " + host.name + " " + std::to_string(host.level));
    }
    return text;
}

using Texts = std::vector<std::string>;

TEST(Resolved, APoolAsksForEachNameOnce) {
    EXPECT_TRUE(questions_of(pool({at("192.0.2.1:25")})).empty());
    const auto asked = questions_of(
        pool({named("a.test"), at("192.0.2.1:25"), named("b.test", 1), named("a.test", 2)}));
    EXPECT_EQ(
        asked,
        (std::vector<Question>{
            {Question::Kind::address, "a.test"}, {Question::Kind::address, "b.test"}}));
    EXPECT_EQ(
        questions_of(pool({named("a.test", 0, true)})),
        (std::vector<Question>{{Question::Kind::mx, "a.test"}}));
}

TEST(Resolved, EveryAddressIsAHostAtItsLevel) {
    const auto settings =
        pool({named("a.test"), at("192.0.2.9:25"), named("b.test", 1), named("c.test", 2)});
    const Answers answers{
        {{Question::Kind::address, "a.test"},
         answer(Kind::hosts, {host(0, "a.test", {"192.0.2.1", "2001:db8::1"})})},
        {{Question::Kind::address, "b.test"}, answer(Kind::no_such_name)},
        {{Question::Kind::address, "c.test"},
         answer(Kind::hosts, {host(0, "c.test", {"192.0.2.3"})})}};
    EXPECT_EQ(
        text_of(addresses_of(settings, answers, {})),
        (Texts{
            "192.0.2.1:2525 a.test 0",
            "[2001:db8::1]:2525 a.test 0",
            "192.0.2.9:25  0",
            "192.0.2.3:2525 c.test 2"}));
}

TEST(Resolved, MxHostsStandByPreferenceBehindNoneOfOurs) {
    const auto settings = pool({named("d.test", 0, true)});
    const Answers answers{
        {{Question::Kind::mx, "d.test"},
         answer(
             Kind::hosts,
             {host(5, "a.test", {"192.0.2.1"}),
              host(5, "b.test", {"192.0.2.2"}),
              host(10, "c.test", {"192.0.2.3"}),
              host(20, "d.test", {"192.0.2.4"})})}};
    EXPECT_EQ(
        text_of(addresses_of(settings, answers, {})),
        (Texts{
            "192.0.2.1:2525 a.test 0",
            "192.0.2.2:2525 b.test 0",
            "192.0.2.3:2525 c.test 1",
            "192.0.2.4:2525 d.test 2"}));
    names::Ourselves ourselves{"gw.test", {{*base::IpAddress::parse("192.0.2.3"), 2525}}};
    EXPECT_EQ(
        text_of(addresses_of(settings, answers, ourselves)),
        (Texts{"192.0.2.1:2525 a.test 0", "192.0.2.2:2525 b.test 0"}));
    ourselves.hostname = "a.test";
    const PoolAddresses none = addresses_of(settings, answers, ourselves);
    EXPECT_TRUE(none.hosts.empty());
    EXPECT_EQ(none.absence, relay::Absence::own_mx);
    ourselves.listeners.front().port = 25;  // another port is another server
    EXPECT_EQ(addresses_of(settings, answers, ourselves).hosts.size(), 4u);
}

TEST(Resolved, SaysWhyThereIsNone) {
    const Question a{Question::Kind::address, "a.test"};
    const Question b{Question::Kind::address, "b.test"};
    const Question mx{Question::Kind::mx, "a.test"};
    const auto both = pool({named("a.test"), named("b.test")});
    using relay::Absence;
    EXPECT_EQ(addresses_of(both, {}, {}).absence, Absence::pending);
    EXPECT_EQ(addresses_of(both, {{a, answer(Kind::failed)}}, {}).absence, Absence::pending);
    for (const Kind kind : {Kind::failed, Kind::no_such_name, Kind::no_addresses}) {
        const Answers answers{{a, answer(kind)}, {b, answer(Kind::failed)}};
        EXPECT_EQ(addresses_of(both, answers, {}).absence, Absence::unresolved);
    }
    const auto by_mx = pool({named("a.test", 0, true)});
    EXPECT_EQ(addresses_of(by_mx, {{a, answer(Kind::null_mx)}}, {}).absence, Absence::pending);
    EXPECT_EQ(addresses_of(by_mx, {{mx, answer(Kind::null_mx)}}, {}).absence, Absence::null_mx);
    EXPECT_EQ(
        addresses_of(by_mx, {{mx, answer(Kind::no_such_name)}}, {}).absence, Absence::unresolved);
}

}  // namespace
}  // namespace postern::shard

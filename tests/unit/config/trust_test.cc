#include "trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

base::Networks networks(std::initializer_list<const char*> texts) {
    std::vector<base::Network> list;
    for (const char* text : texts) {
        list.push_back(*base::Network::parse(text));
    }
    return base::Networks(list);
}

std::vector<std::string> texts(const std::vector<Problem>& problems) {
    std::vector<std::string> texts;
    for (const Problem& problem : problems) {
        texts.push_back(problem.text);
    }
    return texts;
}

std::vector<std::string> warnings(const Listener& listener) {
    Findings findings;
    check_listener_trust(listener, {3, 1}, findings);
    EXPECT_THAT(texts(findings.errors), IsEmpty());
    return texts(findings.warnings);
}

Listener at(const std::string& host) {
    Listener listener;
    listener.name = host + ":25";
    listener.address = {host, 25, true};
    return listener;
}

TEST(Trust, NetworksThatHoldTheInternetAreAnOpenRelay) {
    for (const auto& open :
         {networks({"0.0.0.0/0"}),
          networks({"::/0"}),
          networks({"2000::/3"}),
          networks({"10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/1"})}) {
        Relay relay;
        relay.networks = open;
        Findings findings;
        check_relay(relay, "relay", false, {5, 7}, findings);
        ASSERT_EQ(findings.errors.size(), 1U);
        EXPECT_EQ(findings.errors[0].line, 5U);
        EXPECT_THAT(
            findings.errors[0].text,
            AllOf(HasSubstr("open relay"), HasSubstr("relay.allow_open_relay = true")));
        Findings allowed;
        check_relay(relay, "relay", true, {5, 7}, allowed);
        EXPECT_THAT(texts(allowed.errors), IsEmpty());
    }
}

TEST(Trust, NetworksOfOnesOwnAreNot) {
    Relay relay;
    relay.networks = networks({"10.0.0.0/8", "0.0.0.0/1", "2001:db8::/32", "fc00::/7"});
    Findings findings;
    check_relay(relay, "relay", false, {}, findings);
    EXPECT_THAT(texts(findings.errors), IsEmpty());
}

TEST(Trust, ATrustedListenerIsWarnedOfWhereTheInternetMayReachIt) {
    for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "2001:db8::1"}) {
        Listener listener = at(host);
        EXPECT_THAT(warnings(listener), IsEmpty());
        listener.trusted = true;
        EXPECT_THAT(warnings(listener), ElementsAre(HasSubstr("trusted = true"))) << host;
    }
    for (const char* host : {"127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1"}) {
        Listener listener = at(host);
        listener.trusted = true;
        EXPECT_THAT(warnings(listener), IsEmpty()) << host;
    }
}

TEST(Trust, LoopbackBehindAProxyIsWarnedOf) {
    Listener listener = at("0.0.0.0");
    listener.relay.networks = networks({"127.0.0.1", "192.0.2.0/24"});
    EXPECT_THAT(warnings(listener), IsEmpty());
    listener.proxy_networks = networks({"10.0.0.1"});
    EXPECT_THAT(
        warnings(listener), ElementsAre(AllOf(HasSubstr("proxy_networks"), HasSubstr("loopback"))));
    listener.xclient_networks = networks({"10.0.0.1"});
    EXPECT_THAT(
        warnings(listener),
        ElementsAre(HasSubstr("proxy_networks is set"), HasSubstr("xclient_networks is set")));
}

TEST(Trust, AProxyThatIsTrustedItselfIsWarnedOf) {
    Listener listener = at("0.0.0.0");
    listener.relay.networks = networks({"10.0.0.0/8"});
    listener.proxy_networks = networks({"10.0.0.1"});
    EXPECT_THAT(warnings(listener), ElementsAre(HasSubstr("and relay.networks meet")));
    listener.relay.networks = {};
    listener.proxy_networks = networks({"0.0.0.0/0"});
    EXPECT_THAT(warnings(listener), ElementsAre(HasSubstr("holds the whole Internet")));
}

/// It changes what is logged alone, so nothing else of it is worth a word.
TEST(Trust, WhoeverMaySayXforwardIsBelieved) {
    Listener listener = at("0.0.0.0");
    listener.relay.networks = networks({"10.0.0.0/8", "127.0.0.0/8"});
    listener.xforward_networks = networks({"10.0.0.1"});
    EXPECT_THAT(warnings(listener), IsEmpty());
    for (const char* all : {"0.0.0.0/0", "::/0"}) {
        listener.xforward_networks = networks({all});
        EXPECT_THAT(
            warnings(listener),
            ElementsAre(HasSubstr("xforward_networks holds the whole Internet: anyone")));
    }
}

TEST(Trust, PasswordsWithoutTlsAreOfNoUse) {
    Listener listener = at("127.0.0.1");
    listener.auth_file = "/etc/postern/passwords";
    EXPECT_THAT(warnings(listener), ElementsAre(HasSubstr("auth_file is of no use without TLS")));
    listener.tls = ListenerTls::starttls;
    EXPECT_THAT(warnings(listener), IsEmpty());
    listener.ehlo_hide = {"SIZE", "STARTTLS"};
    EXPECT_THAT(
        warnings(listener),
        ElementsAre(HasSubstr("auth_file is of no use while ehlo_hide has STARTTLS")));
    listener.tls = ListenerTls::implicit;
    EXPECT_THAT(warnings(listener), IsEmpty());
    listener.ehlo_hide = {"AUTH"};
    EXPECT_THAT(
        warnings(listener),
        ElementsAre(HasSubstr("auth_file is of no use while ehlo_hide has AUTH")));
}

}  // namespace
}  // namespace postern::config

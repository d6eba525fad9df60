#include "postern/shard/standing.h"

#include <gtest/gtest.h>

namespace postern::shard {
namespace {

base::IpAddress ip(std::string_view text) {
    return *base::IpAddress::parse(text);
}

base::Networks networks(std::string_view text) {
    return base::Networks({*base::Network::parse(text)});
}

mail::Client judged(const config::Listener& listener, std::string_view address, bool stated) {
    mail::Client client;
    client.stated = stated;
    judge(client, listener, ip(address));
    return client;
}

TEST(standing, a_proxy_is_nobody) {
    config::Listener listener;
    listener.proxy_networks = listener.xclient_networks = networks("10.0.0.0/8");
    listener.relay.networks = networks("10.0.0.0/8");
    listener.trusted = true;
    const mail::Client proxy = judged(listener, "10.1.2.3", false);
    EXPECT_TRUE(proxy.proxy && proxy.exempt);
    EXPECT_FALSE(proxy.trusted || proxy.may_xclient || proxy.may_xforward);
}

TEST(standing, an_address_that_a_proxy_states_is_no_proxy) {
    config::Listener listener;
    listener.proxy_networks = networks("10.0.0.0/8");
    listener.relay.networks = networks("10.1.0.0/16");
    listener.xforward_networks = networks("10.2.0.0/16");
    const mail::Client related = judged(listener, "10.1.2.3", true);
    EXPECT_TRUE(related.trusted && related.exempt);
    EXPECT_FALSE(related.proxy || related.may_xforward);
    const mail::Client other = judged(listener, "10.2.2.3", true);
    EXPECT_FALSE(other.trusted || other.exempt || other.proxy || other.may_xclient);
    EXPECT_TRUE(other.may_xforward);
}

TEST(standing, deny_goes_before_trust_and_exempts_nobody_less) {
    config::Listener listener;
    listener.trusted = true;
    listener.relay.networks = networks("192.0.2.0/24");
    listener.relay.deny = networks("192.0.2.7");
    EXPECT_TRUE(judged(listener, "198.51.100.1", false).trusted);
    EXPECT_FALSE(judged(listener, "198.51.100.1", false).exempt);
    EXPECT_FALSE(judged(listener, "192.0.2.7", false).trusted);
    EXPECT_TRUE(judged(listener, "192.0.2.7", false).exempt);
}

TEST(standing, what_was_said_of_a_client_is_the_submissions_own) {
    base::BlockPool arena{4096, 16};
    base::BlockPool tail{4096, 16};
    base::BlockPool chain{4096, 16};
    mail::Submission submission(arena, tail, chain);
    std::string name = "mail.example.org";
    std::string ident = "4Bxyz";
    mail::Forwarded said;
    said.ident = ident;
    submission.client.name = name;
    submission.client.forwarded = &said;
    ASSERT_TRUE(copy_introduction(submission));
    name.assign(name.size(), 'x');
    ident.assign(ident.size(), 'x');
    said = {};
    EXPECT_EQ(submission.client.name, "mail.example.org");
    EXPECT_EQ(submission.client.forwarded->ident, "4Bxyz");
    EXPECT_TRUE(submission.client.forwarded->name.empty());
}

}  // namespace
}  // namespace postern::shard

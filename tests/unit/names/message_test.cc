#include "message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "messages.h"

namespace postern::names {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> texts(const std::vector<base::IpAddress>& addresses) {
    std::vector<std::string> all;
    for (const base::IpAddress& address : addresses) {
        all.push_back(address.text());
    }
    return all;
}

Reply read(const Message& message, std::string_view name, RecordType type) {
    return parse_reply(message.octets(), name, type);
}

const std::string host = "mx1.example.net";

void expect_failed(const Reply& reply, std::string_view why) {
    EXPECT_EQ(reply.kind, Reply::Kind::failed);
    EXPECT_EQ(reply.why, why);
    EXPECT_THAT(reply.addresses, IsEmpty());
    EXPECT_THAT(reply.exchanges, IsEmpty());
}

TEST(ParseReply, AddressesInOrderEachOnceWithTheLeastTtl) {
    const Reply reply = read(
        Message(host, RecordType::a)
            .a(host, 300, "192.0.2.20")
            .a("MX1.Example.NET", 60, "192.0.2.3")
            .a(host, 300, "192.0.2.20"),
        host,
        RecordType::a);
    EXPECT_EQ(reply.kind, Reply::Kind::records);
    EXPECT_THAT(texts(reply.addresses), ElementsAre("192.0.2.3", "192.0.2.20"));
    EXPECT_EQ(reply.ttl_s, 60U);
}

TEST(ParseReply, Ipv6Addresses) {
    const Reply reply = read(
        Message(host, RecordType::aaaa).aaaa(host, 5, "2001:db8::2").aaaa(host, 5, "2001:db8::1"),
        host,
        RecordType::aaaa);
    EXPECT_THAT(texts(reply.addresses), ElementsAre("2001:db8::1", "2001:db8::2"));
}

TEST(ParseReply, CompressedNames) {
    const Reply reply = read(
        Message("example.net", RecordType::mx)
            .record(
                pointer(question_at), type_mx, 60, number16(10) + "\3mx1" + pointer(question_at)),
        "example.net",
        RecordType::mx);
    EXPECT_THAT(reply.exchanges, ElementsAre(Exchange{10, "mx1.example.net"}));
}

TEST(ParseReply, AliasesAreFollowedAndTheirTtlCounts) {
    const Reply reply = read(
        Message(host, RecordType::a)
            .a("c.example.org", 300, "192.0.2.1")  // the order of records means nothing
            .cname("b.example.org", 20, "C.example.org")
            .cname(host, 300, "b.example.org"),
        host,
        RecordType::a);
    EXPECT_EQ(reply.kind, Reply::Kind::records);
    EXPECT_THAT(texts(reply.addresses), ElementsAre("192.0.2.1"));
    EXPECT_EQ(reply.ttl_s, 20U);
}

TEST(ParseReply, AliasesThatLeadToOneAnotherAreMalformed) {
    expect_failed(
        read(
            Message(host, RecordType::a).cname(host, 60, "b.test").cname("b.test", 60, host),
            host,
            RecordType::a),
        "the answer is malformed");
}

TEST(ParseReply, AnAliasThatEndsNowhere) {
    const Reply none = read(
        Message(host, RecordType::a).cname(host, 10, "b.test").authority().soa("test", 3600, 3600),
        host,
        RecordType::a);
    EXPECT_EQ(none.kind, Reply::Kind::no_records);
    EXPECT_EQ(none.ttl_s, 10U);
    const Reply no_name =
        read(Message(host, RecordType::a).rcode(3).cname(host, 10, "b.test"), host, RecordType::a);
    EXPECT_EQ(no_name.kind, Reply::Kind::no_such_name);
}

TEST(ParseReply, ExchangesByPreference) {
    const Reply reply = read(
        Message("example.net", RecordType::mx)
            .mx("example.net", 60, 20, "mx2.example.net")
            .mx("example.net", 60, 10, "MX1.example.net")
            .mx("example.net", 60, 10, "a.example.org"),
        "example.net",
        RecordType::mx);
    EXPECT_THAT(
        reply.exchanges,
        ElementsAre(
            Exchange{10, "a.example.org"},
            Exchange{10, "mx1.example.net"},
            Exchange{20, "mx2.example.net"}));
}

TEST(ParseReply, ANullMxIsTheRoot) {
    const Reply reply = read(
        Message("example.net", RecordType::mx).mx("example.net", 60, 0, ""),
        "example.net",
        RecordType::mx);
    EXPECT_EQ(reply.kind, Reply::Kind::records);
    EXPECT_THAT(reply.exchanges, ElementsAre(Exchange{0, ""}));
}

TEST(ParseReply, ExchangesThatAreNoHostNamesAreLeftOut) {
    Message message("example.net", RecordType::mx);
    message.mx("example.net", 60, 10, "192.0.2.1")
        .mx("example.net", 60, 10, "a b.example.net")
        .mx("example.net", 60, 10, "[192.0.2.1]")
        .record(wire("example.net"), type_mx, 60, number16(10) + std::string("\3a.b\3net\0", 9))
        .record(wire("example.net"), type_mx, 60, number16(10) + std::string("\3a\0b\3net\0", 9))
        .mx("example.net", 60, 10, "m\xc3\xa4il.example.net")
        .mx("example.net", 60, 30, "_smtp.xn--mil-ula.example.net");
    const Reply reply = read(message, "example.net", RecordType::mx);
    EXPECT_EQ(reply.kind, Reply::Kind::records);
    EXPECT_THAT(reply.exchanges, ElementsAre(Exchange{30, "_smtp.xn--mil-ula.example.net"}));
}

TEST(ParseReply, AddressesThatNoHostHasAreLeftOut) {
    const Reply reply = read(
        Message(host, RecordType::a)
            .a(host, 60, "0.0.0.0")
            .a(host, 60, "224.0.0.1")
            .a(host, 60, "255.255.255.255")
            .a(host, 60, "127.0.0.1"),
        host,
        RecordType::a);
    EXPECT_THAT(texts(reply.addresses), ElementsAre("127.0.0.1"));
    const Reply v6 = read(
        Message(host, RecordType::aaaa)
            .record(wire(host), type_aaaa, 60, std::string(16, '\0'))
            .aaaa(host, 60, "ff02::1")
            .aaaa(host, 60, "::1"),
        host,
        RecordType::aaaa);
    EXPECT_THAT(texts(v6.addresses), ElementsAre("::1"));
}

TEST(ParseReply, ANoHoldsAsLongAsTheZoneSays) {
    Message message(host, RecordType::aaaa);
    message.authority().soa("example.net", 600, 90);
    Reply reply = read(message, host, RecordType::aaaa);
    EXPECT_EQ(reply.kind, Reply::Kind::no_records);
    EXPECT_EQ(reply.ttl_s, 90U);
    reply = read(message.rcode(3), host, RecordType::aaaa);
    EXPECT_EQ(reply.kind, Reply::Kind::no_such_name);
    EXPECT_EQ(reply.ttl_s, 90U);
    reply = read(Message(host, RecordType::a), host, RecordType::a);
    EXPECT_EQ(reply.kind, Reply::Kind::no_records);
    EXPECT_EQ(reply.ttl_s, no_ttl_s);
}

TEST(ParseReply, AReferralIsNoAnswer) {
    Message message(host, RecordType::a);
    message.authority().record(wire("net"), type_ns, 60, wire("a.gtld-servers.net"));
    expect_failed(
        read(message, host, RecordType::a), "the server names others instead of asking them");
    // With the zone's own SOA, they are the zone's servers.
    message.soa("example.net", 60, 60);
    EXPECT_EQ(read(message, host, RecordType::a).kind, Reply::Kind::no_records);
}

TEST(ParseReply, WhatAnswersAnotherQuestionIsNoAnswer) {
    const std::string other = "the answer is to another question";
    expect_failed(
        read(
            Message("mx2.example.net", RecordType::a).a(host, 60, "192.0.2.1"),
            host,
            RecordType::a),
        other);
    expect_failed(
        read(Message(host, RecordType::mx).a(host, 60, "192.0.2.1"), host, RecordType::a), other);
    const std::string none = "what came is no answer";
    expect_failed(
        read(
            Message(host, RecordType::a).flags(0x0100).a(host, 60, "192.0.2.1"),
            host,
            RecordType::a),
        none);
    expect_failed(
        read(
            Message(host, RecordType::a).flags(0xa180).a(host, 60, "192.0.2.1"),
            host,
            RecordType::a),
        none);
    expect_failed(read(Message(host, RecordType::a).questions(0), host, RecordType::a), none);
    expect_failed(read(Message(host, RecordType::a).questions(2), host, RecordType::a), none);
}

TEST(ParseReply, RecordsOfOtherNamesTypesAndClassesDoNotCount) {
    const Reply reply = read(
        Message(host, RecordType::a)
            .a("evil.test", 1, "192.0.2.66")
            .aaaa(host, 1, "2001:db8::66")
            .record(wire(host), type_a, 1, octets_of("192.0.2.67"), 3)
            .cname("evil.test", 1, host)
            .a(host, 60, "192.0.2.1"),
        host,
        RecordType::a);
    EXPECT_THAT(texts(reply.addresses), ElementsAre("192.0.2.1"));
    EXPECT_EQ(reply.ttl_s, 60U);
    EXPECT_EQ(
        read(Message(host, RecordType::a).a("evil.test", 60, "192.0.2.66"), host, RecordType::a)
            .kind,
        Reply::Kind::no_records);
}

TEST(ParseReply, TroubleAndTruncation) {
    for (const unsigned rcode : {1U, 2U, 4U, 5U, 15U}) {
        expect_failed(
            read(
                Message(host, RecordType::a).rcode(rcode).a(host, 60, "192.0.2.1"),
                host,
                RecordType::a),
            "the server has trouble");
    }
    expect_failed(
        read(
            Message(host, RecordType::a).flags(0x8380).a(host, 60, "192.0.2.1"),
            host,
            RecordType::a),
        "the answer is truncated");
    // Both at once, records and no such name, is neither.
    expect_failed(
        read(Message(host, RecordType::a).rcode(3).a(host, 60, "192.0.2.1"), host, RecordType::a),
        "the answer is malformed");
}

TEST(ParseReply, ATtlPast31BitsIsNone) {
    EXPECT_EQ(
        read(Message(host, RecordType::a).a(host, 0x80000000, "192.0.2.1"), host, RecordType::a)
            .ttl_s,
        0U);
    EXPECT_EQ(
        read(Message(host, RecordType::a).a(host, 0x7fffffff, "192.0.2.1"), host, RecordType::a)
            .ttl_s,
        0x7fffffffU);
}

TEST(ParseReply, BadDataIsMalformed) {
    const auto expect_malformed = [](unsigned type, RecordType asked, const std::string& data) {
        expect_failed(
            read(Message(host, asked).record(wire(host), type, 60, data), host, asked),
            "the answer is malformed");
    };
    expect_malformed(type_a, RecordType::a, std::string(3, '\1'));
    expect_malformed(type_a, RecordType::a, std::string(16, '\1'));
    expect_malformed(type_aaaa, RecordType::aaaa, std::string(4, '\1'));
    expect_malformed(type_mx, RecordType::mx, "");
    expect_malformed(type_mx, RecordType::mx, number16(10));
    expect_malformed(type_mx, RecordType::mx, number16(10) + wire("mx.test") + "x");
    expect_malformed(type_mx, RecordType::mx, number16(10) + "\4mx");
    expect_malformed(type_cname, RecordType::a, "");
    expect_malformed(type_cname, RecordType::a, wire("a.test") + "x");
    expect_malformed(type_cname, RecordType::a, std::string("\3a.b\0", 5));
}

TEST(ParseReply, PointersThatNeverEndAreMalformed) {
    const std::size_t owner_at = question_at + wire(host).size() + 4;
    // To itself, forwards, into its own run of labels, and a reserved kind of label.
    for (const std::string& owner :
         {pointer(owner_at),
          pointer(owner_at + 2),
          "\1a" + pointer(owner_at),
          "\1a" + pointer(owner_at + 2),
          pointer(0x3fff),
          std::string("\x40\0", 2),
          std::string("\x80\0", 2)}) {
        expect_failed(
            read(
                Message(host, RecordType::a).record(owner, type_a, 60, octets_of("192.0.2.1")),
                host,
                RecordType::a),
            "the answer is malformed");
    }
}

TEST(ParseReply, NamesHaveTheLengthThatTheDnsAllows) {
    std::string longest;
    for (int i = 0; i < 3; ++i) {
        longest += std::string(63, 'a') + ".";
    }
    longest += std::string(61, 'b');
    ASSERT_EQ(longest.size(), 253U);
    EXPECT_EQ(
        read(Message(longest, RecordType::a).a(longest, 60, "192.0.2.1"), longest, RecordType::a)
            .kind,
        Reply::Kind::records);
    const std::string longer = longest + "b";
    expect_failed(
        read(Message(longer, RecordType::a), longer, RecordType::a), "the answer is malformed");
}

TEST(ParseReply, OfTooManyTheFirstInOrderAreTaken) {
    Message addresses(host, RecordType::a);
    Message exchanges(host, RecordType::mx);
    for (unsigned i = 200; i > 0; --i) {
        addresses.a(host, 60, "192.0.2." + std::to_string(i));
        exchanges.mx(host, 60, i, "mx" + std::to_string(i) + ".test");
    }
    const Reply first = read(addresses, host, RecordType::a);
    ASSERT_EQ(first.addresses.size(), addresses_max);
    EXPECT_EQ(first.addresses.front().text(), "192.0.2.1");
    const Reply best = read(exchanges, host, RecordType::mx);
    ASSERT_EQ(best.exchanges.size(), exchanges_max);
    EXPECT_EQ(best.exchanges.back().preference, exchanges_max);
}

// ---- whatever comes ----

struct Sample {
    std::string octets;
    std::string name;
    RecordType type;
};

std::vector<Sample> samples() {
    return {
        {Message(host, RecordType::a).a(host, 60, "192.0.2.1").a(host, 60, "192.0.2.2").octets(),
         host,
         RecordType::a},
        {Message(host, RecordType::aaaa)
             .cname(host, 60, "b.test")
             .record(pointer(question_at + 4), type_cname, 60, wire("x.test"))
             .aaaa("b.test", 60, "2001:db8::1")
             .octets(),
         host,
         RecordType::aaaa},
        {Message("example.net", RecordType::mx)
             .mx("example.net", 60, 10, "mx1.example.net")
             .record(
                 pointer(question_at), type_mx, 60, number16(10) + "\3mx2" + pointer(question_at))
             .octets(),
         "example.net",
         RecordType::mx},
        {Message(host, RecordType::a).rcode(3).authority().soa("example.net", 60, 60).octets(),
         host,
         RecordType::a},
    };
}

void expect_lawful(const Reply& reply, RecordType type) {
    EXPECT_LE(reply.addresses.size(), addresses_max);
    EXPECT_LE(reply.exchanges.size(), exchanges_max);
    EXPECT_LE(reply.ttl_s, 0x7fffffffU);
    EXPECT_EQ(reply.kind == Reply::Kind::failed, !reply.why.empty());
    if (reply.kind != Reply::Kind::records) {
        EXPECT_THAT(reply.addresses, IsEmpty());
        EXPECT_THAT(reply.exchanges, IsEmpty());
    }
    for (const base::IpAddress& address : reply.addresses) {
        EXPECT_TRUE(type == RecordType::aaaa || (type == RecordType::a && address.is_v4()));
    }
    EXPECT_TRUE(type == RecordType::mx || reply.exchanges.empty());
    EXPECT_TRUE(std::is_sorted(reply.exchanges.begin(), reply.exchanges.end()));
    for (const Exchange& exchange : reply.exchanges) {
        EXPECT_LE(exchange.host.size(), 253U);
        EXPECT_EQ(
            exchange.host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_."),
            std::string::npos);
    }
}

TEST(ParseReply, EveryTruncationFails) {
    for (const Sample& sample : samples()) {
        EXPECT_NE(parse_reply(sample.octets, sample.name, sample.type).kind, Reply::Kind::failed);
        for (std::size_t size = 0; size < sample.octets.size(); ++size) {
            // A copy of its own, so that a read past its end is seen.
            const std::vector<char> cut(
                sample.octets.begin(), sample.octets.begin() + static_cast<std::ptrdiff_t>(size));
            const Reply reply = parse_reply({cut.data(), cut.size()}, sample.name, sample.type);
            EXPECT_EQ(reply.kind, Reply::Kind::failed) << size;
            expect_lawful(reply, sample.type);
        }
    }
}

TEST(ParseReply, EveryMutationIsSafe) {
    std::mt19937_64 random(1);
    for (const Sample& sample : samples()) {
        for (int round = 0; round < 20000; ++round) {
            std::vector<char> octets(sample.octets.begin(), sample.octets.end());
            for (std::uint64_t i = 1 + random() % 4; i > 0; --i) {
                const std::uint64_t draw = random();
                const auto value = static_cast<char>(
                    draw % 4 == 0   ? 0xc0
                    : draw % 4 == 1 ? draw >> 8 & 0x1f
                                    : draw >> 8);
                octets[random() % octets.size()] = value;
            }
            octets.resize(random() % 8 == 0 ? random() % octets.size() : octets.size());
            expect_lawful(
                parse_reply({octets.data(), octets.size()}, sample.name, sample.type), sample.type);
        }
    }
}

}  // namespace
}  // namespace postern::names

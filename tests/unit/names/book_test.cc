#include "book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace postern::names {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

base::IpAddress ip(std::string_view text) {
    return *base::IpAddress::parse(text);
}

Reply records(std::vector<base::IpAddress> addresses, std::uint32_t ttl_s = 60) {
    Reply reply;
    reply.kind = Reply::Kind::records;
    reply.ttl_s = ttl_s;
    reply.addresses = std::move(addresses);
    return reply;
}

Reply exchanges(std::vector<Exchange> all, std::uint32_t ttl_s = 60) {
    Reply reply;
    reply.kind = Reply::Kind::records;
    reply.ttl_s = ttl_s;
    reply.exchanges = std::move(all);
    return reply;
}

Reply nothing(Reply::Kind kind = Reply::Kind::no_records, std::uint32_t ttl_s = 60) {
    Reply reply;
    reply.kind = kind;
    reply.ttl_s = ttl_s;
    return reply;
}

Reply failure(std::string why = "no answer") {
    Reply reply;
    reply.why = std::move(why);
    return reply;
}

Question host_question(std::string name) {
    return {Question::Kind::address, std::move(name)};
}

Question mx_question(std::string name) {
    return {Question::Kind::mx, std::move(name)};
}

/// A Book, the time, and a DNS that it asks: what is not in `zone` does not exist.
struct World {
    Book book;
    base::Instant now{};
    std::map<Book::Query, Reply> zone;
    bool down = false;
    std::vector<Book::Query> asked;                             // since the last look
    std::map<Question, std::shared_ptr<const Answer>> answers;  // the latest
    std::size_t changes = 0;

    Reply reply_to(const Book::Query& query) const {
        const auto found = zone.find(query);
        if (down) {
            return failure();
        }
        if (found != zone.end()) {
            return found->second;
        }
        const bool exists = std::any_of(zone.begin(), zone.end(), [&](const auto& entry) {
            return entry.first.name == query.name;
        });
        return nothing(exists ? Reply::Kind::no_records : Reply::Kind::no_such_name);
    }

    void collect() {
        for (Book::Change& change : book.take_changes()) {
            ++changes;
            EXPECT_TRUE(
                !answers.contains(change.question) || *answers[change.question] != *change.answer);
            answers[change.question] = std::move(change.answer);
        }
    }

    /// Answers all that is due now.
    void answer() {
        while (const auto query = book.next(now)) {
            asked.push_back(*query);
            book.answered(*query, reply_to(*query), now);
        }
        collect();
    }

    /// Lets time pass, answering at once whatever becomes due.
    void pass(base::Duration time) {
        const base::Instant end = now + time;
        for (;;) {
            const auto due = book.next_due();
            if (!due || *due > end) {
                break;
            }
            now = std::max(now, *due);
            answer();
        }
        now = end;
    }

    void watch(const std::vector<Question>& questions) {
        std::erase_if(answers, [&](const auto& entry) {
            return std::find(questions.begin(), questions.end(), entry.first) == questions.end();
        });
        book.watch(questions, now);
        answer();
    }

    const Answer& at(const Question& question) { return *answers.at(question); }
};

const std::string mx1 = "mx1.example.net";
const std::string mx2 = "mx2.example.net";
const std::string domain = "example.net";
const Question of_mx1 = host_question(mx1);
const Question of_domain = mx_question(domain);

TEST(Lifetime, IsTheTtlWithinBounds) {
    EXPECT_EQ(lifetime(records({}, 0)), seconds(1));
    EXPECT_EQ(lifetime(records({}, 1)), seconds(1));
    EXPECT_EQ(lifetime(records({}, 300)), seconds(300));
    EXPECT_EQ(lifetime(records({}, 0x7fffffff)), hours(24));
    EXPECT_EQ(lifetime(nothing(Reply::Kind::no_records, 0)), seconds(1));
    EXPECT_EQ(lifetime(nothing(Reply::Kind::no_records, 60)), seconds(60));
    EXPECT_EQ(lifetime(nothing(Reply::Kind::no_such_name, 86400)), minutes(5));
}

TEST(BackOff, DoublesUpToHalfAMinute) {
    EXPECT_EQ(back_off(1), seconds(1));
    EXPECT_EQ(back_off(2), seconds(2));
    EXPECT_EQ(back_off(5), seconds(16));
    EXPECT_EQ(back_off(6), seconds(30));
    EXPECT_EQ(back_off(0xffffffff), seconds(30));
}

TEST(Book, AHostHasItsIpv4AndIpv6Addresses) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1"), ip("192.0.2.2")});
    world.zone[{mx1, RecordType::aaaa}] = records({ip("2001:db8::1")});
    world.watch({of_mx1});
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
    EXPECT_THAT(
        world.at(of_mx1).hosts,
        ElementsAre(Host{0, mx1, {ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")}}));
    EXPECT_EQ(world.at(of_mx1).trouble, "");
    EXPECT_EQ(world.changes, 1U);  // not one for each family
}

TEST(Book, OneFamilyIsEnough) {
    World world;
    world.zone[{mx1, RecordType::aaaa}] = records({ip("2001:db8::1")});
    world.watch({of_mx1});
    EXPECT_THAT(world.at(of_mx1).hosts, ElementsAre(Host{0, mx1, {ip("2001:db8::1")}}));
    world.zone[{mx1, RecordType::a}] = failure("refused");
    world.zone[{mx1, RecordType::aaaa}] = records({ip("2001:db8::2")});
    world.pass(minutes(2));
    EXPECT_THAT(world.at(of_mx1).hosts, ElementsAre(Host{0, mx1, {ip("2001:db8::2")}}));
    EXPECT_EQ(world.at(of_mx1).trouble, "A of mx1.example.net: refused");
}

TEST(Book, NoSuchNameAndNoAddresses) {
    World world;
    world.zone[{mx2, RecordType::mx}] = exchanges({});
    world.watch({of_mx1, host_question(mx2)});
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::no_such_name);
    EXPECT_EQ(world.at(host_question(mx2)).kind, Answer::Kind::no_addresses);
}

TEST(Book, AnAnswerIsRenewedWhenItsTtlEnds) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")}, 300);
    world.zone[{mx1, RecordType::aaaa}] = nothing(Reply::Kind::no_records, 300);
    world.watch({of_mx1});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.9")}, 300);
    world.asked.clear();
    world.pass(seconds(299));
    EXPECT_THAT(world.asked, IsEmpty());
    EXPECT_THAT(world.at(of_mx1).hosts, ElementsAre(Host{0, mx1, {ip("192.0.2.1")}}));
    world.pass(seconds(1));
    EXPECT_EQ(world.asked.size(), 2U);
    EXPECT_THAT(world.at(of_mx1).hosts, ElementsAre(Host{0, mx1, {ip("192.0.2.9")}}));
    world.pass(hours(1));
    EXPECT_EQ(world.changes, 2U);  // what stays the same is no change
}

TEST(Book, TheLastGoodAnswerServesForAnHourBehindItsEnd) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")}, 60);
    world.watch({of_mx1});
    world.down = true;
    world.pass(seconds(60) + grace - seconds(1));
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
    EXPECT_THAT(world.at(of_mx1).hosts, ElementsAre(Host{0, mx1, {ip("192.0.2.1")}}));
    EXPECT_EQ(world.at(of_mx1).trouble, "A of mx1.example.net: no answer");
    world.pass(seconds(32));
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::failed);
    world.down = false;
    world.pass(seconds(30));
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
    EXPECT_EQ(world.at(of_mx1).trouble, "");
}

TEST(Book, AFailureIsTriedAgainWithGrowingPauses) {
    World world;
    world.down = true;
    world.watch({of_mx1});
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::failed);
    EXPECT_EQ(world.at(of_mx1).trouble, "A of mx1.example.net: no answer");
    world.asked.clear();
    world.pass(seconds(1 + 2 + 4 + 8 + 16 + 30 + 30));
    EXPECT_EQ(world.asked.size(), 2U * 7);
    EXPECT_EQ(world.changes, 1U);
}

TEST(Book, AFailureOfOneFamilyIsNoNo) {
    World world;
    world.zone[{mx1, RecordType::a}] = failure();
    world.zone[{mx1, RecordType::aaaa}] = nothing();
    world.watch({of_mx1});
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::failed);
}

TEST(Book, MxHostsByPreferenceEachWithItsAddresses) {
    World world;
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}, {10, mx2}, {20, "b.test"}});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")});
    world.zone[{mx2, RecordType::aaaa}] = records({ip("2001:db8::2")});
    world.watch({of_domain});
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::hosts);
    EXPECT_THAT(
        world.at(of_domain).hosts,
        ElementsAre(
            Host{10, mx1, {ip("192.0.2.1")}},
            Host{10, mx2, {ip("2001:db8::2")}},
            Host{20, "b.test", {}}));
    EXPECT_EQ(world.changes, 1U);
}

TEST(Book, AHostThatIsNamedTwiceHasItsBetterPreference) {
    World world;
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}, {20, mx1}});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")});
    world.watch({of_domain});
    EXPECT_THAT(world.at(of_domain).hosts, ElementsAre(Host{10, mx1, {ip("192.0.2.1")}}));
}

TEST(Book, WithoutMxRecordsTheNameItselfTakesTheMail) {
    World world;
    world.zone[{domain, RecordType::a}] = records({ip("192.0.2.1")});
    world.watch({of_domain});
    EXPECT_THAT(world.at(of_domain).hosts, ElementsAre(Host{0, domain, {ip("192.0.2.1")}}));
    // MX records come: their hosts, and the name's own addresses are not asked for any more.
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.2")});
    world.pass(minutes(2));
    EXPECT_THAT(world.at(of_domain).hosts, ElementsAre(Host{10, mx1, {ip("192.0.2.2")}}));
    world.asked.clear();
    world.pass(minutes(5));
    EXPECT_THAT(
        std::set<Book::Query>(world.asked.begin(), world.asked.end()),
        UnorderedElementsAre(
            Book::Query{domain, RecordType::mx},
            Book::Query{mx1, RecordType::a},
            Book::Query{mx1, RecordType::aaaa}));
}

TEST(Book, ANullMx) {
    World world;
    world.zone[{domain, RecordType::mx}] = exchanges({{0, ""}});
    world.zone[{domain, RecordType::a}] = records({ip("192.0.2.1")});
    world.watch({of_domain});
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::null_mx);
    EXPECT_THAT(world.at(of_domain).hosts, IsEmpty());
    // Beside others it means nothing (RFC 7505, 3).
    world.zone[{domain, RecordType::mx}] = exchanges({{0, ""}, {10, mx1}});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.2")});
    world.pass(minutes(2));
    EXPECT_THAT(world.at(of_domain).hosts, ElementsAre(Host{10, mx1, {ip("192.0.2.2")}}));
}

TEST(Book, MxRecordsOfWhichNoneIsOfUse) {
    World world;
    world.zone[{domain, RecordType::a}] = records({ip("192.0.2.1")});  // not asked: RFC 5321, 5.1
    world.zone[{domain, RecordType::mx}] = exchanges({{10, "gone.test"}});
    world.watch({of_domain, mx_question("gone.test")});
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::no_addresses);
    EXPECT_THAT(world.at(of_domain).hosts, ElementsAre(Host{10, "gone.test", {}}));
    EXPECT_EQ(world.at(mx_question("gone.test")).kind, Answer::Kind::no_such_name);
    world.zone[{domain, RecordType::mx}] = exchanges({});  // all were no host names
    world.pass(minutes(2));
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::no_addresses);
    EXPECT_THAT(world.at(of_domain).hosts, IsEmpty());
}

TEST(Book, AnExchangeThatFailsDoesNotHideTheOthers) {
    World world;
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}, {20, mx2}});
    world.zone[{mx1, RecordType::a}] = failure("refused");
    world.zone[{mx1, RecordType::aaaa}] = nothing();
    world.zone[{mx2, RecordType::a}] = records({ip("192.0.2.2")});
    world.watch({of_domain});
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::hosts);
    EXPECT_EQ(world.at(of_domain).trouble, "A of mx1.example.net: refused");
    world.zone[{mx2, RecordType::a}] = failure();
    world.pass(hours(2));
    EXPECT_EQ(world.at(of_domain).kind, Answer::Kind::failed);
}

TEST(Book, AnAnswerStaysAsItWasUntilAllOfTheNextIsKnown) {
    World world;
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}});
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")}, 3600);
    world.zone[{mx1, RecordType::aaaa}] = nothing(Reply::Kind::no_records, 300);
    world.watch({of_domain});
    world.now += minutes(1);
    const auto mx = world.book.next(world.now);
    ASSERT_EQ(mx->type, RecordType::mx);
    world.book.answered(*mx, exchanges({{5, mx2}, {10, mx1}}), world.now);
    world.collect();
    EXPECT_EQ(world.changes, 1U);
    const auto a = world.book.next(world.now);
    world.book.answered(*a, records({ip("192.0.2.2")}), world.now);
    world.collect();
    EXPECT_EQ(world.changes, 1U);
    world.answer();  // and its AAAA
    EXPECT_EQ(world.changes, 2U);
    EXPECT_EQ(world.at(of_domain).hosts.front(), (Host{5, mx2, {ip("192.0.2.2")}}));
}

TEST(Book, QuestionsThatStayKeepWhatTheyKnow) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")}, 600);
    world.zone[{mx1, RecordType::aaaa}] = nothing(Reply::Kind::no_records, 300);
    world.watch({of_mx1, host_question(mx2)});
    world.asked.clear();
    world.changes = 0;
    world.watch({of_mx1, of_mx1});
    EXPECT_THAT(world.asked, IsEmpty());
    EXPECT_EQ(world.changes, 0U);
    // What they share is asked for once, and known to the one that comes before another goes.
    world.zone[{domain, RecordType::mx}] = exchanges({{10, mx1}}, 600);
    world.watch({of_domain, of_mx1});
    EXPECT_THAT(world.asked, ElementsAre(Book::Query{domain, RecordType::mx}));
    world.watch({of_domain});
    world.watch({of_mx1});
    EXPECT_EQ(world.asked.size(), 1U);
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
    world.watch({});
    EXPECT_EQ(world.book.next_due(), std::nullopt);
}

TEST(Book, WhatIsNotWatchedAnyMoreIsIgnored) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")});
    world.book.watch({of_mx1}, world.now);
    const auto query = world.book.next(world.now);
    world.book.watch({}, world.now);
    world.book.answered(*query, records({ip("192.0.2.1")}), world.now);
    EXPECT_THAT(world.book.take_changes(), IsEmpty());
    // Dropped and back while its query was in flight: the first answer is as good as the second.
    world.book.watch({of_mx1}, world.now);
    const auto again = world.book.next(world.now);
    EXPECT_EQ(query, again);
    world.book.answered(*query, records({ip("192.0.2.1")}), world.now);
    world.book.answered(*again, failure(), world.now);
    world.answer();
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
    EXPECT_EQ(world.at(of_mx1).trouble, "");
}

TEST(Book, LostQueriesAreAskedAgain) {
    World world;
    world.zone[{mx1, RecordType::a}] = records({ip("192.0.2.1")});
    world.book.watch({of_mx1}, world.now);
    while (world.book.next(world.now)) {
    }
    EXPECT_EQ(world.book.next_due(), std::nullopt);
    world.book.ask_again(world.now);
    world.answer();
    EXPECT_EQ(world.asked.size(), 2U);
    EXPECT_EQ(world.at(of_mx1).kind, Answer::Kind::hosts);
}

// ---- whatever the DNS does ----

/// What a question's answer is when all of the zone is known: the few obvious lines.
Answer model(const World& world, const Question& question) {
    const auto look_up = [&](const std::string& name, RecordType type) {
        return world.reply_to({name, type});
    };
    std::vector<Exchange> hosts{{0, question.name}};
    bool by_records = false;
    if (question.kind == Question::Kind::mx) {
        const Reply mx = look_up(question.name, RecordType::mx);
        if (mx.kind == Reply::Kind::no_such_name) {
            return {Answer::Kind::no_such_name, {}, {}};
        }
        if (mx.kind == Reply::Kind::records) {
            if (mx.exchanges.size() == 1 && mx.exchanges[0].host.empty()) {
                return {Answer::Kind::null_mx, {}, {}};
            }
            hosts = mx.exchanges;
            by_records = true;
        }
    }
    Answer answer{Answer::Kind::no_addresses, {}, {}};
    for (const Exchange& exchange : hosts) {
        const Reply a = look_up(exchange.host, RecordType::a);
        const Reply aaaa = look_up(exchange.host, RecordType::aaaa);
        Host host{exchange.preference, exchange.host, a.addresses};
        host.addresses.insert(host.addresses.end(), aaaa.addresses.begin(), aaaa.addresses.end());
        if (!host.addresses.empty()) {
            answer.kind = Answer::Kind::hosts;
        } else if (!by_records && a.kind == Reply::Kind::no_such_name) {
            answer.kind = Answer::Kind::no_such_name;
        }
        answer.hosts.push_back(std::move(host));
    }
    return answer;
}

/// Some of six names get other records, or none.
void change_zone(World& world, std::mt19937_64& random) {
    const auto name = [](std::uint64_t i) {
        return std::string(1, static_cast<char>('a' + i % 6));
    };
    const std::string of = name(random());
    const auto ttl_s = static_cast<std::uint32_t>(random() % 400);
    switch (random() % 5) {
        case 0:
            std::erase_if(world.zone, [&](const auto& entry) { return entry.first.name == of; });
            break;
        case 1:
        case 2:
            world.zone[{of, RecordType::a}] =
                records({ip("192.0.2." + std::to_string(random() % 250))}, ttl_s);
            break;
        case 3:
            world.zone[{of, RecordType::aaaa}] = records({ip("2001:db8::1")}, ttl_s);
            break;
        default: {
            std::map<std::string, unsigned> hosts;
            for (std::uint64_t i = random() % 4; i > 0; --i) {
                hosts[name(random())] = static_cast<unsigned>(random() % 3);
            }
            std::vector<Exchange> all;
            for (const auto& [host, preference] : hosts) {
                all.push_back({static_cast<std::uint16_t>(preference), host});
            }
            if (all.empty()) {
                all.push_back({0, ""});
            }
            std::sort(all.begin(), all.end());
            world.zone[{of, RecordType::mx}] = exchanges(std::move(all), ttl_s);
        }
    }
}

TEST(Book, KnowsWhatTheZoneSaysOnceTheTtlsAreOver) {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::mt19937_64 random(seed);
        World world;
        std::vector<Question> questions;
        for (int round = 0; round < 30; ++round) {
            for (std::uint64_t i = random() % 4; i > 0; --i) {
                change_zone(world, random);
            }
            if (random() % 3 == 0) {
                questions.clear();
                for (std::uint64_t i = random() % 6; i > 0; --i) {
                    questions.push_back(
                        {random() % 2 == 0 ? Question::Kind::mx : Question::Kind::address,
                         std::string(1, static_cast<char>('a' + random() % 6))});
                }
                world.watch(questions);
            }
            world.down = random() % 4 == 0;
            world.pass(seconds(random() % 200));
            if (random() % 8 == 0) {
                (void)world.book.next(world.now);  // lost
                world.book.ask_again(world.now);
            }
        }
        world.down = false;
        // A "no" holds 5 minutes at most, records 400 s, a pause 30 s; and what an MX record
        // newly names is asked at once.
        world.pass(minutes(10));
        for (const Question& question : questions) {
            EXPECT_EQ(world.at(question), model(world, question))
                << "seed " << seed << ", " << question.name << ": " << describe(world.at(question))
                << " instead of " << describe(model(world, question));
        }
    }
}

}  // namespace
}  // namespace postern::names

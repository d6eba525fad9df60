#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "relay_fixture.h"

namespace postern::relay {
namespace {

using namespace std::chrono_literals;
using Kind = mail::Outcome::Kind;
using smtp::test::Message;
using test::Dialogue;
using test::Peer;
using test::pipelining;

/// A smart host that takes all it is given, unless told otherwise, and counts.
struct Host {
    Host() : peer([this](Dialogue& d) { serve(d); }) {}

    explicit Host(std::uint16_t port) : peer([this](Dialogue& d) { serve(d); }, port) {}

    void serve(Dialogue& d) {
        {
            const std::lock_guard lock(mutex);
            clients.insert(d.from());
        }
        d.open(capabilities);
        bool refused = false;  // what the transaction has begun with
        for (std::string line = d.line(); !line.empty(); line = d.line()) {
            const std::string verb = line.substr(0, 4);
            if (refused && (verb == "RCPT" || verb == "DATA")) {
                d.say("503 5.5.1 out of order\r\n");
                continue;
            }
            refused = false;
            if (const std::lock_guard lock(mutex); verb == step) {
                d.say(answer + "\r\n");
                if (answer.starts_with("421")) {
                    return;
                }
                refused = verb != "DATA";
                continue;
            }
            if (verb != "DATA") {
                d.say(verb == "QUIT" ? "221 bye\r\n" : "250 ok\r\n");
                continue;
            }
            d.say("354 go\r\n");
            most = std::max<int>(most, ++at_once);
            d.data();
            std::this_thread::sleep_for(pause.load());
            --at_once;
            if (step == "body") {
                d.say(answer + "\r\n");
                if (answer.empty()) {
                    return;
                }
                continue;
            }
            ++taken;
            d.say("250 2.0.0 taken\r\n");
        }
    }

    std::mutex mutex;
    std::string capabilities{pipelining};
    std::string step;    // that `answer` is given to: a verb, or "body"
    std::string answer;  // empty to the body: closes instead
    std::atomic<std::chrono::milliseconds> pause{0ms};
    std::atomic<int> taken = 0;
    std::atomic<int> at_once = 0;
    std::atomic<int> most = 0;
    std::set<std::string> clients;
    Peer peer;
};

class PoolTest : public test::RelayTest {
   protected:
    PoolTest() { timeouts.busy = 10s; }

    void add(const io::Address& address, std::uint32_t level = 0) {
        settings.hosts.push_back({.address = address, .level = level});
    }

    void add(const Host& host, std::uint32_t level = 0) { add(host.peer.address, level); }

    Kind deliver() { return wait_for(submit("x\r\n")).kind; }

    std::vector<Message*> submit_many(int count) {
        std::vector<Message*> sent;
        for (int i = 0; i < count; ++i) {
            sent.push_back(&submit("x\r\n"));
        }
        return sent;
    }

    void expect_accepted(const std::vector<Message*>& sent) {
        for (Message* message : sent) {
            EXPECT_EQ(wait_for(*message).kind, Kind::accepted);
        }
    }

    /// Where nobody listens.
    static io::Address nowhere() {
        const Peer peer([](Dialogue&) {});
        return peer.address;
    }
};

TEST_F(PoolTest, HostsShareABurst) {
    Host a;
    Host b;
    Host c;
    for (Host* host : {&a, &b, &c}) {
        host->pause = 2ms;
        add(*host);
    }
    start();
    expect_accepted(submit_many(120));
    EXPECT_EQ(a.taken + b.taken + c.taken, 120);
    for (const Host* host : {&a, &b, &c}) {
        EXPECT_GE(host->taken, 25);
    }
}

TEST_F(PoolTest, HostsShareWhatComesOneByOne) {
    Host a;
    Host b;
    Host c;
    add(a);
    add(b);
    add(c);
    start();
    for (int i = 0; i < 60; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    for (const Host* host : {&a, &b, &c}) {
        EXPECT_GE(host->taken, 15);
        EXPECT_LE(host->peer.connections(), 2);
    }
}

TEST_F(PoolTest, ASlowHostGetsLess) {
    settings.connections_max = 2;
    Host slow;
    Host quick;
    slow.pause = 50ms;
    quick.pause = 1ms;
    add(slow);
    add(quick);
    start();
    std::vector<Message*> sent = submit_many(4);
    for (std::size_t i = 0; i < 120; ++i) {
        turn_until([&] {
            return std::any_of(sent.begin(), sent.end(), [&](Message* message) {
                return ended[&message->made].released;
            });
        });
        std::erase_if(sent, [&](Message* message) { return ended[&message->made].released; });
        while (sent.size() < 4) {
            sent.push_back(&submit("x\r\n"));
        }
    }
    expect_accepted(sent);
    EXPECT_GT(2 * quick.taken, 3 * slow.taken);
}

TEST_F(PoolTest, WhatTellsOfTheHostSendsTheMessageElsewhere) {
    for (const char* step : {"MAIL", "RCPT", "DATA", "body"}) {
        for (const char* said :
             {"502 no", "503 no", "521 5.3.2 no", "530 5.7.0 who", "538 no", "555 no"}) {
            SCOPED_TRACE(std::string(step) + " " + said);
            settings.hosts.clear();
            Host a;
            Host b;
            a.step = step;
            a.answer = said;
            add(a);
            add(b);
            start();
            for (int i = 0; i < 4; ++i) {
                EXPECT_EQ(deliver(), Kind::accepted);
            }
            EXPECT_EQ(b.taken, 4);
            EXPECT_EQ(troubles.size(), 1U) << "set aside at its first message";
            troubles.clear();
            stop();
        }
    }
}

TEST_F(PoolTest, WhatTellsOfTheMessageIsTheSendersAnswer) {
    for (const char* step : {"MAIL", "RCPT", "DATA", "body"}) {
        for (const char* said :
             {"421 later",
              "450 later",
              "452 later",
              "500 no",
              "501 no",
              "504 no",
              "550 no",
              "554 no"}) {
            SCOPED_TRACE(std::string(step) + " " + said);
            settings.hosts.clear();
            Host a;
            Host b;
            a.step = step;
            a.answer = said;
            add(a);
            add(b, 1);
            start();
            EXPECT_EQ(deliver(), Kind::refused);
            EXPECT_EQ(b.taken, 0);
            EXPECT_TRUE(troubles.empty());
            stop();
        }
    }
}

TEST_F(PoolTest, WhatMayHaveBeenDeliveredGoesNowhereElse) {
    Host a;
    Host b;
    a.step = "body";
    add(a);
    add(b, 1);
    start();
    EXPECT_EQ(deliver(), Kind::unknown);
    EXPECT_EQ(b.taken, 0);
}

TEST_F(PoolTest, AHostThatClosesAtEachMessageIsSetAside) {
    Peer closes([](Dialogue& d) {
        d.open(pipelining);
        d.line();
    });
    Host b;
    add(closes.address);
    add(b);
    start();
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted) << i;
    }
    EXPECT_EQ(b.taken, 20);
    EXPECT_LE(closes.connections(), 4);
}

TEST_F(PoolTest, BackupsAreUsedInOrder) {
    const io::Address first = nowhere();
    const io::Address second = nowhere();
    Host third;
    Host fourth;
    add(first, 0);
    add(second, 1);
    add(third, 2);
    add(fourth, 3);
    start();
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    EXPECT_EQ(third.taken, 5);
    EXPECT_EQ(troubles.size(), 2U);
    // The first comes back: it is tried, and has all the mail again.
    Host back(first.port());
    turn_for(1100ms);
    EXPECT_EQ(deliver(), Kind::accepted);
    EXPECT_TRUE(turn_until([&] { return back.peer.connections() == 1; }));
    turn_for(50ms);
    const int before = third.taken;
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    EXPECT_EQ(back.taken, 5 + 6 - before);
    EXPECT_EQ(fourth.taken, 0);
}

TEST_F(PoolTest, ABackupTakesWhatItsHostClosesAt) {
    Peer closes([](Dialogue& d) {
        d.open(pipelining);
        d.line();
    });
    Host backup;
    add(closes.address, 0);
    add(backup, 1);
    start();
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    EXPECT_EQ(backup.taken, 3);
}

TEST_F(PoolTest, AHostThatComesBackStartsSlowly) {
    const io::Address address = nowhere();
    add(address);
    start();
    EXPECT_EQ(deliver(), Kind::unreachable);
    Host back(address.port());
    back.pause = 20ms;
    turn_for(1050ms);
    EXPECT_EQ(deliver(), Kind::accepted);
    const std::vector<Message*> sent = submit_many(60);
    turn_for(100ms);
    EXPECT_EQ(back.most, 1);
    expect_accepted(sent);
    EXPECT_GE(back.most, 3);
}

TEST_F(PoolTest, ItsRoomSaysWhatWouldBeTried) {
    const io::Address address = nowhere();
    add(address);
    start();
    EXPECT_GT(relay->room(0), 1000U) << "nothing is known against it";
    EXPECT_EQ(deliver(), Kind::unreachable);
    EXPECT_EQ(relay->room(0), 0U);
    EXPECT_EQ(deliver(), Kind::unreachable);
    Host back(address.port());
    back.pause = 50ms;
    EXPECT_TRUE(turn_until([&] { return relay->room(0) > 0; })) << "without any mail";
    EXPECT_EQ(relay->room(0), 1U);
    turn_for(50ms);  // it has answered
    const std::vector<Message*> sent = submit_many(3);
    relay->flush();
    EXPECT_EQ(relay->room(0), 0U) << "the window has one, and others wait";
    expect_accepted(sent);
    EXPECT_TRUE(turn_until([&] { return relay->room(0) > 1; }));
    EXPECT_TRUE(turn_until([&] { return relay->room(0) > 1000; }));
}

TEST_F(PoolTest, ARoomWithoutHosts) {
    settings.hosts = {{.name = "mx.internal"}};
    start();
    EXPECT_EQ(relay->room(0), 1U) << "it is being looked up";
    submit("x\r\n");
    EXPECT_EQ(relay->room(0), 0U);
    relay->set_hosts(0, {}, Absence::unresolved);
    EXPECT_EQ(relay->room(0), 0U);
    relay->set_hosts(0, {}, Absence::null_mx);
    EXPECT_GT(relay->room(0), 1000U) << "it has its answer";
}

TEST_F(PoolTest, ASubmissionMayComeAgainAndHasTheAnswersOfItsLastAttempt) {
    Host host;
    host.capabilities = "250-peer\r\n250-DSN\r\n250 PIPELINING\r\n";
    add(host);
    start();
    const auto script = [&host](const std::string& step, const std::string& answer) {
        const std::lock_guard lock(host.mutex);
        host.step = step;
        host.answer = answer;
    };
    script("RCPT", "450 4.2.1 later");
    Message& message = submit("x\r\n", {"r@x", "q@x"});
    mail::Recipient& first = *message.made.envelope.first_recipient;
    EXPECT_EQ(wait_for(message).kind, Kind::refused);
    EXPECT_EQ(smtp::test::text_of(first.answer), "450 4.2.1 later");
    EXPECT_EQ(smtp::test::text_of(first.next->answer), "503 5.5.1 out of order");
    const auto again = [&] {
        ended.erase(&message.made);
        was_settled[&message.made] = false;
        relay->submit(message.made);
        EXPECT_EQ(first.answer.code, 0);
        return wait_for(message);
    };
    script("MAIL", "450 4.3.0 not now");
    EXPECT_EQ(again().kind, Kind::refused);
    EXPECT_EQ(first.answer.code, 0);
    script("RCPT", "530 5.7.0 who are you");
    EXPECT_EQ(again().kind, Kind::unreachable);
    EXPECT_EQ(first.answer.code, 0) << "that told of the host";
    script("", "");
    EXPECT_TRUE(turn_until([&] { return relay->room(0) > 0; }));
    const test::Ended end = again();
    EXPECT_EQ(end.kind, Kind::accepted);
    EXPECT_TRUE(end.host_has_dsn);
    EXPECT_EQ(first.answer.code, 250);
    EXPECT_EQ(first.next->answer.code, 250);
    EXPECT_EQ(host.taken, 1);
    Host plain;
    relay->set_hosts(0, std::vector<HostAddress>{{plain.peer.address, "", 0}});
    EXPECT_FALSE(wait_for(submit("x\r\n")).host_has_dsn);
}

TEST_F(PoolTest, ASilentHostHoldsUpNobody) {
    Peer silent([](Dialogue& d) { d.ended(); });
    Host b;
    timeouts.connect = 10s;
    add(silent.address);
    add(b);
    start();
    const base::Instant before = ring->now();
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    EXPECT_LT(ring->now() - before, 1s);
    EXPECT_EQ(b.taken, 10);
}

TEST_F(PoolTest, WhatWaitsForAConnectionIsGivenBackAndWhatHasOneIsNot) {
    Host host;
    host.pause = 300ms;
    timeouts.busy = 10s;
    settings.connections_max = 1;
    add(host);
    start();
    std::vector<Message*> all = submit_many(100);  // more than a connection's pipeline takes
    EXPECT_TRUE(turn_until([&] { return host.at_once > 0; }));
    EXPECT_FALSE(relay->take_back(all.front()->made));
    taken_back = &all.back()->made;
    EXPECT_TRUE(relay->take_back(*taken_back));
    EXPECT_TRUE(ended[taken_back].released);
    EXPECT_EQ(taken_back->relay_owner, nullptr);
    host.pause = 0ms;
    all.pop_back();
    expect_accepted(all);
    turn_for(100ms);
    EXPECT_EQ(host.taken, 99);
}

TEST_F(PoolTest, APoolIsSlowWhileItsOldestMessageIsOld) {
    Host host;
    host.pause = 2600ms;
    timeouts = {.connect = 10s, .reply = 10s, .busy = 10s, .data_done = 10s};
    add(host);
    start();
    EXPECT_FALSE(relay->slow(0));
    Message& message = submit("x\r\n");
    turn_for(Relay::slow_after - 200ms);
    EXPECT_FALSE(relay->slow(0));
    turn_for(400ms);
    EXPECT_TRUE(relay->slow(0));
    EXPECT_EQ(wait_for(message).kind, Kind::accepted);
    EXPECT_FALSE(relay->slow(0));
    relay->hold(0);
    EXPECT_EQ(relay->held(0), 1U);
    relay->let_go(0);
}

TEST_F(PoolTest, TheEndDoesNotWaitForASilentHost) {
    Peer silent([](Dialogue& d) { d.ended(); });
    Host b;
    timeouts.connect = 30s;
    add(silent.address);
    add(b);
    start();
    expect_accepted(submit_many(4));
    EXPECT_TRUE(turn_until([&] { return silent.connections() > 0; }));
    relay->shut_down();
    EXPECT_TRUE(turn_until([&] { return relay->idle(); }, 2s));
}

TEST_F(PoolTest, BackupsDoNotWaitForASilentHost) {
    Peer silent([](Dialogue& d) { d.ended(); });
    Host b;
    timeouts.connect = 10s;
    timeouts.busy = 5s;
    add(silent.address);
    add(b, 1);
    start();
    const base::Instant before = ring->now();
    EXPECT_EQ(deliver(), Kind::accepted);
    EXPECT_LT(ring->now() - before, 2s);
}

TEST_F(PoolTest, HealthIsSharedByAllWorkers) {
    Host a;
    add(a);
    start();
    shared::HostFacts& facts = *hosts.take(definition_of(settings), a.peer.address.text());
    ASSERT_TRUE(facts.fail(ring->now(), false));
    EXPECT_EQ(deliver(), Kind::unreachable);
    EXPECT_EQ(a.peer.connections(), 0);
    turn_for(1050ms);
    // Another worker probes.
    ASSERT_TRUE(facts.begin_probe(ring->now(), 30s));
    EXPECT_EQ(deliver(), Kind::unreachable);
    EXPECT_EQ(a.peer.connections(), 0);
    facts.trust(ring->now());
    EXPECT_EQ(deliver(), Kind::accepted);
    hosts.give_back(facts);
}

TEST_F(PoolTest, ConnectionsAreBoundedOverAllWorkersButForEachOnesFirst) {
    Host a;
    a.pause = 20ms;
    settings.connections_max = 3;
    add(a);
    start();
    shared::HostFacts& facts = *hosts.take(definition_of(settings), a.peer.address.text());
    ASSERT_TRUE(facts.add_connection(3));  // another worker's
    expect_accepted(submit_many(12));
    EXPECT_EQ(a.peer.connections(), 2);
    stop();
    ASSERT_TRUE(facts.add_connection(3));
    ASSERT_TRUE(facts.add_connection(3));
    start();
    expect_accepted(submit_many(6));
    EXPECT_EQ(a.peer.connections(), 3) << "one more";
    stop();
    EXPECT_EQ(facts.connections(), 3U);
    EXPECT_EQ(facts.working(), 0U);
    for (int i = 0; i < 3; ++i) {
        facts.remove_connection();
    }
    hosts.give_back(facts);
    EXPECT_EQ(hosts.count(), 0U);
}

TEST_F(PoolTest, HostsChangeAtRunTime) {
    Host a;
    Host b;
    add(a);
    start();
    EXPECT_EQ(deliver(), Kind::accepted);
    const std::vector<HostAddress> both = {
        {a.peer.address, "a.internal", 0}, {b.peer.address, "b.internal", 0}};
    relay->set_hosts(0, both);
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(deliver(), Kind::accepted);
    }
    EXPECT_EQ(a.peer.connections(), 1) << "what stayed has kept its connection";
    EXPECT_GE(b.taken, 3);
    EXPECT_EQ(hosts.count(), 2U);
    // It finishes what it has.
    a.pause = b.pause = 100ms;
    const std::vector<Message*> sent = submit_many(2);
    turn_until([&] { return a.at_once == 1 && b.at_once == 1; });
    relay->set_hosts(0, std::span(both).last(1));
    const int before = a.taken;
    expect_accepted(sent);
    EXPECT_EQ(a.taken, before + 1);
    EXPECT_TRUE(turn_until([&] { return hosts.count() == 1; })) << "then it quits and is freed";
    EXPECT_EQ(deliver(), Kind::accepted);
    EXPECT_EQ(a.taken, before + 1);
    EXPECT_TRUE(troubles.empty());
}

TEST_F(PoolTest, ATroubleNamesTheHostAndTheNameItWasFoundBy) {
    settings.hosts = {{.name = "mx.internal"}};
    start();
    const io::Address address = nowhere();
    relay->set_hosts(0, std::vector<HostAddress>{{address, "mx.internal", 0}});
    EXPECT_EQ(deliver(), Kind::unreachable);
    ASSERT_EQ(trouble_hosts.size(), 1U);
    EXPECT_EQ(trouble_hosts[0], address.text() + " (mx.internal)");
}

TEST_F(PoolTest, APoolWithoutHostsSaysWhy) {
    settings.hosts = {{.name = "mx.internal"}};
    timeouts.busy = 300ms;
    start();
    const base::Instant before = ring->now();
    EXPECT_EQ(deliver(), Kind::unresolved);
    EXPECT_GE(ring->now() - before, timeouts.busy) << "the answer may still come";
    relay->set_hosts(0, {}, Absence::unresolved);
    const base::Instant then = ring->now();
    EXPECT_EQ(deliver(), Kind::unresolved);
    EXPECT_LT(ring->now() - then, timeouts.busy);
    for (const auto& [absence, reply] :
         {std::pair(Absence::null_mx, "556 5.1.10"), std::pair(Absence::own_mx, "554 5.4.6")}) {
        relay->set_hosts(0, {}, absence);
        const auto& told = wait_for(submit("x\r\n"));
        EXPECT_EQ(told.kind, Kind::refused);
        EXPECT_EQ(told.reply.substr(0, told.reply.find(' ', 4)), reply);
    }
    relay->set_hosts(0, {}, Absence::pending);
    Message& waits = submit("x\r\n");
    turn_for(50ms);
    Host a;
    relay->set_hosts(0, std::vector<HostAddress>{{a.peer.address, "mx.internal", 0}});
    EXPECT_EQ(wait_for(waits).kind, Kind::accepted);
}

TEST_F(PoolTest, ARetiredPoolFinishesQuitsAndGivesItsNumberBack) {
    Host a;
    Host b;
    add(a);
    start();
    EXPECT_EQ(deliver(), Kind::accepted);
    a.pause = 50ms;
    Message& last = submit("x\r\n");
    turn_until([&] { return a.at_once == 1; });
    relay->hold(0);
    relay->retire_pool(0);
    settings.hosts.clear();
    add(b);
    EXPECT_EQ(relay->add_pool(settings), 1U);
    EXPECT_EQ(wait_for(last).kind, Kind::accepted);
    EXPECT_TRUE(turn_until([&] { return relay->idle(); }));
    Message& held = submit("x\r\n");
    EXPECT_EQ(wait_for(held).kind, Kind::accepted) << "what was begun with it may still come";
    EXPECT_EQ(a.taken, 3);
    relay->let_go(0);
    EXPECT_TRUE(turn_until([&] { return hosts.count() == 1; }));
    EXPECT_EQ(relay->add_pool(settings), 0U);
    EXPECT_EQ(deliver(), Kind::accepted);
    EXPECT_EQ(b.taken, 1);
    EXPECT_TRUE(troubles.empty());
}

TEST_F(PoolTest, DefinitionsAreEqualOrNot) {
    PoolSettings other = settings;
    EXPECT_EQ(other, settings);
    other.hosts.push_back({.address = *io::Address::parse("10.0.0.1:25")});
    EXPECT_NE(other, settings);
    settings.hosts = other.hosts;
    EXPECT_EQ(other, settings);
    settings.hosts[0].level = 1;
    EXPECT_NE(other, settings);
}

TEST_F(PoolTest, ConnectsFromEachSourceOfTheFamily) {
    Host a;
    a.pause = 20ms;
    settings.source = {
        *io::Address::parse("::1", 0),
        *io::Address::parse("127.0.0.5", 0),
        *io::Address::parse("127.0.0.6", 0)};
    add(a);
    start();
    expect_accepted(submit_many(4));
    const std::lock_guard lock(a.mutex);
    EXPECT_EQ(a.clients, (std::set<std::string>{"127.0.0.5", "127.0.0.6"}));
}

TEST_F(PoolTest, TakesAsManyRecipientsAsTheLeastOfItsHosts) {
    Host a;
    Host b;
    a.capabilities = "250-peer\r\n250 LIMITS RCPTMAX=7 RCPTDOMAINMAX=3\r\n";
    b.capabilities = "250-peer\r\n250 SMTPUTF8\r\n";
    settings.recipients_max = 50;
    add(a);
    add(b);
    start();
    EXPECT_EQ(relay->transaction_max(0).recipients, 50U);
    EXPECT_EQ(relay->transaction_max(0).domains, 0U);
    EXPECT_FALSE(relay->lacks_smtputf8(0)) << "nothing is known";
    expect_accepted(submit_many(2));
    EXPECT_TRUE(turn_until([&] { return relay->transaction_max(0).recipients == 7; }));
    EXPECT_EQ(relay->transaction_max(0).domains, 3U);
    EXPECT_TRUE(turn_until([&] { return !relay->lacks_smtputf8(0); })) << "one of them has it";
}

TEST_F(PoolTest, AMessageOverdueWhileItsHostIsSilentBehindARefusalHasItsAnswerInTime) {
    sync_limit = 400ms;
    timeouts.reply = 5s;
    Peer peer([](Dialogue& d) {
        d.open(pipelining);
        d.line();
        d.say("530 5.7.0 who\r\n");
        d.line();
        d.ended();
    });
    add(peer.address);
    start();
    Message& first = submit("x\r\n");
    Message& second = submit("x\r\n");
    EXPECT_TRUE(
        turn_until([&] { return was_settled[&first.made] && was_settled[&second.made]; }, 1s));
}

}  // namespace
}  // namespace postern::relay

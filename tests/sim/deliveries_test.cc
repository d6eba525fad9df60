#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "postern/log/buffer.h"
#include "postern/shard/worker.h"
#include "postern/spool/segments.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/shard/generations.h"

/// What becomes of mail that is kept: one worker over the simulated ring and disk, with smart hosts
/// that say what a test wants.
namespace postern::sim {
namespace {

using namespace std::chrono_literals;

constexpr int gateway_port = 2500;
constexpr int first_host_port = 2600;

struct Delivery {
    std::vector<std::string> to;
    std::string content;
};

/// A smart host without extensions.
class Host {
   public:
    Host(World& world, int port)
        : listener_(
              world,
              *io::Address::parse("127.0.0.1", static_cast<std::uint16_t>(port)),
              [this, &world](std::shared_ptr<Socket> socket) {
                  ends_.push_back(std::make_unique<End>(*this, world, std::move(socket)));
              }) {}

    /// To a command, or to "." for a body; empty: none yet.
    std::function<std::string(const std::string& line)> answer = [](const std::string&) {
        return std::string("250 2.0.0 ok");
    };
    std::vector<Delivery> taken;

    /// On the connection that was made last.
    void say(const std::string& text) { ends_.back()->say(text); }

    std::size_t times_asked(const std::string& line) const {
        return static_cast<std::size_t>(std::count(asked_.begin(), asked_.end(), line));
    }

   private:
    struct End {
        End(Host& owner, World& world, std::shared_ptr<Socket> socket)
            : host(owner), peer(world, std::move(socket), [this](Peer&) { move(); }) {
            peer.write("220 host.test\r\n");
        }

        void move() {
            for (std::size_t end = peer.received.find("\r\n"); end != std::string::npos;
                 end = peer.received.find("\r\n")) {
                const std::string line = peer.received.substr(0, end);
                peer.received.erase(0, end + 2);
                in_body ? body(line) : command(line);
            }
            if (peer.over()) {
                peer.close();
            }
        }

        void command(const std::string& line) {
            host.asked_.push_back(line);
            if (line.starts_with("EHLO")) {
                peer.write("250 host.test\r\n");
                return;
            }
            if (line == "DATA") {
                in_body = true;
                peer.write("354 go on\r\n");
                return;
            }
            const std::string said = host.answer(line);
            if (line.starts_with("MAIL")) {
                mail = {};
            } else if (line.starts_with("RCPT") && said.starts_with("250")) {
                mail.to.push_back(line.substr(9, line.find('>') - 9));
            }
            say(said);
        }

        void say(const std::string& text) {
            if (!text.empty()) {
                peer.write(text + "\r\n");
            }
        }

        void body(const std::string& line) {
            if (line != ".") {
                mail.content += line + "\r\n";
                return;
            }
            in_body = false;
            const std::string said = host.answer(line);
            if (said.starts_with("250")) {
                host.taken.push_back(mail);
            }
            say(said);
        }

        Host& host;
        bool in_body = false;
        Delivery mail;
        Peer peer;
    };

    std::vector<std::string> asked_;
    std::vector<std::unique_ptr<End>> ends_;
    PeerListener listener_;
};

/// Sends one message, a command behind each answer.
class Sender {
   public:
    Sender(World& world, std::vector<std::string> commands, std::string content)
        : commands_(std::move(commands)),
          content_(std::move(content)),
          peer_(world, *io::Address::parse("127.0.0.1", gateway_port), [this](Peer&) { move(); }) {}

    /// What was said to the message; empty: nothing yet.
    std::string reply;

   private:
    void move() {
        for (std::size_t end = peer_.received.find("\r\n"); end != std::string::npos;
             end = peer_.received.find("\r\n")) {
            const std::string line = peer_.received.substr(0, end);
            peer_.received.erase(0, end + 2);
            if (line.size() > 3 && line[3] == '-') {
                continue;
            }
            if (next_ < commands_.size()) {
                peer_.write(commands_[next_++] + "\r\n");
            } else if (next_++ == commands_.size()) {
                peer_.write(content_ + ".\r\n");
            } else {
                reply = line;
                peer_.close();
            }
        }
    }

    const std::vector<std::string> commands_;
    const std::string content_;
    std::size_t next_ = 0;
    Peer peer_;
};

class NoControl final : public shard::Control {
   public:
    void taken(const shard::Snapshot&) override {}

    void done(const shard::Snapshot&) override {}
};

/// From a start to an orderly end. Mail to a.test goes to host `a`, to b.test to `b`; senders are
/// of s.test, whose host is `s`.
class Life {
   public:
    struct Settings {
        std::string mode = "queue";
        std::string rules = "a.test a\nb.test b\ns.test s\n";
        std::string expire = "5 days";
    };

    explicit Life(const Settings& given)
        : world(1),
          a(world, first_host_port),
          b(world, first_host_port + 1),
          s(world, first_host_port + 2) {
        std::string configuration =
            "[delivery]\nmode = \"" + given.mode + "\"\nhybrid_deadline = \"1 s\"\n";
        configuration +=
            "[retry]\nfirst = \"1 min\"\nmax = \"10 min\"\nexpire = \"" + given.expire + "\"\n";
        configuration += "[limits]\nbody_memory = \"1 MiB\"\n";
        configuration += "[spool]\npath = \"/spool\"\nmin_free = \"1 MiB\"\n";
        for (const char* const name : {"a", "b", "s"}) {
            configuration +=
                shard::test::pool(name, first_host_port + (*name == 's' ? 2 : *name - 'a'));
        }
        snapshot_ = shard::test::snapshot_of(1, configuration, given.rules, {gateway_port});
        common = std::make_unique<shard::Common>(
            snapshot_->config, 100, 1, base::HashKey{}, base::HashKey{});
        std::uint64_t identity = 1;
        shard::identify_pools(*snapshot_, nullptr, identity);
        shard::number_listeners(*snapshot_, nullptr, *common);
        auto opened = spool::Segments::open(
            {.folder = "/spool",
             .min_free = 1 << 20,
             .segment_octets = 256 * 1024,
             .first_octets = 256 * 1024});
        EXPECT_TRUE(opened);
        segments = std::move(*opened);
        common->spool = segments.get();
        shard::WorkerSettings settings;
        settings.bounds = shard::worker_bounds(snapshot_->config, 100);
        settings.listeners = {
            {0, *io::open_listener(*io::Address::parse("127.0.0.1", gateway_port))}};
        worker = std::move(*shard::Worker::create(settings, *snapshot_, *common, control_, lines_));
        prepare_segments();
    }

    /// `recipients`: as RCPT TO: has them, with their parameters.
    Sender& send(
        const std::vector<std::string>& recipients,
        const std::string& mail = "<u@s.test>",
        const std::string& content = "x\r\n") {
        std::vector<std::string> commands{"EHLO c.test", "MAIL FROM:" + mail};
        for (const std::string& recipient : recipients) {
            commands.push_back("RCPT TO:" + recipient);
        }
        commands.emplace_back("DATA");
        return *senders_.emplace_back(
            std::make_unique<Sender>(world, std::move(commands), "Subject: y\r\n\r\n" + content));
    }

    /// Behind the step before it, once the condition holds.
    void when(
        std::function<bool()> holds, std::function<void()> then = [] {}) {
        steps_.push_back({std::move(holds), std::move(then)});
    }

    void after(
        base::Duration pause, std::function<void()> then = [] {}) {
        const auto since = std::make_shared<base::Instant>();
        when(
            [this, since, pause] {
                *since = *since == base::Instant{} ? world.now() : *since;
                return world.now() >= *since + pause;
            },
            std::move(then));
    }

    /// All that waits, or what waits for that domain.
    void remove(bool notify, const std::string& domain = {}) {
        shard::QueueAsk ask;
        ask.filter.domain = domain;
        ask.change = shard::QueueChange::remove;
        ask.notify = notify;
        worker->request_queue(
            ask, [this](const shard::QueueAnswer& answer) { removed += answer.changed; });
    }

    /// What waits, as people see it.
    void look(std::function<void(const std::vector<shard::QueueRow>&)> see) {
        worker->request_queue(
            {}, [see = std::move(see)](const shard::QueueAnswer& answer) { see(answer.rows); });
    }

    void run() {
        take_steps(world.now());
        worker->run();
        EXPECT_TRUE(steps_.empty()) << steps_.size() << " steps were not taken";
        worker.reset();
        segments.reset();
    }

    bool logged(const std::string& event) const {
        const log::Buffer::Pending all = lines_.pending();
        const std::string text = std::string(all.first) + std::string(all.second);
        return text.find("\"event\":\"" + event + "\"") != std::string::npos;
    }

    /// How many of what a host took are notifications of that action.
    static std::ptrdiff_t notices(const Host& host, const std::string& action) {
        return std::count_if(host.taken.begin(), host.taken.end(), [&](const Delivery& each) {
            return each.content.find("\r\nAction: " + action + "\r\n") != std::string::npos;
        });
    }

    World world;
    Host a;
    Host b;
    Host s;
    unsigned removed = 0;
    std::function<void()> behind_step = [] {};  // of the thread of the segments
    std::unique_ptr<shard::Common> common;
    std::unique_ptr<spool::Segments> segments;
    std::unique_ptr<shard::Worker> worker;

   private:
    struct Step {
        std::function<bool()> holds;
        std::function<void()> then;
    };

    void take_steps(base::Instant since) {
        if (!steps_.empty() && steps_.front().holds()) {
            const Step step = std::move(steps_.front());
            steps_.erase(steps_.begin());
            step.then();
            since = world.now();
        }
        if (steps_.empty() || world.now() > since + 10h) {
            worker->request_shutdown();
            return;
        }
        world.at(world.now() + 10ms, [this, since] { take_steps(since); });
    }

    void prepare_segments() {
        const bool more = segments->step();
        behind_step();
        world.at(world.now() + (more ? 1ms : 500ms), [this] {
            if (segments != nullptr) {
                prepare_segments();
            }
        });
    }

    std::unique_ptr<shard::Snapshot> snapshot_;
    log::Buffer lines_{log::Format::json, 1 << 22, -1};
    NoControl control_;
    std::vector<std::unique_ptr<Sender>> senders_;
    std::vector<Step> steps_;
};

/// Refuses `bad` for good and `later` for now.
std::string answer_by_name(const std::string& line) {
    return line.find("<bad@") != std::string::npos     ? "550 5.1.1 unknown"
           : line.find("<later@") != std::string::npos ? "450 4.2.1 later"
                                                       : "250 2.0.0 ok";
}

/// Octets of a dead letter; empty: there is none.
std::vector<std::string> dead_letters() {
    std::vector<std::string> letters;
    for (const auto& [path, file] : Disk::current().files) {
        if (path.starts_with("/spool/dead/")) {
            letters.push_back(file->octets);
        }
    }
    return letters;
}

// --- what is refused while it is being stored ----------------------------------------------------

/// What the sender is told where host `a` says so of <x@a.test> while the message is being stored,
/// which fails or does not, and host `b` refuses <bad@b.test> then. Nobody has it, nor is anybody
/// told of it.
std::string answer_to_a_refusal_while_stored(
    const std::vector<std::string>& recipients, const std::string& said, bool fails) {
    Disk disk;
    Life life({.mode = "hybrid"});
    life.a.answer = [](const std::string& line) {
        return line.find("<x@") != std::string::npos ? "" : "250 2.0.0 ok";
    };
    life.b.answer = [](const std::string& line) {
        return line.find("<bad@") != std::string::npos ? "" : "250 2.0.0 ok";
    };
    Sender& sender = life.send(recipients);
    life.when(
        [&] { return life.a.times_asked("RCPT TO:<x@a.test>") == 1; },
        [&] { disk.hold_writes(true); });
    life.after(3s, [&] {
        if (life.b.times_asked("RCPT TO:<bad@b.test>") != 0) {
            life.b.say("550 5.1.1 unknown");
        }
        life.a.say(said);
    });
    life.after(1s, [&] {
        EXPECT_EQ(sender.reply, "");
        Faults faults;
        faults.write_fails = fails ? 1000 : 0;
        life.world.set_faults(faults);
        disk.hold_writes(false);
    });
    life.after(10s, [&] { life.world.stop_faults(); });
    life.after(20min);
    life.run();
    EXPECT_EQ(life.a.taken.size() + life.b.taken.size() + life.s.taken.size(), 0u);
    EXPECT_EQ(life.a.times_asked("RCPT TO:<x@a.test>"), 1u);
    return sender.reply;
}

TEST(Deliveries, WhatIsRefusedForGoodWhileItIsStoredIsAnsweredSo) {
    for (const bool fails : {false, true}) {
        EXPECT_EQ(
            answer_to_a_refusal_while_stored({"<x@a.test>"}, "550 5.1.1 unknown", fails),
            "550 5.1.1 unknown");
        EXPECT_EQ(
            answer_to_a_refusal_while_stored(
                {"<good@a.test>", "<x@a.test>"}, "550 5.1.1 unknown", fails),
            "451 4.3.0 recipients were answered differently, try again");
    }
}

TEST(Deliveries, WhatAllHostsRefuseForGoodWhileItIsStoredIsAnsweredSo) {
    for (const bool fails : {false, true}) {
        EXPECT_EQ(
            answer_to_a_refusal_while_stored(
                {"<x@a.test>", "<bad@b.test>"}, "554 5.7.1 not this", fails),
            "554 5.7.1 not this");
    }
}

// --- what an operator takes out ------------------------------------------------------------------

TEST(Deliveries, WhatIsRemovedWhileItsSenderIsToldOfAnotherIsNotTriedAgain) {
    for (const bool notify : {false, true}) {
        Disk disk;
        Life life({});
        const auto asked = [&] { return life.a.times_asked("RCPT TO:<later@a.test>"); };
        life.a.answer = [&](const std::string& line) {
            disk.hold_writes(asked() == 1);
            return answer_by_name(line);
        };
        life.send({"<bad@a.test>", "<later@a.test>"});
        life.when([&] { return asked() == 1; });
        life.after(1s, [&] { life.remove(notify); });
        life.after(1s, [&] { disk.hold_writes(false); });
        life.after(20min);
        life.run();
        EXPECT_EQ(life.removed, 1u);
        EXPECT_EQ(asked(), 1u);
        EXPECT_TRUE(life.logged("removed"));
        EXPECT_EQ(life.notices(life.s, "failed"), notify ? 2 : 1);
    }
}

TEST(Deliveries, WhatIsRemovedStaysSoThoughItsSenderCanNotBeToldYet) {
    Disk disk;
    Life life({});
    life.a.answer = answer_by_name;
    life.send({"<later@a.test>"});
    const auto asked = [&] { return life.a.times_asked("RCPT TO:<later@a.test>"); };
    life.when([&] { return asked() == 1; });
    life.after(1s, [&] {
        Faults faults;
        faults.write_fails = 1000;
        life.world.set_faults(faults);
        life.remove(true);
    });
    life.after(20s, [&] {
        EXPECT_TRUE(life.logged("notification"));
        life.world.stop_faults();
        life.a.answer = [](const std::string&) { return "250 2.0.0 ok"; };
    });
    life.after(20min);
    life.run();
    EXPECT_EQ(asked(), 1u);
    EXPECT_EQ(life.a.taken.size(), 0u);
    EXPECT_EQ(life.notices(life.s, "failed"), 1);
}

TEST(Deliveries, WhoIsToBeToldOfARemovalIsToldBehindARestart) {
    Disk disk;
    {
        Life life({});
        life.a.answer = answer_by_name;
        life.b.answer = [](const std::string& line) {
            return line.starts_with("RCPT") ? "" : "250 2.0.0 ok";
        };
        life.send({"<later@a.test>"});
        shared::BudgetLease greedy(life.common->bodies, 100);
        const auto no_memory = [&] {
            while (greedy.take(0, 64 * 1024, true)) {
            }
        };
        life.when([&] { return life.a.times_asked("RCPT TO:<later@a.test>") == 1; });
        // What may be loaded though memory is short waits for its host.
        life.after(1s, [&] { life.send({"<x@b.test>"}); });
        life.when([&] { return life.b.times_asked("RCPT TO:<x@b.test>") == 1; });
        life.after(1s, no_memory);
        life.when([&] { return life.b.times_asked("RCPT TO:<x@b.test>") == 2; });
        life.after(1s, [&] { life.remove(true, "a.test"); });
        life.after(1s);
        life.run();
        EXPECT_EQ(life.removed, 1u);
        EXPECT_EQ(life.s.taken.size(), 0u);
        greedy.give_back(0, greedy.used());
    }
    Life life({});
    life.after(20min);
    life.run();
    EXPECT_EQ(life.a.taken.size(), 0u);
    EXPECT_EQ(life.b.taken.size(), 1u);
    EXPECT_EQ(life.notices(life.s, "failed"), 1);
}

TEST(Deliveries, WhatIsRemovedWhileAHostHasItIsAsTheHostSays) {
    for (const char* const said : {"250 2.0.0 taken", "450 4.2.1 later"}) {
        Disk disk;
        Life life({});
        life.a.answer = [](const std::string& line) { return line == "." ? "" : "250 2.0.0 ok"; };
        life.send({"<x@a.test>"});
        life.when([&] { return life.a.times_asked("DATA") == 1; });
        life.after(1s, [&] { life.remove(true); });
        life.after(1s, [&] { life.a.say(said); });
        life.after(20min);
        life.run();
        EXPECT_EQ(life.removed, 1u);
        EXPECT_EQ(life.a.times_asked("DATA"), 1u);
        EXPECT_EQ(life.notices(life.s, "failed"), said[0] == '2' ? 0 : 1) << said;
    }
}

// --- who is told of a delay ----------------------------------------------------------------------

TEST(Deliveries, OfADelayIsToldOnceAndOnlyWhoAskedForIt) {
    Disk disk;
    Life life({});
    life.a.answer = answer_by_name;
    std::vector<const Sender*> ask;
    for (int i = 0; i < 30; ++i) {
        life.after(1s, [&] {
            ask.push_back(&life.send({"<later@a.test> NOTIFY=DELAY"}));
            life.send({"<good@a.test> NOTIFY=DELAY"});
            life.send({"<later@a.test>"});
        });
    }
    std::ptrdiff_t taken = 0;
    life.after(3h, [&] {
        EXPECT_EQ(life.s.taken.size(), 0u);
        taken = std::count_if(ask.begin(), ask.end(), [](const Sender* each) {
            return each->reply.starts_with("250");
        });
    });
    life.after(6h);
    life.run();
    EXPECT_GT(taken, 10);
    EXPECT_EQ(life.notices(life.s, "delayed"), taken);
    EXPECT_EQ(life.s.taken.size(), static_cast<std::size_t>(taken));
}

TEST(Deliveries, NobodyIsToldOfADelayWhileItShutsDown) {
    Disk disk;
    {
        Life life({});
        life.a.answer = answer_by_name;
        life.b.answer = [](const std::string& line) { return line == "." ? "" : "250 2.0.0 ok"; };
        life.send({"<later@a.test> NOTIFY=DELAY"});
        life.after(4h - 10s, [&] { life.send({"<x@b.test>"}); });
        life.when([&] { return life.b.times_asked("DATA") == 1; });
        life.run();  // and waits for that host
        EXPECT_FALSE(life.logged("notification"));
    }
    Life life({});
    life.a.answer = answer_by_name;
    life.after(1min);
    life.after(5h);
    life.run();
    EXPECT_EQ(life.notices(life.s, "delayed"), 1);
}

// --- notifications that are lost, and that nobody takes ------------------------------------------

TEST(Deliveries, AFailureIsToldOnceThoughAnotherNoticeIsLost) {
    Disk disk;
    Life life({.rules = "a.test a\nb.test b\n"});  // nowhere leads to the sender
    life.a.answer = answer_by_name;
    life.behind_step = [&] {
        if (dead_letters().size() == 1) {
            Faults faults;
            faults.create_fails = 1000;
            life.world.set_faults(faults);
        }
    };
    life.send({"<bad@a.test>", "<good@a.test> NOTIFY=SUCCESS"});
    life.when([&] { return !dead_letters().empty(); });
    life.after(10s, [&] {
        life.behind_step = [] {};
        life.world.stop_faults();
    });
    life.after(20min);
    life.run();
    ASSERT_EQ(dead_letters().size(), 1u);
    EXPECT_NE(dead_letters()[0].find("Action: failed"), std::string::npos);
    EXPECT_EQ(life.a.times_asked("RCPT TO:<bad@a.test>"), 1u);
    EXPECT_EQ(life.a.taken.size(), 1u);
}

TEST(Deliveries, ANotificationThatNobodyTakesInTimeIsBuriedWhole) {
    Disk disk;
    Life life({.expire = "1 h"});
    life.a.answer = [](const std::string&) { return "550 5.1.1 no"; };
    life.s.answer = [](const std::string&) { return "450 4.2.1 later"; };
    std::string content;
    for (int i = 0; i < 900; ++i) {
        content +=
            "line " + std::to_string(i) + " of a body that fills a notification to the brim\r\n";
    }
    life.send({"<x@a.test>"}, "<u@s.test> RET=FULL", content.substr(0, 50'000) + "\r\n");
    life.when([&] { return life.logged("notification"); });
    life.after(55min, [&] {
        Faults faults;
        faults.read_fails = 1000;
        life.world.set_faults(faults);
    });
    // The disk does not give it now: that is no end.
    life.after(10min, [&] {
        EXPECT_TRUE(life.logged("unreadable"));
        EXPECT_TRUE(dead_letters().empty());
        life.world.stop_faults();
    });
    life.after(20min);
    life.run();
    ASSERT_EQ(dead_letters().size(), 1u);
    const std::string letter = dead_letters()[0];
    EXPECT_GT(letter.size(), 50u * 1024);
    EXPECT_NE(letter.find("line 0 of"), std::string::npos);
    EXPECT_EQ(letter.substr(letter.size() - 4), "--\r\n");
}

}  // namespace
}  // namespace postern::sim

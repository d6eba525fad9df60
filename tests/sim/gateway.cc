#include "tests/sim/gateway.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "postern/log/buffer.h"
#include "postern/shard/worker.h"
#include "postern/spool/segments.h"
#include "tests/sim/host_end.h"
#include "tests/sim/sim_disk.h"
#include "tests/unit/shard/generations.h"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using smtp::test::HostModel;

constexpr std::uint64_t segment_octets = 256 * 1024;
constexpr std::uint64_t disk_octets = std::uint64_t{1} << 30;
/// A host's answer comes, and is on the disk, in less.
constexpr base::Duration told_within = 3s;
constexpr int gateway_port = 2500;
constexpr int first_host_port = 2600;
constexpr std::size_t log_octets = std::size_t{1} << 22;

struct PowerCut {};

/// What one sender sent, and what it was told.
struct Sent {
    std::string token;
    std::string from;  // empty: the null sender
    std::string content;
    std::vector<std::string> accepted;  // recipients, by RCPT's answer
    int code = 0;                       // of the answer to the body; 0: none came
    base::Instant whole{};              // the body was written
    base::Instant told{};               // the answer came
    unsigned life = 0;
};

/// Sends one message behind the other on a connection, whatever is said to it.
class Sender {
   public:
    Sender(
        World& world,
        const io::Address& to,
        std::vector<Sent*> messages,
        std::vector<std::vector<std::string>> recipients)
        : world_(world),
          messages_(std::move(messages)),
          recipients_(std::move(recipients)),
          peer_(world, to, [this](Peer&) { move(); }) {}

   private:
    enum class Step { greeting, ehlo, mail, rcpt, data, body };

    void move() {
        for (std::size_t end = peer_.received.find("\r\n"); end != std::string::npos && !over_;
             end = peer_.received.find("\r\n")) {
            const std::string line = peer_.received.substr(0, end);
            peer_.received.erase(0, end + 2);
            if (line.size() < 4 || line[3] == ' ') {
                answered(std::atoi(line.c_str()));
            }
        }
        if (!over_ && peer_.over()) {
            end();
        }
    }

    void end() {
        over_ = true;
        peer_.close();
    }

    void answered(int code) {
        if (code == 421) {
            if (step_ == Step::body && current_ < messages_.size()) {
                messages_[current_]->code = code;
            }
            end();
            return;
        }
        switch (step_) {
            case Step::greeting:
                peer_.write("EHLO sender.test\r\n");
                step_ = Step::ehlo;
                return;
            case Step::ehlo:
                begin();
                return;
            case Step::mail:
                if (code != 250) {
                    next();
                    return;
                }
                step_ = Step::rcpt;
                say_recipient();
                return;
            case Step::rcpt:
                if (code == 250) {
                    messages_[current_]->accepted.push_back(recipients_[current_][recipient_]);
                }
                ++recipient_;
                say_recipient();
                return;
            case Step::data:
                if (code != 354) {
                    messages_[current_]->code = code;
                    next();
                    return;
                }
                step_ = Step::body;
                messages_[current_]->whole = world_.now();
                peer_.write(messages_[current_]->content + ".\r\n");
                return;
            case Step::body:
                messages_[current_]->code = code;
                messages_[current_]->told = world_.now();
                next();
                return;
        }
    }

    void say_recipient() {
        if (recipient_ < recipients_[current_].size()) {
            peer_.write("RCPT TO:<" + recipients_[current_][recipient_] + ">\r\n");
        } else if (messages_[current_]->accepted.empty()) {
            next();
        } else {
            step_ = Step::data;
            peer_.write("DATA\r\n");
        }
    }

    void next() {
        ++current_;
        if (current_ == messages_.size()) {
            end();
            return;
        }
        peer_.write("RSET\r\n");
        step_ = Step::ehlo;
    }

    void begin() {
        recipient_ = 0;
        step_ = Step::mail;
        peer_.write("MAIL FROM:<" + messages_[current_]->from + ">\r\n");
    }

    World& world_;
    const std::vector<Sent*> messages_;
    const std::vector<std::vector<std::string>> recipients_;
    Step step_ = Step::greeting;
    std::size_t current_ = 0;
    std::size_t recipient_ = 0;
    bool over_ = false;
    Peer peer_;
};

class NoControl final : public shard::Control {
   public:
    void taken(const shard::Snapshot&) override {}

    void done(const shard::Snapshot&) override {}
};

/// What a life leaves behind when the power is cut: nothing of it may run any more, and nobody
/// takes it apart. Kept, so that no leak is seen in it.
struct Wreck {
    std::unique_ptr<shard::Worker> worker;
    std::unique_ptr<spool::Segments> segments;
};

struct Life {
    std::uint64_t identity = 1;
    std::unique_ptr<shard::Snapshot> snapshot;
    std::unique_ptr<shard::Snapshot> next;  // by a reload
    std::unique_ptr<shard::Common> common;
    std::unique_ptr<log::Buffer> lines;
    std::unique_ptr<spool::Segments> segments;
    std::unique_ptr<shard::Worker> worker;
};

std::vector<Wreck>& wrecks() {
    static auto* const all = new std::vector<Wreck>;
    return *all;
}

class Gateway {
   public:
    explicit Gateway(std::uint64_t seed, std::FILE* log) : log_(log), choices_(seed) {
        lossless_ = choices_.chance(1, 4);
        quiet_ = choices_.chance(1, 6);
        const char* const modes[] = {"sync", "hybrid", "queue"};
        const bool passes = choices_.chance(1, 2);
        deadline_ = choices_.chance(1, 3) ? 20s : choices_.chance(1, 2) ? 1s : 100ms;
        const std::size_t mode = choices_.chance(1, 6) ? 0 : 1 + choices_.below(2);
        trusted_ = choices_.chance(1, 2);
        hybrid_ = mode == 1;
        configuration_ = fmt::format(
            "[delivery]\nmode = \"{}\"\nhybrid_deadline = \"{} ms\"\ndefer = \"{}\"\n",
            modes[mode],
            base::to_ms(deadline_),
            passes ? "pass" : "spool");
        configuration_ += trusted_ ? "[relay]\nnetworks = [\"10.0.0.0/8\"]\n" : "";
        configuration_ += "[retry]\nfirst = \"10 s\"\nmax = \"2 min\"\n";
        configuration_ += fmt::format(
            "[limits]\nbody_memory = \"{}\"\nconnections_per_client = 0\n",
            choices_.chance(1, 4) ? "1 MiB" : "16 MiB");
        configuration_ += "[spool]\npath = \"/spool\"\nmin_free = \"1 MiB\"\n";
        for (std::size_t i = 0; i < 3; ++i) {
            Host& host = hosts_[i];
            host.manners.helo = "gw.test";
            host.manners.pipelining = choices_.chance(3, 4);
            host.manners.chunking = choices_.chance(1, 2);
            if (!quiet_) {
                host.manners.refuse_percent = choices_.chance(1, 2) ? 0 : 15;
            }
            if (!quiet_ && !lossless_) {
                host.manners.trouble_percent = choices_.chance(4, 5) ? 0 : 10;
                host.manners.close_percent = choices_.chance(2, 3) ? 0 : 5;
                host.manners.garbage_percent = choices_.chance(3, 4) ? 0 : 2;
            }
            const std::string name(1, static_cast<char>('a' + i));
            configuration_ += shard::test::pool(
                name,
                first_host_port + static_cast<int>(i),
                std::string(choices_.chance(1, 3) ? "recipients_max = 1\n" : "") +
                    (choices_.chance(1, 4) ? "connections = 1\n" : "") +
                    (choices_.chance(1, 4) ? "pipeline = 1\n" : ""));
        }
    }

    GatewayRun run() {
        const unsigned lives = 1 + static_cast<unsigned>(choices_.below(4));
        for (unsigned life = 0; life < lives && run_.wrong.empty(); ++life) {
            live(life, life + 1 == lives);
        }
        check();
        run_.lives = lives;
        run_.writes = disk_.writes();
        return run_;
    }

   private:
    struct Taken {
        smtp::test::Delivery delivery;
        base::Instant at;
    };

    struct Host {
        HostModel::Manners manners;
        std::unique_ptr<PeerListener> listener;
    };

    /// From a start to a power cut, or to an orderly end.
    void live(unsigned life, bool last) {
        Faults faults = quiet_ ? Faults{} : Faults::draw(choices_);
        if (lossless_) {
            faults.cuts = 0;
            faults.refusals = 0;
            faults.write_fails = faults.short_writes = faults.read_fails = faults.create_fails = 0;
        }
        faults.cut_octets_max = 20'000;
        World world(choices_.next(), faults);
        world_ = &world;
        world.step(resume_);
        world.set_wall_clock(wall_offset_);
        disk_.set_octets_max(disk_octets);
        for (std::size_t i = 0; i < 3; ++i) {
            come_back(i);
        }

        Life all;
        all.snapshot = shard::test::snapshot_of(
            1, configuration_, "a.test a\nb.test b\ns.test c\n", {gateway_port});
        all.common = std::make_unique<shard::Common>(
            all.snapshot->config, 100, 1, base::HashKey{}, base::HashKey{});
        shard::identify_pools(*all.snapshot, nullptr, all.identity);
        shard::number_listeners(*all.snapshot, nullptr, *all.common);
        for (int tries = 0; all.segments == nullptr; ++tries) {  // somebody starts it again
            auto segments = spool::Segments::open(
                {.folder = "/spool",
                 .min_free = 1 << 20,
                 .workers = 1,
                 .segment_octets = segment_octets,
                 .first_octets = segment_octets / 4});
            if (segments) {
                all.segments = std::move(*segments);
            } else if (tries == 100) {
                run_.wrong += "the spool is never opened: " + segments.error().text + "\n";
                return;
            }
        }
        all.common->spool = all.segments.get();
        serve(world, all, life, last);
    }

    void serve(World& world, Life& all, unsigned life, bool last) {
        all.lines = std::make_unique<log::Buffer>(log::Format::json, log_octets, -1);
        const io::Address address = *io::Address::parse("127.0.0.1", gateway_port);
        shard::WorkerSettings settings;
        settings.bounds = shard::worker_bounds(all.snapshot->config, 100);
        if (choices_.chance(1, 5)) {  // places for messages are short
            settings.bounds.submissions = 1 + static_cast<std::uint32_t>(choices_.below(5));
        }
        if (choices_.chance(1, 8)) {
            settings.bounds.connections = 1 + static_cast<std::uint32_t>(choices_.below(3));
        }
        if (choices_.chance(1, 2)) {  // even small ones go to the disk as they arrive
            settings.piece_octets = 200 + choices_.below(3000);
        }
        settings.listeners = {{0, *io::open_listener(address)}};
        auto made =
            shard::Worker::create(settings, *all.snapshot, *all.common, control_, *all.lines);
        POSTERN_ASSERT(made, "a worker can be made on the simulated ring");
        all.worker = std::move(*made);
        prepare_segments(*all.segments);

        const std::size_t senders = 1 + choices_.below(6);
        for (std::size_t i = 0; i < senders; ++i) {
            world.at(
                world.now() + base::Duration(choices_.below(20'000'000'000)),
                [this, &world, address, life] { send(world, address, life); });
        }
        if (!lossless_) {
            for (std::size_t i = 0; i < choices_.below(4); ++i) {
                world.at(world.now() + base::Duration(choices_.below(60'000'000'000)), [this] {
                    const std::size_t host = choices_.below(3);
                    hosts_[host].listener == nullptr ? come_back(host) : die(host);
                });
            }
        }
        if (!lossless_ && choices_.chance(1, 4)) {
            world.at(world.now() + base::Duration(choices_.below(40'000'000'000)), [this] {
                disk_.set_octets_max(choices_.below(2'000'000));  // full, or nearly
            });
            world.at(world.now() + 45s, [this] { disk_.set_octets_max(disk_octets); });
        }
        if (choices_.chance(1, 3)) {
            world.at(world.now() + base::Duration(choices_.below(60'000'000'000)), [this, &all] {
                reload(all);
            });
        }
        if (choices_.chance(1, 3)) {
            for (std::size_t i = 0; i < 1 + choices_.below(3); ++i) {
                world.at(
                    world.now() + base::Duration(choices_.below(90'000'000'000)),
                    [this, &world] { set_wall_clock(world); });
            }
        }
        if (!last) {
            world.at(world.now() + base::Duration(choices_.below(60'000'000'000)), [] {
                throw PowerCut();
            });
        } else {
            world.at(world.now() + 90s, [this, &world] { recover(world); });
            world.at(world.now() + 90s + 40min, [&all] { all.worker->request_shutdown(); });
        }
        try {
            all.worker->run();
        } catch (const PowerCut&) {
            cut(world, all);
            return;
        } catch (const NoEnd&) {
            run_.wrong += "it turns without end, and does nothing\n";
            cut(world, all);
            return;
        }
        all.worker.reset();
        all.segments.reset();
        clear(all);
        if (disk_.open_descriptors() != 0) {
            run_.wrong += fmt::format(
                "{} descriptors of files are open at the end\n", disk_.open_descriptors());
        }
        resume_ = world.now() + 1s;
    }

    void cut(World& world, Life& all) {
        disk_.cut_power(choices_);
        cuts_.push_back(world.now());
        resume_ = world.now() + 5s;
        clear(all);
        wrecks().push_back({std::move(all.worker), std::move(all.segments)});
    }

    /// All is well from here on.
    void recover(World& world) {
        world.stop_faults();
        for (std::size_t i = 0; i < 3; ++i) {
            hosts_[i].manners.refuse_percent = hosts_[i].manners.trouble_percent = 0;
            hosts_[i].manners.close_percent = hosts_[i].manners.garbage_percent = 0;
            if (!lossless_) {
                die(i);
                come_back(i);
            }
        }
    }

    /// The domains change places: what waits for one pool waits for the other.
    void reload(Life& all) {
        all.next = shard::test::snapshot_of(
            2, configuration_, "b.test a\na.test b\ns.test c\n", {gateway_port});
        shard::identify_pools(*all.next, all.snapshot.get(), all.identity);
        shard::number_listeners(*all.next, all.snapshot.get(), *all.common);
        all.worker->publish(*all.next, {});
    }

    /// Somebody sets the wall clock, or what keeps it has gone wrong: by moments, hours or days,
    /// either way, or right again.
    void set_wall_clock(World& world) {
        const base::Duration by[] = {0s, 1s, 1h, 24h};
        wall_offset_ = by[choices_.below(4)] * static_cast<std::int64_t>(choices_.below(10));
        if (choices_.chance(1, 2)) {
            wall_offset_ = -wall_offset_;
        }
        world.set_wall_clock(wall_offset_);
    }

    void prepare_segments(spool::Segments& segments) {
        const bool more = segments.step();
        world_->at(
            world_->now() + (more ? base::Duration(choices_.below(5'000'000)) : 500ms),
            [this, &segments] { prepare_segments(segments); });
    }

    void send(World& world, const io::Address& address, unsigned life) {
        std::vector<Sent*> messages;
        std::vector<std::vector<std::string>> recipients;
        for (std::size_t i = 0; i < 1 + choices_.below(5); ++i) {
            Sent& sent = sent_.emplace_back();
            sent.token = fmt::format("tok-{}.", sent_.size());
            sent.life = life;
            sent.from = choices_.chance(1, 10) ? "" : fmt::format("u{}@s.test", sent_.size());
            sent.content = "Subject: " + sent.token + "\r\n\r\n";
            const std::size_t lines =
                choices_.chance(1, 10) ? choices_.below(6000) : choices_.below(60);
            for (std::size_t line = 0; line < lines; ++line) {
                sent.content += fmt::format("{} line {} of {}\r\n", sent.token, line, lines);
            }
            messages.push_back(&sent);
            std::vector<std::string>& to = recipients.emplace_back();
            for (std::size_t r = 0; r < 1 + choices_.below(3); ++r) {
                to.push_back(fmt::format("r{}@{}.test", r, choices_.chance(2, 3) ? 'a' : 'b'));
            }
        }
        senders_.push_back(
            std::make_unique<Sender>(world, address, std::move(messages), std::move(recipients)));
    }

    void come_back(std::size_t number) {
        Host& host = hosts_[number];
        host.listener = std::make_unique<PeerListener>(
            *world_,
            *io::Address::parse("127.0.0.1", static_cast<std::uint16_t>(first_host_port + number)),
            [this, number](std::shared_ptr<Socket> socket) {
                ends_.push_back(std::make_unique<HostEnd>(
                    *world_, std::move(socket), number, hosts_[number].manners));
            });
    }

    void die(std::size_t number) {
        hosts_[number].listener.reset();
        cut_off(ends_, number);
    }

    /// What hosts and senders are left of a life goes, and what the hosts have said yes to stays.
    void clear(const Life& life) {
        if (log_ != nullptr) {
            const log::Buffer::Pending lines = life.lines->pending();
            for (const std::string_view run : {lines.first, lines.second}) {
                std::fwrite(run.data(), 1, run.size(), log_);
            }
            std::fputs("---\n", log_);
        }
        for (const auto& end : ends_) {
            if (!end->model.breach.empty()) {
                run_.wrong += "a host: " + end->model.breach + "\n";
            }
            for (std::size_t i = 0; i < end->model.deliveries.size(); ++i) {
                deliveries_.push_back({std::move(end->model.deliveries[i]), end->taken_at[i]});
            }
            for (std::size_t i = 0; i < end->model.refused.size(); ++i) {
                const auto& [from, to] = end->model.refused[i];
                refused_at_.emplace(std::pair(from, to), end->refused_at[i]);
            }
        }
        for (Host& host : hosts_) {
            host.listener.reset();
        }
        ends_.clear();
        senders_.clear();
    }

    /// Of the message, or of the one that a notification tells of: that returns its header, or says
    /// but who sent it, where the disk did not give that.
    static std::string token_in(const std::string& content) {
        if (const std::size_t at = content.find("Subject: tok-"); at != std::string::npos) {
            return content.substr(at + 9, content.find("\r\n", at) - at - 9);
        }
        const std::size_t at = content.find("To: <u");
        return at == std::string::npos
                   ? ""
                   : "tok-" + content.substr(at + 6, content.find('@', at) - at - 6) + ".";
    }

    void check() {
        // Recipients that were delivered, and notifications, by the message's token.
        std::map<std::string, std::multiset<std::string>> arrived;
        std::set<std::string> cut_short;  // tokens of what came just before a power cut
        std::map<std::string, std::vector<std::string>> notified;
        std::map<std::string, const Sent*> by_token;
        for (const Sent& sent : sent_) {
            by_token[sent.token] = &sent;
        }
        for (const auto& [delivery, taken_at] : deliveries_) {
            const std::size_t at = delivery.body.find("Subject: tok-");
            const std::string token = token_in(delivery.body);
            if (!by_token.contains(token)) {
                run_.wrong +=
                    "a message arrived that nobody sent: " + delivery.body.substr(0, 200) + "\n";
                continue;
            }
            if (delivery.from.empty() &&
                delivery.body.find("multipart/report") != std::string::npos) {
                notified[token].push_back(delivery.body);
                continue;
            }
            const Sent& sent = *by_token[token];
            if (delivery.from != sent.from ||
                delivery.body.substr(std::min(delivery.body.size(), at)) != sent.content ||
                !delivery.body.starts_with("Received: ")) {
                run_.wrong += token + " arrived damaged\n";
            }
            arrived[token].insert(delivery.to.begin(), delivery.to.end());
            // Its answer is on the way, or what it said is not on the disk yet.
            if (std::any_of(cuts_.begin(), cuts_.end(), [at = taken_at](base::Instant cut) {
                    return at <= cut && cut <= at + told_within;
                })) {
                cut_short.insert(token);
            }
        }
        for (const auto& [token, bodies] : notified) {
            run_.notified += static_cast<unsigned>(bodies.size());
        }
        for (const auto& [path, file] : disk_.files) {  // of notifications that nobody took
            if (const std::string token = token_in(file->octets);
                path.starts_with("/spool/dead/") && !token.empty()) {
                notified[token].push_back(file->octets);
            }
        }
        const std::set<std::string> in_spool = look_into_spool();
        for (const Sent& sent : sent_) {
            const bool exact = lossless_ && !cut_short.contains(sent.token);
            ++run_.messages;
            run_.promised += sent.code == 250 ? 1 : 0;
            const std::multiset<std::string>& got = arrived[sent.token];
            std::map<std::string, std::size_t> wanted;  // a recipient named twice counts twice
            for (const std::string& recipient : sent.accepted) {
                ++wanted[recipient];
            }
            for (const auto& [recipient, times] : wanted) {
                const std::size_t count = got.count(recipient);
                run_.delivered += static_cast<unsigned>(count);
                run_.twice += count > times ? 1 : 0;
                const bool told = std::any_of(
                    notified[sent.token].begin(), notified[sent.token].end(), [&](auto& body) {
                        return body.find("; " + recipient + "\r\n") != std::string::npos;
                    });
                if (sent.code == 250 && count == 0 && !told && !in_spool.contains(sent.token) &&
                    !sent.from.empty()) {
                    run_.wrong += fmt::format(
                        "{} from <{}> to {}, of life {}, was promised and is lost\n",
                        sent.token,
                        sent.from,
                        recipient,
                        sent.life);
                }
                if (exact && count > times) {
                    run_.wrong +=
                        fmt::format("{} came {} times to {}\n", sent.token, count, recipient);
                }
                if (exact && told && !trusted_ && hybrid_ && was_refused_first(sent, recipient)) {
                    run_.wrong += fmt::format(
                        "{} was refused to {} at RCPT, and its sender was notified\n",
                        sent.token,
                        recipient);
                }
                if (exact && sent.code >= 400 && count > 0) {
                    run_.wrong += fmt::format(
                        "{} was refused with {} and came to {}\n",
                        sent.token,
                        sent.code,
                        recipient);
                }
            }
            for (const std::string& recipient : got) {
                if (!wanted.contains(recipient)) {
                    run_.wrong += sent.token + " came to " + recipient + ", who was not named\n";
                }
            }
        }
    }

    /// Before its sender was told anything, and in time.
    bool was_refused_first(const Sent& sent, const std::string& recipient) const {
        const auto [begin, end] = refused_at_.equal_range(std::pair(sent.from, recipient));
        return sent.told < sent.whole + deadline_ &&
               std::any_of(begin, end, [&](const auto& one) { return one.second < sent.told; });
    }

    /// Tokens of what is still kept. Behind an orderly end nothing should be.
    std::set<std::string> look_into_spool() {
        std::set<std::string> tokens;
        World world(1);
        const auto archive = spool::Archive::open("/spool");
        if (!archive) {
            run_.wrong += "the spool can not be read: " + archive.error().text + "\n";
            return tokens;
        }
        for (const spool::Kept* kept : archive->messages()) {
            const auto content = archive->content(*kept);
            if (!content) {
                run_.wrong += "a kept message can not be read: " + content.error().text + "\n";
                continue;
            }
            const std::size_t at = content->find("Subject: tok-");
            run_.wrong += "left in the spool: " +
                          (at == std::string::npos ? std::string("?") : content->substr(at, 20)) +
                          "\n";
            if (at != std::string::npos) {
                tokens.insert(content->substr(at + 9, content->find("\r\n", at + 9) - at - 9));
            }
        }
        return tokens;
    }

    std::FILE* const log_;
    io::Random choices_;
    bool lossless_ = false;  // nothing happens behind which an answer may be lost
    bool quiet_ = false;     // nothing goes wrong at all
    bool trusted_ = false;   // the senders
    bool hybrid_ = false;
    base::Duration deadline_{};
    std::string configuration_;
    Disk disk_{disk_octets};
    World* world_ = nullptr;
    NoControl control_;
    Host hosts_[3];
    std::vector<std::unique_ptr<HostEnd>> ends_;
    std::vector<Taken> deliveries_;
    std::multimap<std::pair<std::string, std::string>, base::Instant> refused_at_;  // at RCPT
    std::vector<base::Instant> cuts_;
    std::deque<Sent> sent_;
    std::vector<std::unique_ptr<Sender>> senders_;
    base::Instant resume_{};
    base::Duration wall_offset_{};  // longer than a life
    GatewayRun run_;
};

}  // namespace

GatewayRun run_gateway(std::uint64_t seed, std::FILE* log) {
    return Gateway(seed, log).run();
}

}  // namespace postern::sim

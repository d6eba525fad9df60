#include "postern/shard/worker.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "generations.h"
#include "postern/log/buffer.h"
#include "tests/unit/io/loopback.h"

namespace postern::shard::test {
namespace {

using std::chrono::seconds;

/// What a worker has said, by generation.
class Listening final : public Control {
   public:
    void taken(const Snapshot& snapshot) override { note(taken_, snapshot); }

    void done(const Snapshot& snapshot) override { note(done_, snapshot); }

    bool wait_taken(std::uint64_t generation) { return wait(taken_, generation); }

    bool wait_done(std::uint64_t generation) { return wait(done_, generation); }

    bool is_done(std::uint64_t generation) {
        const std::lock_guard lock(mutex_);
        return done_[generation] > 0;
    }

    std::map<std::uint64_t, int> done_of_all() {
        const std::lock_guard lock(mutex_);
        return done_;
    }

   private:
    using Counts = std::map<std::uint64_t, int>;

    void note(Counts& counts, const Snapshot& snapshot) {
        const std::lock_guard lock(mutex_);
        ++counts[snapshot.generation];
        said_.notify_all();
    }

    bool wait(Counts& counts, std::uint64_t generation) {
        std::unique_lock lock(mutex_);
        return said_.wait_for(lock, seconds(10), [&] { return counts[generation] > 0; });
    }

    std::mutex mutex_;
    std::condition_variable said_;
    Counts taken_;
    Counts done_;
};

/// A sender: blocking, a line at a time.
class Client {
   public:
    explicit Client(const io::Address& address)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const timeval patience{10, 0};
        setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        EXPECT_EQ(::connect(socket_, address.raw(), address.raw_size()), 0);
        EXPECT_EQ(reply().substr(0, 3), "220");
        EXPECT_EQ(ask("HELO c.test").substr(0, 3), "250");
    }

    ~Client() { ::close(socket_); }

    Client(const Client&) = delete;

    std::string reply() {
        while (input_.find("\r\n") == std::string::npos) {
            char octets[4096];
            // With patience set, a signal or a ring's work ends a recv (signal(7)).
            const ssize_t count = TEMP_FAILURE_RETRY(::recv(socket_, octets, sizeof octets, 0));
            if (count <= 0) {
                return std::exchange(input_, "");
            }
            input_.append(octets, static_cast<std::size_t>(count));
        }
        const std::string line = input_.substr(0, input_.find("\r\n"));
        input_.erase(0, line.size() + 2);
        return line;
    }

    std::string ask(const std::string& line) {
        const std::string text = line + "\r\n";
        EXPECT_EQ(
            ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
        return reply();
    }

    /// MAIL, and nothing that could end the transaction.
    void begin() { EXPECT_EQ(ask("MAIL FROM:<s@c.test>").substr(0, 9), "250 2.1.0"); }

    std::string rcpt(const std::string& address) { return ask("RCPT TO:<" + address + ">"); }

   private:
    int socket_;
    std::string input_;
};

/// A worker on a thread of its own, and this thread in the place of control.
class Generations : public testing::Test {
   protected:
    Generations() {
        publish_first();
        std::promise<Worker*> made;
        auto worker = made.get_future();
        thread_ = std::thread([this, &made] {
            WorkerSettings settings;
            settings.bounds = worker_bounds(current().config, 100);
            settings.listeners = {{0, loopback_.release()}};
            auto mine = Worker::create(settings, current(), *common_, said_, lines_);
            ASSERT_TRUE(mine) << mine.error().text;
            made.set_value(mine->get());
            (*mine)->run();
        });
        worker_ = worker.get();
    }

    ~Generations() override {
        worker_->request_shutdown();
        thread_.join();
        for (const auto& [generation, times] : said_.done_of_all()) {
            EXPECT_LE(times, 1) << generation;
        }
    }

    const Snapshot& current() const { return *snapshots_.back(); }

    /// The rule of a generation: domain "gN.test" alone; all have "a.test".
    static std::string rules_of(std::uint64_t generation) {
        return "a.test one\ng" + std::to_string(generation) + ".test one\n";
    }

    void publish_first() {
        snapshots_.push_back(snapshot_of(1, configuration(), rules_of(1), {port_}));
        common_ =
            std::make_unique<Common>(current().config, 100, 1, base::HashKey{}, base::HashKey{});
        identify_pools(*snapshots_.back(), nullptr, next_identity_);
        number_listeners(*snapshots_.back(), nullptr, *common_);
    }

    /// Returns the new generation, when it is in force.
    std::uint64_t publish(std::uint64_t oldest_kept = 0) {
        const std::uint64_t generation = current().generation + 1;
        auto next = snapshot_of(generation, configuration(), rules_of(generation), {port_});
        next->oldest_kept = oldest_kept;
        identify_pools(*next, &current(), next_identity_);
        number_listeners(*next, &current(), *common_);
        snapshots_.push_back(std::move(next));
        worker_->publish(current(), {});
        EXPECT_TRUE(said_.wait_taken(generation));
        return generation;
    }

    std::string configuration() const {
        // Large enough for the test; a worker of a real size maps more.
        return pool("one", 1) + "[limits]\nbody_memory = \"1 MiB\"\n";
    }

    io::test::Loopback loopback_;
    const int port_ = loopback_.address.port();
    const io::Address address_ = loopback_.address;
    std::uint64_t next_identity_ = 1;
    log::Buffer lines_{log::Format::json, 1 << 20, -1};
    Listening said_;
    std::unique_ptr<Common> common_;
    std::vector<std::unique_ptr<Snapshot>> snapshots_;
    std::thread thread_;
    Worker* worker_ = nullptr;
};

TEST_F(Generations, ATransactionKeepsTheRulesItBeganWith) {
    Client client(address_);
    client.begin();
    publish();
    EXPECT_EQ(client.rcpt("u@g1.test").substr(0, 9), "250 2.1.5");
    EXPECT_EQ(client.rcpt("u@g2.test").substr(0, 9), "550 5.7.1");
    EXPECT_FALSE(said_.is_done(1));
    EXPECT_EQ(client.ask("RSET").substr(0, 3), "250");
    EXPECT_TRUE(said_.wait_done(1));
    client.begin();
    EXPECT_EQ(client.rcpt("u@g1.test").substr(0, 9), "550 5.7.1");
    EXPECT_EQ(client.rcpt("u@g2.test").substr(0, 9), "250 2.1.5");
}

TEST_F(Generations, WithoutTransactionsTheOldOneIsDoneAtOnce) {
    Client client(address_);
    publish();
    EXPECT_TRUE(said_.is_done(1));
    publish();
    EXPECT_TRUE(said_.is_done(2));
    EXPECT_FALSE(said_.is_done(3));
}

TEST_F(Generations, TheBodysBeginningEndsThePin) {
    Client client(address_);
    client.begin();
    EXPECT_EQ(client.rcpt("u@a.test").substr(0, 9), "250 2.1.5");
    publish();
    EXPECT_FALSE(said_.is_done(1));
    EXPECT_EQ(client.ask("DATA").substr(0, 3), "354");
    EXPECT_TRUE(said_.wait_done(1));
    // Nobody listens at the pool's port: the message is answered all the same.
    EXPECT_EQ(client.ask("Subject: x\r\n\r\n.").substr(0, 9), "451 4.4.1");
}

TEST_F(Generations, ASenderThatGoesEndsThePin) {
    auto client = std::make_unique<Client>(address_);
    client->begin();
    EXPECT_EQ(client->rcpt("u@a.test").substr(0, 9), "250 2.1.5");
    publish();
    EXPECT_FALSE(said_.is_done(1));
    client.reset();
    EXPECT_TRUE(said_.wait_done(1));
}

TEST_F(Generations, ThoseThatMustGoGoAndTheirTransactionsAreToldSo) {
    std::vector<std::unique_ptr<Client>> clients;
    for (std::uint64_t generation = 1; generation <= 4; ++generation) {
        clients.push_back(std::make_unique<Client>(address_));
        clients.back()->begin();
        EXPECT_EQ(clients.back()->rcpt("u@a.test").substr(0, 9), "250 2.1.5");
        if (generation < 4) {
            publish();
        }
    }
    EXPECT_TRUE(said_.done_of_all().empty() || !said_.is_done(1));
    publish(2);  // the fifth
    EXPECT_TRUE(said_.is_done(1));
    EXPECT_FALSE(said_.is_done(2));
    EXPECT_EQ(clients[0]->rcpt("u@g1.test").substr(0, 9), "451 4.3.2");
    for (std::size_t i = 1; i < 4; ++i) {
        const std::string address = "u@g" + std::to_string(i + 1) + ".test";
        EXPECT_EQ(clients[i]->rcpt(address).substr(0, 9), "250 2.1.5") << i;
    }
    // What it has named before goes on.
    EXPECT_EQ(clients[0]->ask("DATA").substr(0, 3), "354");
    EXPECT_EQ(clients[0]->ask("Subject: x\r\n\r\n.").substr(0, 9), "451 4.4.1");
    clients[0]->begin();
    EXPECT_EQ(clients[0]->rcpt("u@g5.test").substr(0, 9), "250 2.1.5");
    for (std::size_t i = 1; i < 4; ++i) {
        EXPECT_EQ(clients[i]->ask("RSET").substr(0, 3), "250");
        EXPECT_TRUE(said_.wait_done(i + 1));
    }
    EXPECT_FALSE(said_.is_done(5));
}

TEST_F(Generations, ManyWhileSendersComeAndGo) {
    std::atomic<bool> over{false};
    std::vector<std::thread> senders;
    for (int i = 0; i < 3; ++i) {
        senders.emplace_back([&] {
            Client client(address_);
            while (!over) {
                client.begin();
                EXPECT_EQ(client.rcpt("u@a.test").substr(0, 9), "250 2.1.5");
                EXPECT_EQ(client.ask("RSET").substr(0, 3), "250");
            }
        });
    }
    for (int i = 0; i < 50; ++i) {
        const std::uint64_t generation = publish();
        if (generation > 4) {
            ASSERT_TRUE(said_.wait_done(generation - 4));
            snapshots_[generation - 5].reset();  // as control does: nobody may look at it now
        }
    }
    over = true;
    for (std::thread& sender : senders) {
        sender.join();
    }
}

}  // namespace
}  // namespace postern::shard::test

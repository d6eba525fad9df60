#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "postern/spool/segments.h"
#include "tests/unit/spool/hand.h"

/// The same on files of this machine, with the thread of the segments and a thread for each worker.
namespace postern::spool {
namespace {

using test::Hand;
using test::text_of_size;

class SpoolOnDisk : public testing::TestWithParam<const char*> {
   protected:
    void SetUp() override {
        std::string path = std::string(GetParam()) + "/postern-spool-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr) << "no folder can be made in " << GetParam();
        folder_ = path;
    }

    void TearDown() override {
        if (!folder_.empty()) {
            std::filesystem::remove_all(folder_);
        }
    }

    std::unique_ptr<Segments> open() {
        SegmentsSettings settings;
        settings.folder = folder_ + "/spool";
        settings.workers = workers;
        settings.segment_octets = std::uint64_t{1} << 20;
        settings.first_octets = settings.segment_octets / 4;
        auto opened = Segments::open(settings);
        EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
        std::unique_ptr<Segments> segments = std::move(*opened);
        segments->set_on_sentence([this](const std::string& sentence) {
            const std::lock_guard guard(lock_);
            sentences_.push_back(sentence);
        });
        segments->start();
        return segments;
    }

    static constexpr std::uint32_t workers = 2;

    std::string folder_;
    std::mutex lock_;
    std::vector<std::string> sentences_;
};

template <class Condition>
bool run_until(Hand& hand, Condition condition) {
    const base::Instant until = hand.ring->now() + std::chrono::seconds(60);
    while (!condition() && hand.ring->now() < until) {
        hand.ring->turn(hand.ring->now() + std::chrono::milliseconds(20));
        hand.spool.flush();
    }
    return condition();
}

TEST_P(SpoolOnDisk, KeepsWhatItIsGivenThroughStarts) {
    constexpr std::uint64_t each = 1500;
    const auto size = [](std::uint64_t number) {
        return number % 200 == 3 ? 2'500'000u : 100u + number % 7000;
    };
    metrics::Registry registry(workers);
    {
        const std::unique_ptr<Segments> segments = open();
        std::vector<std::thread> threads;
        for (std::uint32_t worker = 0; worker < workers; ++worker) {
            threads.emplace_back([&, worker] {
                Hand hand(*segments, worker, registry.worker(worker));
                for (std::uint64_t i = 0; i < each; ++i) {
                    const std::uint64_t number = i * workers + worker + 1;
                    hand.keep(number, text_of_size(number, size(number)));
                    if (i % 20 == 0) {
                        EXPECT_TRUE(run_until(hand, [&] { return hand.contents.size() < 40; }));
                    }
                }
                EXPECT_TRUE(run_until(hand, [&] { return hand.spool.idle(); }));
                EXPECT_EQ(hand.safe_.size(), each);
                for (const auto& [number, kept] : hand.messages) {
                    if (number % 3 == 0) {
                        hand.spool.finish(*kept);
                    } else {
                        kept->recipients()[0].attempts = static_cast<std::uint32_t>(number);
                        hand.spool.note(*kept);
                    }
                }
                EXPECT_TRUE(run_until(hand, [&] { return hand.spool.idle(); }));
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }
    EXPECT_TRUE(sentences_.empty()) << sentences_[0];
    const std::unique_ptr<Segments> segments = open();
    std::vector<std::thread> threads;
    std::set<std::uint64_t> found;
    for (std::uint32_t worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
            Hand hand(*segments, worker, registry.worker(worker));
            // New mail is taken while the old is still being read.
            hand.keep(1'000'000 + worker, "new\r\n");
            EXPECT_TRUE(run_until(hand, [&] { return !segments->state().recovering; }));
            EXPECT_TRUE(run_until(hand, [&] { return hand.spool.idle(); }));
            for (const auto& [number, kept] : hand.messages) {
                if (number < 1'000'000) {
                    EXPECT_EQ(kept->recipients()[0].attempts, number);
                    hand.load(number);
                    EXPECT_TRUE(run_until(hand, [&] { return hand.spool.idle(); }));
                    const Hand::Loading& loading = hand.loads[number];
                    EXPECT_EQ(loading.error, "");
                    EXPECT_TRUE(loading.content == text_of_size(number, size(number))) << number;
                    hand.loads.erase(number);
                }
                const std::lock_guard guard(lock_);
                EXPECT_TRUE(found.insert(number).second);
            }
            for (const auto& [number, kept] : hand.messages) {
                hand.spool.finish(*kept);
            }
            EXPECT_TRUE(run_until(hand, [&] { return hand.spool.idle(); }));
            EXPECT_TRUE(run_until(hand, [&] { return hand.spool.takes(); }));
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(found.size(), workers * each / 3 * 2 + workers);
    EXPECT_TRUE(sentences_.empty()) << sentences_[0];
}

TEST_P(SpoolOnDisk, DeadLettersAndTheHostsNumberAreFiles) {
    std::mutex told_lock;
    bool told = false;
    {
        const std::unique_ptr<Segments> segments = open();
        segments->bury("a", "text of a\r\n", [&](bool saved) {
            const std::lock_guard guard(told_lock);
            told = saved;
        });
        for (int i = 0; i < 500; ++i) {
            const std::lock_guard guard(told_lock);
            if (told) {
                break;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        EXPECT_TRUE(told);
    }
    EXPECT_EQ(std::filesystem::file_size(folder_ + "/spool/dead/a"), 11u);
    const std::unique_ptr<Segments> segments = open();
    EXPECT_EQ(segments->state().dead_letters, 1u);
}

INSTANTIATE_TEST_SUITE_P(
    FileSystems, SpoolOnDisk, testing::Values("/var/tmp", "/dev/shm"), [](const auto& each) {
        return each.param == std::string("/dev/shm") ? "memory" : "disk";
    });

}  // namespace
}  // namespace postern::spool

#include "postern/io/mailbox.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>

#include "tests/unit/io/loopback.h"

namespace postern::io::test {
namespace {

struct Note : Letter {
    Note(int w, int n, std::vector<std::vector<int>>& b) : writer(w), number(n), book(b) {}

    void deliver() override { book[static_cast<std::size_t>(writer)].push_back(number); }

    int writer, number;
    std::vector<std::vector<int>>& book;
};

TEST(Mailbox, DeliversWhatManyThreadsPostEachInItsOrder) {
    constexpr int writers = 4;
    constexpr int letters = 2000;
    auto ring = make_ring();
    Mailbox mailbox(*ring);
    std::vector<std::vector<int>> book(writers);
    std::vector<std::deque<Note>> notes(writers);
    std::vector<std::thread> threads;
    for (int writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
            auto& mine = notes[static_cast<std::size_t>(writer)];
            for (int number = 0; number < letters; ++number) {
                mailbox.post(mine.emplace_back(writer, number, book));
                if (number % 100 == 0) {
                    std::this_thread::yield();
                }
            }
        });
    }
    const auto all = [&] {
        return std::all_of(
            book.begin(), book.end(), [](auto& page) { return page.size() == letters; });
    };
    EXPECT_TRUE(turn_until(*ring, all));
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const auto& page : book) {
        EXPECT_TRUE(std::is_sorted(page.begin(), page.end()));
    }
}

TEST(Mailbox, WakesASleepingRing) {
    auto ring = make_ring();
    Mailbox mailbox(*ring);
    std::vector<std::vector<int>> book(1);
    Note first(0, 1, book);
    Note second(0, 2, book);
    for (Note* note : {&first, &second}) {
        std::thread writer([&] {
            std::this_thread::sleep_for(milliseconds(30));
            mailbox.post(*note);
        });
        const base::Instant before = ring->now();
        const std::size_t delivered = book[0].size();
        while (book[0].size() == delivered) {
            ring->turn(before + seconds(30));
        }
        EXPECT_LT(ring->now() - before, seconds(20));
        writer.join();
    }
    EXPECT_EQ(book[0], (std::vector<int>{1, 2}));
}

TEST(Mailbox, ALetterMayPostAnother) {
    auto ring = make_ring();
    Mailbox mailbox(*ring);

    struct Chain : Letter {
        explicit Chain(Mailbox& m) : mailbox(m) {}

        void deliver() override {
            if (++delivered < 3) {
                mailbox.post(*this);
            }
        }

        Mailbox& mailbox;
        int delivered = 0;
    };

    Chain chain(mailbox);
    mailbox.post(chain);
    EXPECT_TRUE(turn_until(*ring, [&] { return chain.delivered == 3; }));
}

}  // namespace
}  // namespace postern::io::test

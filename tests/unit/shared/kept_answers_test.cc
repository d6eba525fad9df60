#include "postern/shared/kept_answers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace postern::shared {
namespace {

using namespace std::chrono_literals;

constexpr base::HashKey hash_key{3, 4};
constexpr base::Instant begin(1000s);

KeptAnswer answer(std::uint16_t code, std::uint16_t subject, std::string_view text) {
    KeptAnswer answer;
    answer.code = code;
    answer.enhanced = {static_cast<std::uint16_t>(code / 100), subject, 1};
    answer.set_text(text);
    return answer;
}

KeptAnswerKey key(std::string_view recipient, std::uint64_t network = 1) {
    return {"cluster-a", "sender@example.com", recipient, network};
}

TEST(KeptAnswers, AreGivenOnce) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer given;
    EXPECT_FALSE(answers.take(key("a@example.net"), begin, given));
    answers.keep(key("a@example.net"), answer(550, 1, "5.1.1 no such user\nreally"), begin);
    EXPECT_EQ(answers.count(), 1U);
    EXPECT_FALSE(answers.take(key("b@example.net"), begin, given));
    ASSERT_TRUE(answers.take(key("a@example.net"), begin + 1h, given));
    EXPECT_EQ(given.code, 550);
    EXPECT_EQ(given.enhanced[1], 1);
    EXPECT_EQ(given.text(), "5.1.1 no such user\nreally");
    EXPECT_FALSE(answers.take(key("a@example.net"), begin + 1h, given));
    EXPECT_EQ(answers.count(), 0U);
}

TEST(KeptAnswers, BelongToPoolSenderAndRecipient) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer given;
    answers.keep({"p", "ab", "c", 1}, answer(550, 1, "x"), begin);
    EXPECT_FALSE(answers.take({"q", "ab", "c", 1}, begin, given));
    EXPECT_FALSE(answers.take({"p", "a", "bc", 1}, begin, given));
    EXPECT_FALSE(answers.take({"p", "", "c", 1}, begin, given));
    EXPECT_TRUE(answers.take({"p", "ab", "c", 1}, begin, given));
}

TEST(KeptAnswers, ThoseOfAddressAndMailboxHoldForEveryClient) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer given;
    for (const std::uint16_t subject : std::initializer_list<std::uint16_t>{1, 2}) {
        answers.keep(key("a"), answer(550, subject, "x"), begin);
        EXPECT_TRUE(answers.take(key("a", 2), begin, given));
    }
    for (const std::uint16_t subject : std::initializer_list<std::uint16_t>{0, 3, 7}) {
        answers.keep(key("a"), answer(550, subject, "x"), begin);
        EXPECT_FALSE(answers.take(key("a", 2), begin, given));
        EXPECT_TRUE(answers.take(key("a", 1), begin, given));
    }
}

TEST(KeptAnswers, AnAnswerWithoutAnEnhancedCodeIsTheNetworks) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer kept;
    kept.code = 450;
    answers.keep(key("a"), kept, begin);
    KeptAnswer given;
    EXPECT_FALSE(answers.take(key("a", 2), begin, given));
    ASSERT_TRUE(answers.take(key("a", 1), begin, given));
    EXPECT_EQ(given.code, 450);
    EXPECT_EQ(given.text(), "");
}

TEST(KeptAnswers, ExpireAfterSixHours) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer given;
    answers.keep(key("a"), answer(550, 1, "x"), begin);
    answers.keep(key("b"), answer(550, 1, "x"), begin + 1h);
    EXPECT_FALSE(answers.take(key("a"), begin + 6h, given));
    EXPECT_TRUE(answers.take(key("b"), begin + 6h, given));
    answers.keep(key("c"), answer(550, 1, "x"), begin);
    EXPECT_FALSE(answers.take(key("c"), begin + 7h, given));
}

TEST(KeptAnswers, ANewerOneReplacesAnOlder) {
    KeptAnswers answers(64, hash_key);
    KeptAnswer given;
    answers.keep(key("a"), answer(450, 1, "old"), begin);
    answers.keep(key("a"), answer(550, 1, "new"), begin);
    EXPECT_EQ(answers.count(), 1U);
    ASSERT_TRUE(answers.take(key("a"), begin, given));
    EXPECT_EQ(given.text(), "new");
    EXPECT_FALSE(answers.take(key("a"), begin, given));
}

TEST(KeptAnswers, LongTextsAreCutAtALine) {
    KeptAnswer kept;
    kept.set_text(std::string(300, 'a') + '\n' + std::string(300, 'b'));
    EXPECT_EQ(kept.text(), std::string(300, 'a'));
    kept.set_text(std::string(600, 'a'));
    EXPECT_EQ(kept.text(), std::string(KeptAnswer::text_max, 'a'));
    kept.set_text(std::string(KeptAnswer::text_max, 'a') + "\nb");
    EXPECT_EQ(kept.text(), std::string(KeptAnswer::text_max, 'a'));
}

TEST(KeptAnswers, WithoutRoomTheOldestGoes) {
    KeptAnswers answers(8, hash_key);
    KeptAnswer given;
    for (int i = 0; i < 12; ++i) {
        answers.keep(key(std::to_string(i)), answer(550, 1, std::to_string(i)), begin + i * 1s);
    }
    EXPECT_EQ(answers.count(), 8U);
    for (int i = 0; i < 12; ++i) {
        EXPECT_EQ(answers.take(key(std::to_string(i)), begin + 1min, given), i >= 4) << i;
    }
}

/// Against the obvious map: with room enough, what is given is what was kept last, once, and not
/// too late.
TEST(KeptAnswers, AnswerLikeAMap) {
    using ModelKey = std::tuple<std::string, std::string, std::uint64_t>;
    for (unsigned seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        KeptAnswers answers(4096, hash_key);
        std::map<ModelKey, std::pair<std::string, base::Instant>> model;
        base::Instant now = begin;
        for (int step = 0; step < 2000; ++step) {
            now += std::chrono::seconds(random() % 120);
            const std::string recipient = std::to_string(random() % 12);
            const std::string pool = random() % 2 == 0 ? "p" : "q";
            const std::uint64_t network = 1 + random() % 3;
            const KeptAnswerKey one{pool, "s", recipient, network};
            if (random() % 2 == 0) {
                const auto subject = static_cast<std::uint16_t>(random() % 8);
                const std::string text = std::to_string(step);
                answers.keep(one, answer(550, subject, text), now);
                const bool for_all = subject == 1 || subject == 2;
                model[{pool, recipient, for_all ? 0 : network}] = {text, now + 6h};
                continue;
            }
            std::string expected;
            for (const std::uint64_t of : {std::uint64_t{0}, network}) {
                const auto found = model.find({pool, recipient, of});
                if (expected.empty() && found != model.end()) {
                    expected = now < found->second.second ? found->second.first : "";
                    model.erase(found);
                }
            }
            KeptAnswer given;
            const bool found = answers.take(one, now, given);
            ASSERT_EQ(found, !expected.empty());
            if (found) {
                ASSERT_EQ(given.text(), expected);
            }
        }
    }
}

TEST(KeptAnswers, WorkersTakeEachOnce) {
    constexpr int names = 3000;
    KeptAnswers answers(
        std::size_t{1} << 15, hash_key);  // room for all of them, wherever they fall
    std::atomic<int> taken{0};
    std::vector<std::thread> workers;
    for (unsigned worker = 0; worker < 2; ++worker) {
        workers.emplace_back([&, worker] {
            std::mt19937 random(worker);
            KeptAnswer given;
            for (int i = 0; i < names; ++i) {
                answers.keep(
                    key(std::to_string(worker) + ":" + std::to_string(i)),
                    answer(550, 1, "x"),
                    begin);
                for (int j = 0; j < 4; ++j) {
                    const int near = std::max(0, i - static_cast<int>(random() % 8));
                    const std::string name =
                        std::to_string(random() % 2) + ":" + std::to_string(near);
                    if (answers.take(key(name), begin, given)) {
                        ++taken;
                        EXPECT_EQ(given.text(), "x");
                    }
                }
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    KeptAnswer given;
    int left = 0;
    for (int worker = 0; worker < 2; ++worker) {
        for (int i = 0; i < names; ++i) {
            left +=
                answers.take(key(std::to_string(worker) + ":" + std::to_string(i)), begin, given)
                    ? 1
                    : 0;
        }
    }
    EXPECT_EQ(taken + left, 2 * names);
    EXPECT_GT(taken, 0);
    EXPECT_EQ(answers.count(), 0U);
}

}  // namespace
}  // namespace postern::shared

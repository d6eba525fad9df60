#include "postern/shared/recipient_answers.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace postern::shared {
namespace {

using namespace std::chrono_literals;

const base::Instant start = base::Instant(1000s);

KeptAnswer answer_of(std::uint16_t code, std::string_view text) {
    KeptAnswer answer;
    answer.code = code;
    answer.enhanced = {5, 1, 1};
    answer.set_text(text);
    return answer;
}

struct Answers : testing::Test {
    RecipientAnswers answers{{4096, 512}, {1, 2}};
    base::Hash128 pool = answers.pool_key("one");

    base::Hash128 id(const std::string& recipient) { return answers.identity(pool, recipient); }

    std::string refused(const std::string& recipient, base::Instant now) {
        KeptAnswer answer;
        return answers.refused(id(recipient), now, answer)
                   ? std::to_string(answer.code) + " " + std::string(answer.text())
                   : "";
    }
};

TEST_F(Answers, KnowsWhoWasTakenAndWhen) {
    EXPECT_FALSE(answers.accepted_at(id("a@x")));
    answers.accept(id("a@x"), start);
    EXPECT_EQ(answers.accepted_at(id("a@x")), start);
    EXPECT_FALSE(answers.accepted_at(id("b@x")));
    EXPECT_FALSE(answers.accepted_at(answers.identity(answers.pool_key("two"), "a@x")));
    answers.accept(id("a@x"), start + 10min);
    EXPECT_EQ(answers.accepted_at(id("a@x")), start) << "nothing is written so soon";
    answers.accept(id("a@x"), start + 2h);
    EXPECT_EQ(answers.accepted_at(id("a@x")), start + 2h);
}

TEST_F(Answers, KnowsWhoWasRefusedForAWhile) {
    answers.refuse(id("a@x"), answer_of(550, "no such user"), start + 5min);
    EXPECT_EQ(refused("a@x", start), "550 no such user");
    EXPECT_EQ(refused("a@x", start + 4min), "550 no such user") << "many times";
    EXPECT_EQ(refused("a@x", start + 5min), "");
    EXPECT_EQ(refused("b@x", start), "");
}

TEST_F(Answers, TheLastAnswerHolds) {
    answers.accept(id("a@x"), start);
    answers.refuse(id("a@x"), answer_of(550, "gone"), start + 5min);
    EXPECT_FALSE(answers.accepted_at(id("a@x")));
    EXPECT_EQ(refused("a@x", start), "550 gone");
    answers.accept(id("a@x"), start + 1min);
    EXPECT_EQ(answers.accepted_at(id("a@x")), start + 1min);
    EXPECT_EQ(refused("a@x", start + 1min), "");
}

TEST_F(Answers, WhoeverGuessesPushesOutNobodyWhoExists) {
    for (int i = 0; i < 1000; ++i) {
        answers.accept(id("real" + std::to_string(i) + "@x"), start);
    }
    for (int i = 0; i < 20'000; ++i) {
        answers.refuse(id("guess" + std::to_string(i) + "@x"), answer_of(550, "no"), start + 5min);
    }
    int known = 0;
    for (int i = 0; i < 1000; ++i) {
        known += answers.accepted_at(id("real" + std::to_string(i) + "@x")) ? 1 : 0;
    }
    EXPECT_EQ(known, 1000);
    EXPECT_EQ(refused("guess19999@x", start), "550 no") << "the newest is there";
    EXPECT_LE(answers.held_octets(), RecipientAnswers::memory({4096, 512}));
}

TEST_F(Answers, TheOldestGoes) {
    for (int i = 0; i < 50'000; ++i) {
        answers.accept(id(std::to_string(i) + "@x"), start + std::chrono::seconds(i));
    }
    EXPECT_TRUE(answers.accepted_at(id("49999@x")));
    EXPECT_FALSE(answers.accepted_at(id("0@x")));
}

TEST_F(Answers, OneAsksAndOthersWait) {
    EXPECT_TRUE(answers.begin_question(id("a@x"), start, start + 20s));
    EXPECT_FALSE(answers.begin_question(id("a@x"), start + 1s, start + 21s));
    EXPECT_TRUE(answers.begin_question(id("b@x"), start, start + 20s));
    answers.end_question(id("a@x"));
    EXPECT_TRUE(answers.begin_question(id("a@x"), start + 2s, start + 22s));
    EXPECT_TRUE(answers.begin_question(id("a@x"), start + 22s, start + 42s)) << "it was lost";
}

TEST_F(Answers, ManyThreadsAtOnce) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([this, t] {
            for (int i = 0; i < 20'000; ++i) {
                const base::Hash128 one = id(std::to_string((i * 7 + t) % 500) + "@x");
                KeptAnswer answer;
                switch ((i + t) % 4) {
                    case 0:
                        answers.accept(one, start);
                        break;
                    case 1:
                        answers.refuse(one, answer_of(550, "no"), start + 5min);
                        break;
                    case 2:
                        if (answers.refused(one, start, answer)) {
                            EXPECT_EQ(answer.text(), "no");
                        }
                        break;
                    default:
                        if (const auto at = answers.accepted_at(one)) {
                            EXPECT_TRUE(*at == start || *at == base::Instant(1ns));
                        }
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

TEST(QuestionBudget, GivesSoManyAtOnceAndThenOneEachInterval) {
    QuestionBudget budget(64);
    for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(budget.take(7, start, 1s, 10));
    }
    EXPECT_FALSE(budget.take(7, start, 1s, 10));
    EXPECT_TRUE(budget.take(8, start, 1s, 10)) << "another key";
    EXPECT_TRUE(budget.take(7, start + 1s, 1s, 10));
    EXPECT_FALSE(budget.take(7, start + 1s, 1s, 10));
    EXPECT_TRUE(budget.take(7, start + 1h, 1s, 10));
}

}  // namespace
}  // namespace postern::shared

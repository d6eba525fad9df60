#include "logins.h"

#include <crypt.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "tests/unit/io/loopback.h"

namespace postern::shard {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Each;
using ::testing::ElementsAre;

std::shared_ptr<const auth::Passwords> passwords() {
    crypt_data data{};
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    EXPECT_NE(crypt_gensalt_rn("$6$", 1000, nullptr, 0, setting, sizeof setting), nullptr);
    const std::string hash = crypt_rn("right", setting, &data, sizeof data);
    auto loaded = auth::Passwords::parse("tim:" + hash + "\n", "passwords", {3, 4});
    EXPECT_THAT(loaded.errors, ElementsAre());
    return loaded.passwords;
}

class LoginsTest : public testing::Test, private Logins::Asker {
   protected:
    ~LoginsTest() override {
        EXPECT_TRUE(turn_until([&] { return logins_.idle(); }));
    }

    void authenticated(inbound::PasswordCheck& check, const mail::Reply& reply) override {
        EXPECT_EQ(check.inbound_owner, this);
        check.inbound_owner = nullptr;
        answers_.push_back(reply.code);
        answered_at_ = ring_->now();
    }

    /// The check that is under way, or nullptr and its refusal among the answers.
    inbound::PasswordCheck* begin(std::uint64_t client, std::string_view password) {
        mail::Reply refusal;
        inbound::PasswordCheck* const check =
            logins_.check(passwords_, client, {"tim", password}, refusal);
        if (check == nullptr) {
            answers_.push_back(refusal.code);
        } else {
            check->inbound_owner = this;
        }
        return check;
    }

    int ask(std::uint64_t client, std::string_view password) {
        const std::size_t before = answers_.size();
        begin(client, password);
        EXPECT_TRUE(turn_until([&] { return answers_.size() > before; }));
        return answers_.back();
    }

    template <class Done>
    bool turn_until(Done done) {
        const base::Instant end = ring_->now() + seconds(20);
        while (!done() && ring_->now() < end) {
            ring_->turn(std::min(ring_->now() + milliseconds(5), timers_.next()));
            timers_.run(ring_->now());
        }
        return done();
    }

    std::unique_ptr<io::Ring> ring_ = io::test::make_ring();
    io::Timers timers_{ring_->now()};
    io::Mailbox mailbox_{*ring_};
    shared::Guesses guesses_{1024};
    auth::Checker checker_{1, 50};
    Logins logins_{*ring_, timers_, mailbox_, *this, checker_, guesses_};
    std::shared_ptr<const auth::Passwords> passwords_ = passwords();
    std::vector<int> answers_;
    base::Instant answered_at_;
};

TEST_F(LoginsTest, SaysWhetherItIsThePassword) {
    EXPECT_EQ(ask(1, "right"), 235);
    EXPECT_EQ(ask(1, "wrong"), 535);
    EXPECT_EQ(ask(1, std::string(600, 'x')), 535);
}

TEST_F(LoginsTest, WithoutAFileNobodyCanTell) {
    passwords_ = nullptr;
    EXPECT_EQ(ask(1, "right"), 454);
    passwords_ = passwords();
    EXPECT_EQ(ask(1, "right"), 235);
}

TEST_F(LoginsTest, FromTheFourthOnAWrongOneIsHeldBackAndARightOneIsNot) {
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(ask(1, "wrong"), 535);
    }
    const base::Instant began = ring_->now();
    EXPECT_EQ(ask(2, "wrong"), 535);
    EXPECT_LT(answered_at_ - began, milliseconds(900)) << "another client";
    EXPECT_EQ(ask(1, "right"), 235);
    EXPECT_LT(answered_at_ - began, milliseconds(900));
    EXPECT_EQ(ask(1, "wrong"), 535);
    EXPECT_GE(answered_at_ - began, milliseconds(900));
}

TEST_F(LoginsTest, WhoHasGuessedTooOftenIsNotLookedAt) {
    for (std::uint32_t i = 0; i < shared::Guesses::wrong_max; ++i) {
        (void)guesses_.wrong(1, ring_->now());
    }
    EXPECT_EQ(ask(1, "right"), 421);
    EXPECT_EQ(ask(2, "right"), 235);
}

/// Many connections at once do not get round the limit: those that wait behind it are not hashed.
TEST_F(LoginsTest, GuessesThatComeAtOnceAreLimitedToo) {
    for (int i = 0; i < 40; ++i) {
        ASSERT_NE(begin(1, "wrong"), nullptr);
    }
    EXPECT_TRUE(turn_until([&] { return answers_.size() == 40; }));
    const auto looked_at = std::count(answers_.begin(), answers_.end(), 535);
    EXPECT_GE(looked_at, shared::Guesses::wrong_max);
    EXPECT_LE(looked_at, shared::Guesses::wrong_max + 15)
        << "but for those that were through before the first was counted";
    EXPECT_EQ(looked_at + std::count(answers_.begin(), answers_.end(), 421), 40);
}

TEST_F(LoginsTest, MoreThanCanWaitAreToldToComeAgain) {
    for (int i = 0; i < 60; ++i) {
        begin(static_cast<std::uint64_t>(i) + 1, "right");
    }
    EXPECT_TRUE(turn_until([&] { return answers_.size() == 60; }));
    EXPECT_GE(std::count(answers_.begin(), answers_.end(), 454), 1);
    EXPECT_GE(std::count(answers_.begin(), answers_.end(), 235), 50);
}

TEST_F(LoginsTest, AGuessCountsAlsoWhereNobodyWaitsForItsAnswer) {
    for (std::uint32_t i = 0; i < shared::Guesses::wrong_max; ++i) {
        inbound::PasswordCheck* const check = begin(1, "wrong");
        ASSERT_NE(check, nullptr);
        // It was hashed, or will not be; told to nobody in either case.
        turn_until(
            [&] { return guesses_.exhausted(1, ring_->now()) || !answers_.empty() || i > 2; });
        if (answers_.empty()) {
            check->inbound_owner = nullptr;
            logins_.forget(*check);
        }
        answers_.clear();
    }
    EXPECT_TRUE(turn_until([&] { return logins_.idle(); }));
    EXPECT_THAT(answers_, ElementsAre());
}

TEST_F(LoginsTest, ForgottenWhileItIsHeldBack) {
    for (int i = 0; i < 5; ++i) {
        (void)guesses_.wrong(1, ring_->now());
    }
    inbound::PasswordCheck* const check = begin(1, "wrong");
    ASSERT_NE(check, nullptr);
    const base::Instant soon = ring_->now() + milliseconds(200);
    turn_until([&] { return ring_->now() > soon; });
    EXPECT_THAT(answers_, ElementsAre());
    check->inbound_owner = nullptr;
    logins_.forget(*check);
    EXPECT_TRUE(logins_.idle());
}

}  // namespace
}  // namespace postern::shard

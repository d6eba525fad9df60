#include "bench/load/faults.h"

#include <gtest/gtest.h>

namespace postern::bench {
namespace {

TEST(Faults, AreRead) {
    const auto code = parse_failure("rcpt:450:0.25");
    ASSERT_TRUE(code.ok());
    EXPECT_EQ(code->step, Step::rcpt);
    EXPECT_EQ(code->kind, Fault::Kind::answer);
    EXPECT_EQ(code->code, 450);
    EXPECT_EQ(code->probability, 0.25);
    EXPECT_EQ(parse_failure("body:close")->kind, Fault::Kind::close);
    EXPECT_EQ(parse_failure("greeting:silent:1")->kind, Fault::Kind::silent);
    EXPECT_EQ(parse_delay("body:2000:0.01")->delay, std::chrono::seconds(2));
    EXPECT_EQ(parse_rejection("*@[IPv6:::1]:550")->pattern, "*@[IPv6:::1]");
    EXPECT_EQ(parse_rejection("a@b.example:450")->code, 450);
}

TEST(Faults, OthersAreErrors) {
    for (const char* text :
         {"",
          "mail",
          "mail:",
          "mail:99",
          "mail:600",
          "mail:45x",
          "nail:450",
          "other:450",
          "mail:450:2",
          "mail:450:-1",
          "mail:450:x",
          "mail:450:1:1",
          "close:mail"}) {
        EXPECT_FALSE(parse_failure(text).ok()) << text;
    }
    for (const char* text : {"body", "body:x", "body:-1", "body:10:1.5"}) {
        EXPECT_FALSE(parse_delay(text).ok()) << text;
    }
    for (const char* text : {"", ":550", "a@b.example", "a@b.example:"}) {
        EXPECT_FALSE(parse_rejection(text).ok()) << text;
    }
}

TEST(Faults, PatternsMatch) {
    EXPECT_TRUE(matches("*", ""));
    EXPECT_TRUE(matches("*@b.example", "a@b.example"));
    EXPECT_TRUE(matches("a*b*c", "aXbYbZc"));
    EXPECT_TRUE(matches("a**", "a"));
    EXPECT_FALSE(matches("a*b", "abc"));
    EXPECT_FALSE(matches("a", "ab"));
    EXPECT_FALSE(matches("", "a"));
}

TEST(Faults, HappenAsOftenAsTold) {
    const std::vector<Fault> faults = {
        {Step::mail, Fault::Kind::answer, 450, {}, 0.25},
        {Step::mail, Fault::Kind::delay, 0, std::chrono::seconds(1), 0.5}};
    std::uint64_t state = 7;
    int failed = 0;
    int delayed = 0;
    constexpr int tries = 20000;
    for (int i = 0; i < tries; ++i) {
        const Misbehaviour chosen = choose(faults, Step::mail, state);
        failed += chosen.fault ? 1 : 0;
        delayed += chosen.delay.count() > 0 ? 1 : 0;
        EXPECT_FALSE(choose(faults, Step::rcpt, state).fault);
    }
    EXPECT_NEAR(failed, tries / 4, tries / 50);
    EXPECT_NEAR(delayed, tries / 2, tries / 50);
}

}  // namespace
}  // namespace postern::bench

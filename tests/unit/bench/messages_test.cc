#include "bench/load/messages.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace postern::bench {
namespace {

MessageOptions options_of(std::uint64_t size, bool data) {
    MessageOptions options;
    options.size = size;
    options.data = data;
    options.run = 0xabcdef01;
    return options;
}

TEST(MessageSet, MakesMessagesOfTheSizeThatWasAskedFor) {
    for (std::uint64_t size = 300; size < 800; ++size) {
        const auto set = MessageSet::create(options_of(size, false));
        ASSERT_TRUE(set.ok());
        std::string head;
        const Message message = set->message(size, head);
        const std::string content = std::string(message.head) + std::string(message.body);
        EXPECT_EQ(content.size(), size);
        EXPECT_EQ(message.sums, sums_of(content));
        EXPECT_EQ(content, repaired(content)) << "bare CR or LF";
        EXPECT_TRUE(content.ends_with("\r\n"));
        EXPECT_FALSE(message.eight_bit);
    }
    EXPECT_FALSE(MessageSet::create(options_of(20, true)).ok());
}

TEST(MessageSet, NoTwoMessagesAreAlike) {
    const auto set = MessageSet::create(options_of(4096, false));
    std::set<std::string> contents;
    std::set<std::string_view> bodies;
    std::string head;
    for (std::uint64_t number = 0; number < 500; ++number) {
        const Message message = set->message(number, head);
        contents.insert(std::string(message.head) + std::string(message.body));
        bodies.insert(message.body);
    }
    EXPECT_EQ(contents.size(), 500U);
    EXPECT_EQ(bodies.size(), set->variants());
    EXPECT_GE(set->variants(), 4U);
}

TEST(MessageSet, IsStuffedForData) {
    const auto data = MessageSet::create(options_of(4096, true));
    const auto bdat = MessageSet::create(options_of(4096, false));
    std::string head;
    bool dots = false;
    for (std::uint64_t number = 0; number < data->variants(); ++number) {
        const Message message = data->message(number, head);
        const std::string body(bdat->message(number, head).body);
        EXPECT_EQ(message.body, as_data(body));
        EXPECT_EQ(message.sums, bdat->message(number, head).sums);
        dots = dots || message.body.size() > body.size() + 3;
    }
    EXPECT_TRUE(dots) << "no body has a line that begins with a dot";
}

TEST(RecipientPlan, FillsThePattern) {
    RecipientOptions options;
    options.domains = {"a.example", "b.example", "c.example"};
    options.pattern = "%%user-%n-%i@%d";
    options.per_message = 2;
    const RecipientPlan plan(options);
    const auto recipient = [&plan](std::uint64_t number, unsigned index) {
        std::string text;
        plan.append(text, number, index);
        return text;
    };
    EXPECT_EQ(recipient(0, 0), "%%user-0-0@a.example");
    EXPECT_EQ(recipient(0, 1), "%%user-0-1@b.example");
    EXPECT_EQ(recipient(1, 0), "%%user-1-0@c.example");
    EXPECT_EQ(recipient(1, 1), "%%user-1-1@a.example");
}

TEST(RecipientPlan, TakesEveryDomainAtRandomTheSameWayForASeed) {
    RecipientOptions options;
    options.domains.clear();
    for (int i = 0; i < 50; ++i) {
        options.domains.push_back(std::to_string(i) + ".example");
    }
    options.random = true;
    options.pattern = "%d";
    const RecipientPlan plan(options);
    const RecipientPlan again(options);
    options.seed = 2;
    const RecipientPlan other(options);
    std::set<std::string> seen;
    int different = 0;
    for (std::uint64_t number = 0; number < 1000; ++number) {
        std::string a, b, c;
        plan.append(a, number, 0);
        again.append(b, number, 0);
        other.append(c, number, 0);
        EXPECT_EQ(a, b);
        different += a != c ? 1 : 0;
        seen.insert(a);
    }
    EXPECT_EQ(seen.size(), 50U);
    EXPECT_GT(different, 900);
}

}  // namespace
}  // namespace postern::bench

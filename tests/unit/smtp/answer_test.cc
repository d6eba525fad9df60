#include "postern/smtp/answer.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace postern::smtp {
namespace {

std::string written(const mail::Reply& reply) {
    std::array<char, reply_octets_max> memory;
    return {memory.data(), write_reply(reply, memory)};
}

TEST(answer, one_line) {
    EXPECT_EQ(written({250, {2, 1, 5}, "ok"}), "250 2.1.5 ok\r\n");
    EXPECT_EQ(written({354, {}, "go"}), "354 go\r\n");
    EXPECT_EQ(written({250, {}, ""}), "250 \r\n");
}

TEST(answer, every_line_has_the_codes) {
    EXPECT_EQ(
        written({550, {5, 7, 1}, "one\ntwo\n"}),
        "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 \r\n");
}

TEST(answer, what_does_not_print_is_a_question_mark) {
    EXPECT_EQ(written({550, {5, 7, 1}, "a\tb\r\x80\x7f"}), "550 5.7.1 a?b???\r\n");
}

TEST(answer, at_most_eight_lines_of_512) {
    std::string text;
    for (int i = 0; i < 20; ++i) {
        text += std::string(1000, 'x') + "\n";
    }
    const std::string reply = written({451, {4, 300, 999}, text});
    EXPECT_EQ(reply.size(), 8 * (std::string("451-4.300.999 ").size() + 512 + 2));
    EXPECT_TRUE(reply.substr(7 * reply.size() / 8).starts_with("451 4.300.999 "));
}

TEST(answer, our_own_enhanced_codes_agree_with_their_class) {
    for (int i = 1; i <= static_cast<int>(Answer::overloaded); ++i) {
        const mail::Reply& reply = answer_row(static_cast<Answer>(i)).reply;
        EXPECT_FALSE(reply.text.empty() && reply.code != 334) << reply.code;
        if (reply.enhanced.present()) {
            EXPECT_EQ(reply.enhanced.cls, reply.reply_class()) << reply.text;
        }
        EXPECT_EQ(answer_line(static_cast<Answer>(i)), written(reply));
        EXPECT_LE(written(reply).size(), 150U) << "several stand in the room kept for one command";
    }
}

}  // namespace
}  // namespace postern::smtp

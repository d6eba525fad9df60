#include "reply_text.h"

#include <gtest/gtest.h>

namespace postern::shard {
namespace {

TEST(ReplyText, goes_there_and_back) {
    for (const mail::Reply& reply : {
             mail::Reply{450, {4, 2, 1}, "mailbox busy"},
             mail::Reply{550, {5, 1, 10}, "two\nlines 4.2.1"},
             mail::Reply{250, {}, "2 words"},
             mail::Reply{250, {}, ""},
             mail::Reply{451, {4, 4, 1}, ""},
         }) {
        const ReplyText text(reply);
        const mail::Reply again = reply_of(text.view());
        EXPECT_EQ(again.code, reply.code);
        EXPECT_EQ(again.enhanced, reply.enhanced) << text.view();
        EXPECT_EQ(again.text, reply.text);
    }
}

TEST(ReplyText, of_a_text_that_is_none) {
    for (const std::string_view text : {"", "x", "999999 a", "-1 a", "45x"}) {
        EXPECT_EQ(reply_of(text).code, 0) << text;
    }
}

}  // namespace
}  // namespace postern::shard

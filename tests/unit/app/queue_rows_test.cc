#include "src/app/queue_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::app {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t now_ms = 1'700'000'000'000;

shard::QueueRecipient recipient(std::string address, std::string pool, std::string reply) {
    shard::QueueRecipient recipient;
    recipient.address = std::move(address);
    recipient.pool = std::move(pool);
    recipient.reply = std::move(reply);
    return recipient;
}

shard::QueueRow row() {
    shard::QueueRow row;
    row.id = *journal::id_from_text("06A1");
    row.arrival_ms = now_ms - 7'500'000;
    row.size = 4300;
    row.sender = "anna@one.test";
    row.mode = mail::Mode::queue;
    row.client = "192.0.2.7";
    row.recipients = {recipient("bob@a.test", "cluster-a", "451 4.3.0 busy")};
    row.recipients[0].next_try_ms = now_ms + 250'000;
    row.recipients[0].attempts = 3;
    row.waiting = 1;
    return row;
}

TEST(QueueRows, AListSaysWhatWaitsForWhomAndWhy) {
    EXPECT_EQ(
        queue_entry(to_json(row(), false, now_ms)),
        "06A1                     2 h    4.2 KiB  <anna@one.test>\n"
        "    <bob@a.test>  waiting for cluster-a, 3 attempts, next in 4 min: 451 4.3.0 busy\n");
    EXPECT_EQ(queue_heading().find("AGE") + 3, std::string("06A1                     2 h").size());
}

TEST(QueueRows, WhatIsSpecialIsSaid) {
    shard::QueueRow special = row();
    special.sender = "";
    special.held = special.orphaned = special.notification = true;
    special.recipients[0] = recipient("x@gone.test", "", "");
    special.left = 12;
    EXPECT_EQ(
        queue_entry(to_json(special, false, now_ms)),
        "06A1                     2 h    4.2 KiB  <> (held) (orphaned) (notification)\n"
        "    <x@gone.test>  waiting\n"
        "    and 12 more\n");
}

TEST(QueueRows, ATerminalIsToldNothing) {
    shard::QueueRow odd = row();
    odd.sender =
        "a\x1b[2Jb\r\n\x7f\xc2\x9b"
        "c\xc3\xbc@one.test";
    odd.recipients[0].reply = "550 \x1b]0;x\a";
    for (const std::string& text :
         {queue_entry(to_json(odd, false, now_ms)), queue_details(to_json(odd, true, now_ms))}) {
        EXPECT_THAT(text, HasSubstr("<a?[2Jb????c\xc3\xbc@one.test>"));
        EXPECT_THAT(text, HasSubstr("550 ?]0;x?"));
    }
}

TEST(QueueRows, JsonHasNumbersAndNames) {
    const nlohmann::json message = nlohmann::json::parse(line_of(to_json(row(), false, now_ms)));
    EXPECT_EQ(message["id"], "06A1");
    EXPECT_EQ(message["arrival"], "2023-11-14T20:08:20Z");
    EXPECT_EQ(message["age_s"], 7500);
    EXPECT_EQ(message["size"], 4300);
    EXPECT_EQ(message["mode"], "queue");
    EXPECT_EQ(message["recipients"][0]["state"], "waiting");
    EXPECT_EQ(message["recipients"][0]["next_try_in_s"], 250);
    EXPECT_FALSE(message.contains("client"));
    EXPECT_EQ(line_of({{"x", "\xff"}}), "{\"x\":\"\\ufffd\"}");
}

TEST(QueueRows, AWholeMessageSaysAllThatIsKnown) {
    shard::QueueRow whole = row();
    whole.trusted = true;
    whole.ret = mail::Returned::headers;
    whole.envid = "abc";
    whole.recipients[0].notify = static_cast<mail::NotifySet>(
        mail::set_of(mail::Notify::failure) | mail::set_of(mail::Notify::delay));
    whole.recipients[0].original = "rfc822;bob@old.test";
    whole.recipients[0].delay_told = true;
    whole.recipients.push_back(recipient("c@a.test", "", "250 2.0.0 ok"));
    whole.recipients[1].state = journal::State::delivered;
    const std::string text = queue_details(to_json(whole, true, now_ms));
    for (const char* const part :
         {"sender     <anna@one.test>\n",
          "arrived    2023-11-14T20:08:20Z, 2 h ago\n",
          "size       4.2 KiB (4300 octets)\n",
          "accepted   as queue\n",
          "client     192.0.2.7 (trusted)\n",
          "RET        HDRS\n",
          "ENVID      abc\n",
          "ORCPT rfc822;bob@old.test\n",
          "NOTIFY FAILURE,DELAY, the sender knows that it waits\n",
          "  <c@a.test>\n    delivered: 250 2.0.0 ok\n"}) {
        EXPECT_THAT(text, HasSubstr(part));
    }
    EXPECT_THAT(text, Not(HasSubstr("SMTPUTF8")));
}

TEST(QueueRows, WhatAnotherServerSaysIsShownAsFarAsItGoes) {
    EXPECT_THAT(queue_entry(nlohmann::json::object()), HasSubstr("<>"));
    EXPECT_THAT(queue_details(nlohmann::json::object()), HasSubstr("<>"));
}

}  // namespace
}  // namespace postern::app

#include "src/app/queue_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

namespace postern::app {
namespace {

using shard::QueueChange;
using testing::HasSubstr;

constexpr std::int64_t now_ms = 1'700'000'000'000;

/// As the server reads a query.
QueueParameters parameters_of(const std::string& query) {
    QueueParameters parameters;
    httplib::detail::parse_query_text(query, parameters);
    return parameters;
}

base::Result<QueueRequest> read(const std::string& query, QueueChange change = QueueChange::none) {
    return read_queue_request(change, parameters_of(query), now_ms);
}

std::string error_of(const std::string& query, QueueChange change = QueueChange::none) {
    const auto request = read(query, change);
    return request ? "" : request.error().text;
}

TEST(QueueRequest, WhatTheCommandWritesTheServerReads) {
    QueueQuery query;
    query.words.ids = {"06B2", "06A1", "06B2"};
    query.words.domain = "#Example.COM.";
    query.words.pool = "cluster a&b=c";
    query.words.sender = "<Anna+x@Example.org>";
    query.words.older_than = "2 h";
    query.words.orphaned = true;
    query.words.held = true;
    query.whole = true;
    query.rows_max = 7;
    query.cursor = to_text(QueueCursor{now_ms - 1000, 3, {1, 2}, {}});
    const auto request = read(to_text(query));
    ASSERT_TRUE(request) << request.error().text;
    const shard::QueueFilter& filter = request->ask.filter;
    EXPECT_EQ(
        filter.ids, (std::vector{*journal::id_from_text("06A1"), *journal::id_from_text("06B2")}));
    EXPECT_EQ(filter.domain, "example.com");
    EXPECT_TRUE(filter.domain_alone);
    EXPECT_EQ(filter.pool, "cluster a&b=c");
    EXPECT_EQ(filter.sender, "anna+x@example.org");
    EXPECT_EQ(filter.arrived_before_ms, now_ms - 1000 - 7'200'000);
    EXPECT_TRUE(filter.orphaned);
    EXPECT_TRUE(filter.held);
    EXPECT_TRUE(request->ask.whole);
    EXPECT_EQ(request->ask.rows_max, 7u);
    EXPECT_EQ(request->ask.from, (journal::Id{1, 2}));
    EXPECT_EQ(request->cursor.worker, 3u);
}

TEST(QueueRequest, WithNothingEverythingThatIsHereIsMeant) {
    const auto request = read("");
    ASSERT_TRUE(request);
    EXPECT_EQ(request->ask.filter.sender, std::nullopt);
    EXPECT_EQ(request->ask.filter.domain, "");
    EXPECT_EQ(request->ask.filter.arrived_before_ms, now_ms + 1);
    EXPECT_FALSE(request->ask.whole);
    EXPECT_EQ(request->ask.from, journal::Id());
    EXPECT_EQ(read("sender=%3C%3E")->ask.filter.sender, "");
    EXPECT_EQ(read("domain=b%C3%BCcher.test")->ask.filter.domain, "xn--bcher-kva.test");
    EXPECT_FALSE(read("domain=a.test")->ask.filter.domain_alone);
}

TEST(QueueRequest, AChangeOfEverythingMustSaySo) {
    EXPECT_THAT(error_of("", QueueChange::remove), HasSubstr("all=1"));
    EXPECT_THAT(error_of("all=0", QueueChange::retry), HasSubstr("all=1"));
    EXPECT_THAT(error_of("domain=", QueueChange::remove), HasSubstr("all=1"));
    EXPECT_EQ(error_of("all=1", QueueChange::remove), "");
    EXPECT_EQ(error_of("held=1", QueueChange::release), "");
    EXPECT_EQ(read("id=06A1&notify=1", QueueChange::remove)->ask.notify, true);
    EXPECT_EQ(read("id=06A1", QueueChange::remove)->ask.notify, false);
}

TEST(QueueRequest, AWordThatIsNotUnderstoodRefusesAll) {
    EXPECT_THAT(error_of("domian=a.test"), HasSubstr("no parameter domian"));
    EXPECT_THAT(error_of("domain=a.test&domain=b.test"), HasSubstr("2 times"));
    EXPECT_THAT(error_of("domain=a..test"), HasSubstr("no domain"));
    EXPECT_THAT(error_of("id=nonsense"), HasSubstr("nonsense is no ID"));
    EXPECT_THAT(error_of("older_than=2"), HasSubstr("no age"));
    EXPECT_THAT(error_of("held=yes"), HasSubstr("held=yes"));
    EXPECT_THAT(error_of("limit=0"), HasSubstr("1 to 500"));
    EXPECT_THAT(error_of("limit=501"), HasSubstr("1 to 500"));
    EXPECT_THAT(error_of("limit=7x"), HasSubstr("1 to 500"));
    EXPECT_THAT(error_of("cursor=1-2"), HasSubstr("none of ours"));
    EXPECT_THAT(error_of("sender=" + std::string(1001, 'x')), HasSubstr("longer"));
    // Of another request.
    EXPECT_THAT(error_of("notify=1"), HasSubstr("no parameter notify"));
    EXPECT_THAT(error_of("notify=1&all=1", QueueChange::hold), HasSubstr("no parameter notify"));
    EXPECT_THAT(error_of("limit=5&all=1", QueueChange::hold), HasSubstr("no parameter limit"));
    std::string many = "id=06A1";
    for (int i = 0; i < 100; ++i) {
        many += "&id=06B" + std::to_string(i);
    }
    EXPECT_THAT(error_of(many), HasSubstr("more than 100"));
}

TEST(QueueRequest, ACursorIsReadAsItWasWritten) {
    const QueueCursor cursor{now_ms, 12, {~std::uint64_t{0}, 7}, {0, 40}};
    const auto read = cursor_from_text(to_text(cursor));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->began_ms, cursor.began_ms);
    EXPECT_EQ(read->worker, cursor.worker);
    EXPECT_EQ(read->from, cursor.from);
    EXPECT_EQ(read->silent, cursor.silent);
    for (const char* const odd :
         {"",
          "-",
          "--",
          "1-2-3",
          "-1-2-00000000000000000000000000000000",
          "1--00000000000000000000000000000000",
          "1-2-0000000000000000000000000000000g",
          "1-2-0000000000000000-000000000000000",
          "1-2-00000000000000000000000000000000-",
          "1-2-00000000000000000000000000000000-1--2",
          "1-2-00000000000000000000000000000000-x",
          "9223372036854775807-2-00000000000000000000000000000000",
          "99999999999999999999-2-00000000000000000000000000000000",
          "1-4294967296-00000000000000000000000000000000"}) {
        EXPECT_FALSE(cursor_from_text(odd)) << odd;
    }
}

}  // namespace
}  // namespace postern::app

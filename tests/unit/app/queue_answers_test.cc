#include "src/app/queue_answers.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace postern::app {
namespace {

using nlohmann::json;
using shard::QueueChange;
using testing::ElementsAre;
using testing::IsEmpty;

/// Workers that have messages by these IDs, and give `piece` of them at a time.
struct Workers {
    std::vector<std::set<std::string>> ids;
    std::size_t piece = 2;
    std::set<std::uint32_t> silent;
    std::vector<std::string> changed;
    int asked = 0;

    AskWorker ask() {
        return [this](auto worker, const shard::QueueAsk& what, const auto& answered) {
            ++asked;
            if (!silent.contains(worker)) {
                answered(answer(worker, what));
            }
            return true;
        };
    }

    shard::QueueAnswer answer(std::uint32_t worker, const shard::QueueAsk& what) {
        shard::QueueAnswer answer;
        std::size_t looked = 0;
        for (const std::string& text : ids[worker]) {
            const journal::Id id = *journal::id_from_text(text);
            if (id < what.from) {
                continue;
            }
            if (looked++ == piece) {
                answer.next = id;
                break;
            }
            ++answer.matched;
            if (what.change == QueueChange::none) {
                answer.rows.emplace_back().id = id;
                answer.rows.back().arrival_ms = std::stol(text.substr(1));
            } else {
                changed.push_back(text);
                ++answer.changed;
            }
        }
        return answer;
    }
};

std::vector<std::string> ids_in(const json& object) {
    std::vector<std::string> ids;
    for (const json& message : object["messages"]) {
        ids.push_back(message["id"]);
    }
    return ids;
}

struct QueueAnswers : testing::Test {
    json list(QueueParameters parameters) {
        const AdminAnswer answer = answer_queue_list(
            static_cast<std::uint32_t>(workers.ids.size()), workers.ask(), parameters, patience);
        EXPECT_EQ(answer.status, 200) << answer.body;
        return json::parse(answer.body);
    }

    json change(QueueParameters parameters) {
        const AdminAnswer answer = answer_queue_change(
            static_cast<std::uint32_t>(workers.ids.size()),
            workers.ask(),
            QueueChange::retry,
            parameters,
            patience);
        EXPECT_EQ(answer.status, 200) << answer.body;
        return json::parse(answer.body);
    }

    Workers workers;
    QueuePatience patience{.answer = std::chrono::seconds(60), .worker = std::chrono::seconds(60)};
};

TEST_F(QueueAnswers, AllWorkersMessagesComeById) {
    workers.ids = {{"A1", "A4", "A5", "A6", "A9"}, {}, {"A2", "A3", "A7", "A8"}};
    const json answer = list({});
    EXPECT_THAT(ids_in(answer), ElementsAre("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"));
    EXPECT_FALSE(answer.contains("next"));
    EXPECT_THAT(answer["silent_workers"], IsEmpty());
}

TEST_F(QueueAnswers, APieceSaysWhereToGoOn) {
    std::set<std::string> all;
    for (int i = 0; i < 200; ++i) {
        all.insert("B" + std::to_string(100 + i));
    }
    workers.ids.resize(3);
    for (const std::string& id : all) {
        workers.ids[std::hash<std::string>()(id) % 3].insert(id);
    }
    for (const std::size_t piece : {1, 2, 7, 1000}) {
        for (const char* const limit : {"1", "3", "50", "500"}) {
            workers.piece = piece;
            std::vector<std::string> seen;
            QueueParameters parameters{{"limit", limit}};
            for (int i = 0; i < 1000; ++i) {
                const json answer = list(parameters);
                const auto ids = ids_in(answer);
                EXPECT_LE(ids.size(), std::stoul(limit));
                seen.insert(seen.end(), ids.begin(), ids.end());
                if (!answer.contains("next")) {
                    break;
                }
                parameters.erase("cursor");
                parameters.emplace("cursor", answer["next"]);
            }
            EXPECT_TRUE(std::equal(seen.begin(), seen.end(), all.begin(), all.end()));
        }
    }
}

TEST_F(QueueAnswers, OneThatStandsStillIsNamedAndTheOthersAreShown) {
    workers.ids = {{"A1", "A3"}, {"A2"}, {"A4"}};
    workers.silent = {1};
    patience.worker = std::chrono::milliseconds(1);
    json answer = list({});
    EXPECT_THAT(ids_in(answer), ElementsAre("A1", "A3", "A4"));
    EXPECT_EQ(answer["silent_workers"], json({1}));
    answer = change({{"all", "1"}});
    EXPECT_THAT(workers.changed, ElementsAre("A1", "A3", "A4"));
    EXPECT_EQ(answer["silent_workers"], json({1}));
    EXPECT_EQ(answer["changed"], 3);
}

/// Each piece of a long list would wait for it anew, and never come to an end.
TEST_F(QueueAnswers, OneThatStandsStillIsWaitedForOnce) {
    workers.ids = {{"A1"}, {"A2", "A3", "A4"}};
    workers.silent = {0};
    workers.piece = 1;
    patience = {.answer = base::Duration(0), .worker = std::chrono::milliseconds(1)};
    json answer = list({});
    EXPECT_THAT(ids_in(answer), ElementsAre("A2"));
    EXPECT_EQ(answer["silent_workers"], json({0}));
    workers.asked = 0;
    answer = list({{"cursor", answer["next"]}});
    EXPECT_THAT(ids_in(answer), ElementsAre("A3"));
    EXPECT_EQ(workers.asked, 1);
    EXPECT_EQ(answer["silent_workers"], json({0}));
}

TEST_F(QueueAnswers, WhoIsNotThereIsNotWaitedFor) {
    const AdminAnswer answer = answer_queue_list(
        2, [](auto, const auto&, const auto&) { return false; }, {}, patience);
    EXPECT_EQ(json::parse(answer.body)["silent_workers"], json({0, 1}));
}

TEST_F(QueueAnswers, TheOldestOfAll) {
    workers.ids = {{}, {}};
    EXPECT_EQ(oldest_arrival_ms(2, workers.ask()), std::nullopt);
    workers.ids = {{"A7", "A8"}, {"A3", "A9"}, {}};
    EXPECT_EQ(oldest_arrival_ms(3, workers.ask()), 3);
}

/// What comes late is nobody's, and harms nobody.
TEST_F(QueueAnswers, AnAnswerThatComesLateIsLost) {
    std::vector<std::function<void(shard::QueueAnswer)>> late;
    patience.worker = std::chrono::milliseconds(1);
    answer_queue_list(
        1,
        [&](auto, const auto&, const auto& answered) {
            late.push_back(answered);
            return true;
        },
        {},
        patience);
    ASSERT_EQ(late.size(), 1u);
    late[0]({});
}

TEST_F(QueueAnswers, AChangeEndsInTimeAndGoesOn) {
    workers.ids = {{"A1", "A4", "A5"}, {"A2", "A3", "A6"}};
    workers.piece = 1;
    patience.answer = base::Duration(0);
    QueueParameters parameters{{"all", "1"}};
    int pieces = 0;
    json answer = change(parameters);
    EXPECT_EQ(answer["changed"], 0);  // no time at all: but it says where to begin
    patience.answer = std::chrono::seconds(60);
    for (; answer.contains("next"); ++pieces) {
        parameters.erase("cursor");
        parameters.emplace("cursor", answer["next"]);
        answer = change(parameters);
    }
    EXPECT_THAT(workers.changed, ElementsAre("A1", "A4", "A5", "A2", "A3", "A6"));
    EXPECT_EQ(answer["matched"], 6);
}

TEST_F(QueueAnswers, WhatIsWrongIsSaidAndNobodyIsAsked) {
    workers.ids = {{"A1"}};
    EXPECT_EQ(answer_queue_list(1, workers.ask(), {{"domian", "x"}}).status, 400);
    EXPECT_EQ(answer_queue_change(1, workers.ask(), QueueChange::remove, {}).status, 400);
    EXPECT_EQ(workers.asked, 0);
}

}  // namespace
}  // namespace postern::app

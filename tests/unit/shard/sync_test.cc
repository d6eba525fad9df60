#include "postern/shard/sync.h"

#include <gtest/gtest.h>

namespace postern::shard {
namespace {

using Kind = mail::Outcome::Kind;

TEST(SyncAnswer, IsTheSmartHostsOwnWhenThereIsOne) {
    mail::Outcome outcome;
    outcome.kind = Kind::accepted;
    outcome.reply = {250, {2, 0, 0}, "ok: queued as 42"};
    EXPECT_EQ(sync_answer(outcome).code, 250);
    EXPECT_EQ(sync_answer(outcome).text, "ok: queued as 42");
    outcome.kind = Kind::refused;
    outcome.reply = {554, {5, 7, 1}, "spam"};
    EXPECT_EQ(sync_answer(outcome).code, 554);
}

TEST(SyncAnswer, NamesEachTemporaryTroubleByItsCode) {
    struct Row {
        Kind kind;
        mail::EnhancedCode enhanced;
    };

    for (const Row& row :
         {Row{Kind::divided, {4, 3, 0}},
          Row{Kind::unreachable, {4, 4, 1}},
          Row{Kind::unresolved, {4, 4, 3}},
          Row{Kind::busy, {4, 4, 5}},
          Row{Kind::untrusted, {4, 7, 4}},
          Row{Kind::unknown, {4, 4, 2}}}) {
        mail::Outcome outcome;
        outcome.kind = row.kind;
        const mail::Reply reply = sync_answer(outcome);
        EXPECT_EQ(reply.code, 451);
        EXPECT_EQ(reply.enhanced, row.enhanced);
        EXPECT_FALSE(reply.text.empty());
    }
}

}  // namespace
}  // namespace postern::shard

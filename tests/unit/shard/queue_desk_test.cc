#include "queue_desk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "kept_maker.h"

namespace postern::shard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A queue that does nothing but remember what it was told. The pool of a recipient is the first
/// label of its domain; "gone.test" has none.
class FakeQueue final : public ManagedQueue {
   public:
    spool::Kept& add(std::string_view id, const KeptWords& words) {
        return *(kept_[*journal::id_from_text(id)] = make_kept(id, words));
    }

    spool::Kept* at_or_after(const journal::Id& id) override {
        ++looked;
        const auto found = kept_.lower_bound(id);
        return found == kept_.end() ? nullptr : found->second.get();
    }

    std::string_view pool_of(const spool::Kept& kept, std::uint32_t recipient) override {
        const std::string_view address = kept.recipients()[recipient].address;
        const std::string_view domain = address.substr(address.rfind('@') + 1);
        const std::string_view name = domain.substr(0, domain.find('.'));
        return name == "gone" ? std::string_view() : name;
    }

    void retry(spool::Kept& kept) override { retried.push_back(journal::text_of(kept.id())); }

    void hold(spool::Kept& kept, bool held) override { kept.set_held(held); }

    void remove(spool::Kept& kept, bool notify) override {
        (notify ? notified : removed).push_back(journal::text_of(kept.id()));
        kept_.erase(kept.id());
    }

    std::vector<std::string> retried, removed, notified;
    std::size_t looked = 0;

   private:
    std::map<journal::Id, KeptPointer> kept_;
};

std::vector<std::string> ids_of(const QueueAnswer& answer) {
    std::vector<std::string> ids;
    for (const QueueRow& row : answer.rows) {
        ids.push_back(journal::text_of(row.id));
    }
    return ids;
}

struct QueueDesk : testing::Test {
    QueueDesk() {
        queue.add(
            "A1", {.sender = "anna@one.test", .arrival_ms = 1000, .recipients = {"x@a.test"}});
        queue.add(
            "A2", {.sender = "", .arrival_ms = 2000, .recipients = {"y@b.test", "z@sub.a.test"}});
        queue.add(
            "A3",
            {.sender = "Bob@Two.test",
             .arrival_ms = 3000,
             .recipients = {"x@gone.test"},
             .held = true});
        spool::Kept& half = queue.add(
            "A4",
            {.sender = "bob@two.test",
             .arrival_ms = 4000,
             .recipients = {"done@a.test", "waits@b.test"}});
        half.recipients()[0].state = journal::State::delivered;
    }

    QueueAnswer list(QueueFilter filter) { return ask_queue(queue, {.filter = std::move(filter)}); }

    QueueAnswer change(QueueChange what, QueueFilter filter = {}) {
        return ask_queue(queue, {.filter = std::move(filter), .change = what});
    }

    FakeQueue queue;
};

TEST_F(QueueDesk, ListsAllByIdAndSaysWhenThatIsAll) {
    const QueueAnswer answer = list({});
    EXPECT_THAT(ids_of(answer), ElementsAre("A1", "A2", "A3", "A4"));
    EXPECT_EQ(answer.matched, 4u);
    EXPECT_FALSE(answer.next);
    EXPECT_EQ(answer.rows[0].recipients[0].pool, "a");
    EXPECT_FALSE(answer.rows[0].orphaned);
    EXPECT_TRUE(answer.rows[2].orphaned);
    EXPECT_TRUE(answer.rows[2].held);
}

TEST_F(QueueDesk, AListShowsWhoWaitsAndAWholeMessageAll) {
    const QueueFilter only{.ids = {*journal::id_from_text("A4")}};
    QueueAnswer answer = list(only);
    ASSERT_EQ(answer.rows.size(), 1u);
    ASSERT_EQ(answer.rows[0].recipients.size(), 1u);
    EXPECT_EQ(answer.rows[0].recipients[0].address, "waits@b.test");
    EXPECT_EQ(answer.rows[0].recipients[0].pool, "b");
    answer = ask_queue(queue, {.filter = only, .whole = true});
    ASSERT_EQ(answer.rows[0].recipients.size(), 2u);
    EXPECT_EQ(answer.rows[0].recipients[0].pool, "");
    EXPECT_EQ(answer.rows[0].recipients[1].pool, "b");
    EXPECT_EQ(answer.rows[0].waiting, 1u);
}

TEST_F(QueueDesk, EachFilterMeansWhatItSays) {
    EXPECT_THAT(ids_of(list({.domain = "a.test"})), ElementsAre("A1", "A2"));
    EXPECT_THAT(ids_of(list({.domain = "a.test", .domain_alone = true})), ElementsAre("A1"));
    EXPECT_THAT(ids_of(list({.domain = ".test"})), IsEmpty());
    EXPECT_THAT(ids_of(list({.domain = "test"})), ElementsAre("A1", "A2", "A3", "A4"));
    EXPECT_THAT(ids_of(list({.pool = "b"})), ElementsAre("A2", "A4"));
    EXPECT_THAT(ids_of(list({.sender = "bob@two.test"})), ElementsAre("A3", "A4"));
    EXPECT_THAT(ids_of(list({.sender = "@two.test"})), ElementsAre("A3", "A4"));
    EXPECT_THAT(ids_of(list({.sender = ""})), ElementsAre("A2"));
    EXPECT_THAT(ids_of(list({.arrived_before_ms = 3000})), ElementsAre("A1", "A2"));
    EXPECT_THAT(ids_of(list({.orphaned = true})), ElementsAre("A3"));
    EXPECT_THAT(ids_of(list({.held = true})), ElementsAre("A3"));
    EXPECT_THAT(ids_of(list({.domain = "b.test", .sender = "bob@two.test"})), ElementsAre("A4"));
    // The domain and the pool of one recipient.
    EXPECT_THAT(ids_of(list({.domain = "b.test", .pool = "sub"})), IsEmpty());
}

TEST_F(QueueDesk, OfOneThatWaitsForNothingNothingIsSaid) {
    for (spool::KeptRecipient& each : queue.at_or_after({})->recipients()) {
        each.state = journal::State::refused;
    }
    EXPECT_THAT(ids_of(list({})), ElementsAre("A2", "A3", "A4"));
}

TEST_F(QueueDesk, GoesOnWhereItStopped) {
    QueueAsk ask{.rows_max = 1};
    std::vector<std::string> seen;
    for (int i = 0; i < 4; ++i) {
        const QueueAnswer answer = ask_queue(queue, ask);
        ASSERT_EQ(answer.rows.size(), 1u);
        seen.push_back(ids_of(answer)[0]);
        EXPECT_EQ(answer.next.has_value(), i < 3);
        ask.from = answer.next.value_or(ask.from);
    }
    EXPECT_THAT(seen, ElementsAre("A1", "A2", "A3", "A4"));
}

TEST_F(QueueDesk, LooksUpIdsAndPassesNobody) {
    QueueFilter filter;
    for (const char* const id : {"A0", "A2", "A4", "A5"}) {
        filter.ids.push_back(*journal::id_from_text(id));
    }
    queue.looked = 0;
    EXPECT_THAT(ids_of(list(filter)), ElementsAre("A2", "A4"));
    EXPECT_LE(queue.looked, 4u);
}

TEST_F(QueueDesk, RetryLeavesOutWhatIsHeld) {
    const QueueAnswer answer = change(QueueChange::retry);
    EXPECT_THAT(queue.retried, ElementsAre("A1", "A2", "A4"));
    EXPECT_EQ(answer.matched, 4u);
    EXPECT_EQ(answer.changed, 3u);
    EXPECT_EQ(answer.left_out, 1u);
    EXPECT_THAT(answer.rows, IsEmpty());
}

TEST_F(QueueDesk, HoldsAndReleases) {
    EXPECT_EQ(change(QueueChange::hold, {.sender = "bob@two.test"}).changed, 1u);
    EXPECT_THAT(ids_of(list({.held = true})), ElementsAre("A3", "A4"));
    const QueueAnswer answer = change(QueueChange::release);
    EXPECT_EQ(answer.changed, 2u);
    EXPECT_EQ(answer.left_out, 2u);
    EXPECT_THAT(ids_of(list({.held = true})), IsEmpty());
}

TEST_F(QueueDesk, RemovesNoMessageForOneOfItsRecipients) {
    QueueAnswer answer = change(QueueChange::remove, {.domain = "a.test"});
    EXPECT_THAT(queue.removed, ElementsAre("A1"));
    EXPECT_EQ(answer.left_out, 1u);  // A2 waits for b.test, too
    answer = change(QueueChange::remove, {.domain = "b.test"});
    EXPECT_THAT(queue.removed, ElementsAre("A1", "A4"));  // the other one of A4 has it already
    answer = change(QueueChange::remove, {.ids = {*journal::id_from_text("A2")}});
    EXPECT_THAT(queue.removed, ElementsAre("A1", "A4", "A2"));
    EXPECT_EQ(answer.changed, 1u);
}

TEST_F(QueueDesk, OneOrphanMakesAMessageOrphanedAndDoesNotRemoveItForTheOthers) {
    queue.add("A5", {.sender = "s@x.test", .recipients = {"x@gone.test", "y@b.test"}});
    const QueueAnswer answer = list({.orphaned = true});
    EXPECT_THAT(ids_of(answer), ElementsAre("A3", "A5"));
    EXPECT_TRUE(answer.rows[1].orphaned);
    EXPECT_EQ(change(QueueChange::remove, {.orphaned = true}).left_out, 1u);
    EXPECT_THAT(queue.removed, ElementsAre("A3"));
}

TEST_F(QueueDesk, RemovesWithANotificationWhereThatIsAsked) {
    ask_queue(queue, {.filter = {.orphaned = true}, .change = QueueChange::remove, .notify = true});
    EXPECT_THAT(queue.notified, ElementsAre("A3"));
    EXPECT_THAT(queue.removed, IsEmpty());
}

/// Every message is dealt with once, however many pieces it takes.
TEST(QueueDeskBounds, ATurnDoesABoundedPiece) {
    FakeQueue queue;
    constexpr std::size_t count = 5000;
    for (std::size_t i = 0; i < count; ++i) {
        queue.add(
            "B" + std::to_string(10'000 + i), {.sender = "s@x.test", .recipients = {"r@a.test"}});
    }
    for (const QueueFilter& filter : {QueueFilter{.domain = "none.test"}, QueueFilter{}}) {
        QueueAsk ask{.filter = filter, .rows_max = 100'000};
        std::size_t rows = 0;
        std::size_t turns = 0;
        for (bool more = true; more; ++turns) {
            queue.looked = 0;
            const QueueAnswer answer = ask_queue(queue, ask);
            EXPECT_LE(queue.looked, 2049u);
            rows += answer.rows.size();
            more = answer.next.has_value();
            ask.from = answer.next.value_or(ask.from);
        }
        EXPECT_EQ(rows, filter.domain.empty() ? count : 0);
        EXPECT_GE(turns, count / 1024);
    }
    QueueAsk ask{.change = QueueChange::remove};
    for (bool more = true; more;) {
        const QueueAnswer answer = ask_queue(queue, ask);
        EXPECT_LE(answer.changed, 128u);
        more = answer.next.has_value();
        ask.from = answer.next.value_or(ask.from);
    }
    EXPECT_EQ(queue.removed.size(), count);
    EXPECT_EQ(std::set(queue.removed.begin(), queue.removed.end()).size(), count);
}

TEST(QueueDeskBounds, ManyRecipientsAreCountedAndNotAllShown) {
    FakeQueue queue;
    KeptWords words{.sender = "s@x.test", .recipients = {}};
    for (int i = 0; i < 3000; ++i) {
        words.recipients.push_back("r" + std::to_string(i) + "@a.test");
    }
    queue.add("C1", words);
    queue.add("C2", words);
    const QueueAnswer answer = ask_queue(queue, {});
    ASSERT_EQ(answer.rows.size(), 1u);  // one is a turn's work already
    EXPECT_TRUE(answer.next);
    EXPECT_EQ(answer.rows[0].recipients.size(), listed_recipients_max);
    EXPECT_EQ(answer.rows[0].left, 3000 - listed_recipients_max);
    EXPECT_EQ(answer.rows[0].waiting, 3000u);
}

TEST(QueueDeskBounds, TheIdBehindAnId) {
    EXPECT_EQ(next_id({1, 5}), (journal::Id{1, 6}));
    EXPECT_EQ(next_id({1, ~std::uint64_t{0}}), (journal::Id{2, 0}));
}

}  // namespace
}  // namespace postern::shard

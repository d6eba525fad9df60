#include "queue.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "postern/io/random.h"

namespace postern::shard {
namespace {

using namespace std::chrono_literals;
using Came = Queue::Came;

constexpr std::int64_t minute_ms = 60'000;

/// Domains lead to pools by this map.
struct QueueTest : ::testing::Test, Queue::Router {
    QueueTest() {
        general.first = 1min;
        general.max = 1h;
        general.expire = 120h;
    }

    ~QueueTest() override {
        for (spool::Kept* const kept : made) {
            queue.unschedule(*kept);
            queue.erase(*kept);
            spool::Kept::destroy(kept);
        }
    }

    std::optional<Queue::Way> way_of(
        const spool::Kept&, const spool::KeptRecipient& recipient) override {
        ++looked_up;
        const auto found =
            ways.find(std::string(recipient.address.substr(recipient.address.find('@') + 1)));
        return found == ways.end() ? std::nullopt
                                   : std::optional(Queue::Way{found->second, general});
    }

    const config::Retry& retry() const override { return general; }

    std::int64_t longest_pause_ms() const override { return base::to_ms(general.max); }

    spool::Kept& make(std::vector<std::string> addresses, std::int64_t arrival_ms) {
        journal::Message message;
        message.arrival_ms = arrival_ms;
        message.reverse_path = "sender@example.org";
        std::vector<journal::Recipient> recipients(addresses.size());
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            recipients[i].address = addresses[i];
        }
        spool::Kept* const kept = spool::Kept::make({0, ++last_id}, message, 1000, recipients);
        made.push_back(kept);
        queue.add(*kept);
        return *kept;
    }

    spool::Kept& scheduled(std::vector<std::string> addresses, std::int64_t arrival_ms) {
        spool::Kept& kept = make(std::move(addresses), arrival_ms);
        queue.schedule(kept, wall_ms);
        return kept;
    }

    Queue::Next next() { return queue.next(now, wall_ms); }

    void pass(base::Duration time) {
        now += time;
        wall_ms += base::to_ms(time);
    }

    Queue queue{*this};
    config::Retry general;
    std::map<std::string, std::uint32_t> ways{{"a.example", 0}, {"b.example", 1}};
    base::Instant now{1h};
    std::int64_t wall_ms = 1'000'000'000;
    std::uint64_t last_id = 0;
    unsigned looked_up = 0;
    std::vector<spool::Kept*> made;
};

TEST_F(QueueTest, the_oldest_goes_first) {
    spool::Kept& younger = scheduled({"x@a.example"}, wall_ms - 10);
    spool::Kept& older = scheduled({"x@a.example"}, wall_ms - 20);
    const Queue::Next first = next();
    EXPECT_EQ(first.kept, &older);
    EXPECT_EQ(first.pool, 0U);
    EXPECT_FALSE(first.expired);
    EXPECT_EQ(next().kept, nullptr) << "a pool that nothing is known of has one at a time";
    queue.tried(0, Came::answer, now);
    EXPECT_EQ(next().kept, &younger);
    queue.tried(0, Came::answer, now);
    EXPECT_FALSE(queue.wait(now, wall_ms));
}

TEST_F(QueueTest, a_pool_that_does_not_answer_has_one_probe_with_growing_pauses) {
    for (int i = 0; i < 100; ++i) {
        scheduled({"x@a.example"}, wall_ms - i);
    }
    spool::Kept& other = scheduled({"x@b.example"}, wall_ms);
    std::vector<base::Duration> pauses;
    for (int i = 0; i < 8; ++i) {
        const Queue::Next probe = next();
        ASSERT_NE(probe.kept, nullptr);
        if (probe.kept == &other) {
            queue.tried(1, Came::answer, now);
            --i;
            continue;
        }
        ASSERT_EQ(probe.pool, 0U);
        EXPECT_EQ(
            next().kept == &other ? (queue.tried(1, Came::answer, now), nullptr) : nullptr,
            nullptr);
        queue.tried(0, Came::trouble, now);
        queue.schedule(*probe.kept, wall_ms);
        EXPECT_EQ(next().kept, nullptr);
        EXPECT_FALSE(queue.open(0, now));
        const auto wait = queue.wait(now, wall_ms);
        ASSERT_TRUE(wait);
        pauses.push_back(*wait);
        pass(*wait);
    }
    EXPECT_EQ(pauses, (std::vector<base::Duration>{1s, 2s, 4s, 8s, 16s, 30s, 30s, 30s}));
}

TEST_F(QueueTest, a_pool_that_answers_again_is_not_flooded) {
    for (int i = 0; i < 1000; ++i) {
        scheduled({"x@a.example"}, wall_ms - i);
    }
    std::uint32_t trying = 0;
    std::uint32_t most = 0;
    std::size_t done = 0;
    std::int64_t last = 0;
    for (unsigned rounds = 0; done < 1000 && rounds < 100; ++rounds) {
        for (Queue::Next one = next(); one.kept != nullptr; one = next()) {
            EXPECT_GE(one.kept->arrival_ms(), last);
            last = one.kept->arrival_ms();
            ++trying;
        }
        most = std::max(most, trying);
        if (rounds == 0) {
            EXPECT_EQ(trying, 1U);
        }
        for (; trying > 0; --trying, ++done) {
            queue.tried(0, Came::answer, now);
        }
    }
    EXPECT_EQ(done, 1000U);
    EXPECT_EQ(most, Queue::window_max);
}

TEST_F(QueueTest, what_waits_does_not_stand_behind_what_passes) {
    for (std::uint32_t i = 0; i < 2 * Queue::window_max; ++i) {
        ASSERT_TRUE(queue.open(0, now));
        queue.passing(0);
    }
    spool::Kept& kept = scheduled({"x@a.example"}, wall_ms);
    EXPECT_EQ(queue.wait(now, wall_ms), std::optional<base::Duration>(0s));
    EXPECT_EQ(next().kept, &kept);
    queue.tried(0, Came::answer, now);
    for (std::uint32_t i = 0; i < 2 * Queue::window_max; ++i) {
        queue.passed(0, Came::answer, now);
    }
}

TEST_F(QueueTest, there_is_one_probe_whoever_it_is) {
    queue.passing(0);
    queue.passed(0, Came::trouble, now);
    EXPECT_FALSE(queue.open(0, now));
    pass(Queue::pause_first);
    ASSERT_TRUE(queue.open(0, now));
    queue.passing(0);
    EXPECT_FALSE(queue.open(0, now));
    spool::Kept& kept = scheduled({"x@a.example"}, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    EXPECT_EQ(queue.wait(now, wall_ms), std::optional<base::Duration>(general.expire))
        << "no turn without end while the probe is under way";
    queue.passed(0, Came::answer, now);
    EXPECT_EQ(next().kept, &kept);
    EXPECT_TRUE(queue.open(0, now));
    queue.tried(0, Came::trouble, now);
    queue.schedule(kept, wall_ms);
    pass(Queue::pause_first);
    EXPECT_EQ(next().kept, &kept);
    EXPECT_FALSE(queue.open(0, now));
    queue.tried(0, Came::answer, now);
}

TEST_F(QueueTest, what_a_host_put_off_waits_for_its_own_time) {
    spool::Kept& kept = make({"x@a.example", "y@b.example"}, wall_ms);
    kept.recipients()[0].next_try_ms = wall_ms + minute_ms;
    queue.schedule(kept, wall_ms);
    EXPECT_EQ(queue.pool_of(kept), std::optional<std::uint32_t>(1)) << "the other one is due";
    ASSERT_EQ(next().kept, &kept);
    queue.tried(1, Came::answer, now);
    kept.recipients()[1].state = journal::State::delivered;
    queue.schedule(kept, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    EXPECT_EQ(queue.wait(now, wall_ms), std::optional<base::Duration>(1min));
    pass(1min);
    EXPECT_EQ(next().kept, &kept);
    queue.tried(0, Came::answer, now);
}

/// A year ahead, and set right: what was put off meanwhile does not wait for that year.
TEST_F(QueueTest, a_clock_that_was_ahead) {
    constexpr std::int64_t year_ms = 365 * 24 * 60 * minute_ms;
    wall_ms += year_ms;
    spool::Kept& waits = make({"x@a.example"}, wall_ms);
    waits.recipients()[0].next_try_ms = wall_ms + minute_ms;
    queue.schedule(waits, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    wall_ms -= year_ms;
    EXPECT_EQ(next().kept, &waits);
    queue.tried(0, Came::answer, now);

    spool::Kept& read = make({"y@a.example"}, wall_ms);  // from the disk, say
    read.recipients()[0].next_try_ms = wall_ms + year_ms;
    EXPECT_TRUE(queue.is_due(read.recipients()[0], wall_ms));
    queue.schedule(read, wall_ms);
    EXPECT_EQ(next().kept, &read);
    queue.tried(0, Came::answer, now);

    spool::Kept& put_off = make({"z@a.example"}, wall_ms);
    put_off.recipients()[0].next_try_ms = wall_ms + base::to_ms(general.max);
    EXPECT_FALSE(queue.is_due(put_off.recipients()[0], wall_ms));
}

TEST_F(QueueTest, what_no_rule_takes_is_kept_and_looked_up_at_a_reload) {
    spool::Kept& kept = scheduled({"x@c.example"}, wall_ms);
    EXPECT_TRUE(queue.orphaned(kept));
    EXPECT_EQ(next().kept, nullptr);
    pass(10min);
    EXPECT_EQ(next().kept, nullptr);
    EXPECT_TRUE(queue.orphaned(kept)) << "looked up in vain";
    ways["c.example"] = 5;
    queue.rules_changed();
    const Queue::Next one = next();
    EXPECT_EQ(one.kept, &kept);
    EXPECT_EQ(one.pool, 5U);
    queue.tried(5, Came::answer, now);
}

TEST_F(QueueTest, an_orphan_expires) {
    spool::Kept& kept = scheduled({"x@c.example"}, wall_ms);
    for (int i = 0; i < 2000; ++i) {
        pass(10min);
        const Queue::Next one = next();
        if (one.kept != nullptr) {
            EXPECT_EQ(one.kept, &kept);
            EXPECT_TRUE(one.expired);
            EXPECT_GE(wall_ms, kept.arrival_ms() + base::to_ms(general.expire));
            return;
        }
    }
    FAIL() << "it never did";
}

TEST_F(QueueTest, what_waits_for_a_dead_pool_expires) {
    spool::Kept& probe = scheduled({"x@a.example"}, wall_ms - 1);
    ASSERT_EQ(next().kept, &probe);
    queue.tried(0, Came::trouble, now);
    spool::Kept& kept = scheduled({"x@a.example"}, wall_ms);
    pass(general.expire);
    const Queue::Next one = next();
    EXPECT_EQ(one.kept, &kept);
    EXPECT_TRUE(one.expired);
    EXPECT_EQ(next().kept, nullptr);
}

TEST_F(QueueTest, what_is_past_its_time_is_tried_where_the_pool_answers) {
    const std::int64_t long_ago = wall_ms - 2 * base::to_ms(general.expire);
    spool::Kept& probe = scheduled({"x@a.example"}, long_ago);
    scheduled({"x@a.example"}, long_ago + 1);
    const Queue::Next first = next();
    EXPECT_EQ(first.kept, &probe);
    EXPECT_FALSE(first.expired);
    EXPECT_EQ(next().kept, nullptr);
    EXPECT_EQ(queue.wait(now, wall_ms), std::nullopt) << "nothing but the answer changes it";
    queue.tried(0, Came::trouble, now);
    EXPECT_EQ(queue.wait(now, wall_ms), base::Duration{});
    EXPECT_TRUE(next().expired);
}

TEST_F(QueueTest, what_is_past_its_time_waits_for_a_pool_that_is_only_busy) {
    const std::int64_t long_ago = wall_ms - 2 * base::to_ms(general.expire);
    scheduled({"x@a.example"}, long_ago);
    spool::Kept& kept = scheduled({"x@a.example"}, long_ago + 1);
    ASSERT_NE(next().kept, nullptr);
    queue.tried(0, Came::congested, now);
    EXPECT_EQ(next().kept, nullptr);
    pass(*queue.wait(now, wall_ms));
    const Queue::Next one = next();
    EXPECT_EQ(one.kept, &kept);
    EXPECT_FALSE(one.expired);
    queue.tried(0, Came::answer, now);
}

TEST_F(QueueTest, other_rules_move_what_waits) {
    for (int i = 0; i < 2000; ++i) {
        scheduled({"x@a.example"}, wall_ms - i);
    }
    ASSERT_NE(next().kept, nullptr);
    queue.tried(0, Came::trouble, now);
    ways["a.example"] = 7;
    queue.rules_changed();
    looked_up = 0;
    Queue::Next one = next();
    EXPECT_LE(looked_up, 1000U) << "little by little";
    EXPECT_EQ(queue.wait(now, wall_ms), std::optional<base::Duration>(0s));
    std::size_t moved = 0;
    for (unsigned turns = 0; turns < 5000 && moved < 1999; ++turns, one = next()) {
        if (one.kept != nullptr) {
            EXPECT_EQ(one.pool, 7U);
            queue.tried(7, Came::answer, now);
            ++moved;
        }
    }
    EXPECT_EQ(moved, 1999U);
}

TEST_F(QueueTest, held_mail_is_in_no_schedule) {
    spool::Kept& kept = make({"x@a.example"}, wall_ms);
    kept.set_held(true);
    queue.schedule(kept, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    EXPECT_FALSE(queue.wait(now, wall_ms));
    kept.set_held(false);
    queue.schedule(kept, wall_ms);
    EXPECT_EQ(next().kept, &kept);
    queue.tried(0, Came::answer, now);
}

TEST_F(QueueTest, mail_that_was_answered_opens_the_pool) {
    spool::Kept& kept = scheduled({"x@a.example"}, wall_ms);
    ASSERT_EQ(next().kept, &kept);
    queue.tried(0, Came::trouble, now);
    queue.schedule(kept, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    queue.answered(0);
    EXPECT_TRUE(queue.open(0, now));
    EXPECT_EQ(next().kept, &kept);
    queue.tried(0, Came::answer, now);
}

/// One pool's trouble never delays what another pool takes, of the same message neither.
TEST_F(QueueTest, a_message_for_two_pools_goes_to_the_one_that_answers) {
    spool::Kept& probe = scheduled({"x@a.example"}, wall_ms - 20);
    spool::Kept& before = scheduled({"x@a.example", "y@b.example"}, wall_ms - 10);
    EXPECT_EQ(queue.pool_of(before), std::optional<std::uint32_t>(0));
    ASSERT_EQ(next().kept, &probe);
    queue.tried(0, Came::trouble, now);
    queue.schedule(probe, wall_ms);
    spool::Kept& behind = scheduled({"x@a.example", "y@b.example"}, wall_ms);
    for (spool::Kept* const kept : {&before, &behind}) {
        const Queue::Next one = next();
        ASSERT_EQ(one.kept, kept);
        EXPECT_EQ(one.pool, 1U);
        queue.tried(1, Came::answer, now);
        kept->recipients()[1].state = journal::State::delivered;
        queue.schedule(*kept, wall_ms);
        EXPECT_EQ(queue.pool_of(*kept), std::optional<std::uint32_t>(0));
    }
    EXPECT_EQ(next().kept, nullptr);
}

TEST_F(QueueTest, of_two_pools_that_do_not_answer_the_first_that_does_has_it) {
    for (const char* const address : {"x@a.example", "x@b.example"}) {
        scheduled({address}, wall_ms - 20);
        const Queue::Next probe = next();
        ASSERT_NE(probe.kept, nullptr);
        queue.tried(probe.pool, Came::trouble, now);
        queue.schedule(*probe.kept, wall_ms);
    }
    spool::Kept& kept = scheduled({"x@a.example", "y@b.example"}, wall_ms);
    EXPECT_EQ(next().kept, nullptr);
    queue.answered(1);
    Queue::Next one = next();
    ASSERT_NE(one.kept, nullptr);
    EXPECT_EQ(one.pool, 1U) << "the older one";
    queue.tried(1, Came::answer, now);
    one = next();
    EXPECT_EQ(one.kept, &kept);
    EXPECT_EQ(one.pool, 1U);
    queue.tried(1, Came::answer, now);
}

TEST_F(QueueTest, a_message_for_two_pools_probes_both) {
    spool::Kept& kept = scheduled({"x@a.example", "y@b.example"}, wall_ms);
    std::vector<std::uint32_t> probed;
    for (int i = 0; i < 6; ++i) {
        const Queue::Next one = next();
        ASSERT_EQ(one.kept, &kept);
        probed.push_back(one.pool);
        queue.tried(one.pool, Came::trouble, now);
        queue.schedule(kept, wall_ms);
        if (const auto wait = queue.wait(now, wall_ms)) {
            pass(*wait);
        }
    }
    EXPECT_EQ(std::count(probed.begin(), probed.end(), 0U), 3);
}

TEST_F(QueueTest, the_oldest_goes_first_of_those_for_one_pool_and_those_for_two) {
    std::vector<spool::Kept*> expected;
    for (int i = 0; i < 6; ++i) {
        expected.push_back(&scheduled(
            i % 2 == 0 ? std::vector<std::string>{"x@a.example"}
                       : std::vector<std::string>{"x@a.example", "y@b.example"},
            wall_ms + i));
    }
    for (spool::Kept* const kept : expected) {
        ASSERT_EQ(next().kept, kept);
        queue.tried(0, Came::answer, now);
    }
}

TEST_F(QueueTest, one_for_which_there_is_no_memory_lets_others_pass) {
    spool::Kept& large = scheduled({"x@a.example"}, wall_ms - 20);
    spool::Kept& small = scheduled({"x@a.example"}, wall_ms - 10);
    spool::Kept& other = scheduled({"x@b.example"}, wall_ms);
    ASSERT_EQ(next().kept, &large);
    queue.let_go(0);
    queue.put_off(large, 0, now, wall_ms);
    EXPECT_EQ(next().kept, &other) << "another pool's is tried at once";
    EXPECT_EQ(next().kept, nullptr) << "a little time is between them";
    ASSERT_TRUE(queue.wait(now, wall_ms));
    pass(*queue.wait(now, wall_ms));
    EXPECT_EQ(next().kept, &small);
    queue.tried(0, Came::answer, now);
    EXPECT_EQ(next().kept, nullptr);
    ASSERT_TRUE(queue.wait(now, wall_ms));
    pass(*queue.wait(now, wall_ms));
    EXPECT_EQ(next().kept, &large);
    queue.tried(0, Came::answer, now);
    queue.tried(1, Came::answer, now);
    // It may be held meanwhile, and is not tried then.
    large.set_held(true);
    queue.put_off(large, 0, now, wall_ms);
    EXPECT_FALSE(queue.wait(now, wall_ms));
}

/// Any messages, any order of what happens to them, against an ordered map.
TEST_F(QueueTest, the_index_and_the_heaps_agree_with_a_map) {
    io::Random random(7);
    std::map<std::uint64_t, spool::Kept*> model;
    for (int step = 0; step < 20000; ++step) {
        if (model.size() < 300 && random.chance(6, 10)) {
            spool::Kept& kept = scheduled(
                random.chance(1, 3)   ? std::vector<std::string>{"x@a.example", "x@b.example"}
                : random.chance(1, 2) ? std::vector<std::string>{"x@a.example"}
                                      : std::vector<std::string>{"x@b.example"},
                wall_ms - static_cast<std::int64_t>(random.below(1000)));
            model[kept.id().low] = &kept;
        } else if (!model.empty()) {
            auto at = model.begin();
            std::advance(at, static_cast<std::ptrdiff_t>(random.below(model.size())));
            spool::Kept* const kept = at->second;
            queue.unschedule(*kept);
            if (random.chance(1, 2)) {
                queue.schedule(*kept, wall_ms);
            } else {
                queue.erase(*kept);
                model.erase(at);
                std::erase(made, kept);
                spool::Kept::destroy(kept);
            }
        }
        ASSERT_EQ(queue.index().size(), model.size());
        const std::uint64_t from = random.below(last_id + 2);
        const auto expected = model.lower_bound(from);
        spool::Kept* const found = queue.index().at_or_after({0, from});
        ASSERT_EQ(found, expected == model.end() ? nullptr : expected->second);
        // What is first of a pool has no older one beside it.
        for (const std::uint32_t pool : {0U, 1U}) {
            (void)pool;
            const Queue::Next one = next();
            if (one.kept == nullptr) {
                break;
            }
            for (const auto& [id, other] : model) {
                if (other != one.kept && queue.pool_of(*other) == one.pool) {
                    ASSERT_LE(one.kept->arrival_ms(), other->arrival_ms());
                }
            }
            queue.let_go(one.pool);
            queue.schedule(*one.kept, wall_ms);
        }
    }
}

}  // namespace
}  // namespace postern::shard

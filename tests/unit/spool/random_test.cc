#include <gtest/gtest.h>

#include <map>

#include "tests/unit/spool/life.h"

/// Anything at any time, under one seed: messages of all sizes, faults of the disk, power cuts, and
/// then whether what was promised is there.
namespace postern::spool {
namespace {

using test::Hand;
using test::Life;
using test::text_of_size;

enum class Fate : std::uint8_t { asked, safe, refused, ending, over };

struct Known {
    std::size_t size = 0;
    Fate fate = Fate::asked;
    std::uint32_t noted = 0;   // attempts, as noted last
    std::uint32_t stable = 0;  // as noted when the spool was idle last
    int born = 0;              // in which life
};

class History {
   public:
    explicit History(std::uint64_t seed) : random_(seed), seed_(seed) {}

    void go() {
        const int lives = 2 + static_cast<int>(random_.below(4));
        for (int i = 0; i < lives && !testing::Test::HasFailure(); ++i) {
            live(i + 1 == lives);
        }
    }

   private:
    void live(bool last) {
        ++lives_;
        sim::Faults faults;
        if (!last && random_.chance(2, 3)) {
            faults.write_fails = static_cast<unsigned>(random_.below(3) * random_.below(60));
            faults.short_writes = static_cast<unsigned>(random_.below(3) * random_.below(60));
            faults.read_fails = static_cast<unsigned>(random_.below(2) * random_.below(60));
            faults.create_fails = static_cast<unsigned>(random_.below(2) * random_.below(200));
        }
        faults.short_reads = static_cast<unsigned>(random_.below(2) * random_.below(300));
        faults.disk_latency_max = base::Duration(random_.below(3) * random_.below(20'000'000));
        disk_.set_octets_max(
            !last && random_.chance(1, 3) ? Life::octets_on_disk() + random_.below(1'000'000)
                                          : std::uint64_t{1} << 40);
        const auto workers = 1 + static_cast<std::uint32_t>(random_.below(3));
        Life life(random_.next(), faults, workers, segment_octets_, {}, random_.below(3));
        life_ = &life;
        for (const auto& hand : life.hands) {
            hand->on_stored = [this](std::uint64_t number, bool safe) {
                known_.at(number).fate = safe ? Fate::safe : Fate::refused;
            };
        }
        recovered_.clear();
        for (const auto& hand : life.hands) {
            hand->on_recovered = [this, &hand](Kept& kept) { recovered(*hand, kept); };
        }
        const std::uint64_t steps = last ? 100 : 50 + random_.below(600);
        const bool waits = last || random_.chance(1, 2);
        if (waits) {
            EXPECT_TRUE(life.recover());
            check_recovered();
        }
        for (std::uint64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
            step(*life.hands[random_.below(workers)]);
        }
        if (!waits) {
            EXPECT_TRUE(life.recover());
            check_recovered();
        }
        note_what_is_stable();
        if (last) {
            end_all();
        } else {
            note_over();
            disk_.cut_power(random_);
        }
        for (auto& [number, known] : known_) {
            // What was not answered, or refused, may come or not.
            (void)number;
            known.stable = std::min(known.stable, known.noted);
        }
    }

    std::string text_of(std::uint64_t number) const {
        return text_of_size(number, known_.at(number).size);
    }

    void step(Hand& hand) {
        switch (random_.below(10)) {
            case 0:
            case 1:
            case 2:
                keep(hand);
                break;
            case 3:
            case 4:
                if (Kept* kept = any_of(hand)) {
                    hand.spool.finish(*kept);
                    known_.at(kept->id().low).fate = Fate::ending;
                }
                break;
            case 5:
                if (Kept* kept = any_of(hand)) {
                    Known& known = known_.at(kept->id().low);
                    for (KeptRecipient& recipient : kept->recipients()) {
                        recipient.attempts = known.noted + 1;
                    }
                    ++known.noted;
                    hand.spool.note(*kept);
                }
                break;
            case 6:
                if (!hand.arrivals.empty() && random_.chance(1, 3)) {
                    const std::uint64_t number = hand.arrivals.begin()->first;
                    hand.drop(number);
                    known_.at(number).fate = Fate::refused;
                } else if (Kept* kept = any_of(hand)) {
                    load(hand, *kept);
                }
                break;
            default:
                turn();
                break;
        }
    }

    void turn() {
        life_->turn();
        note_over();
        for (const auto& hand : life_->hands) {
            for (auto& [number, loading] : hand->loads) {
                if (loading.over && loading.error.empty()) {
                    EXPECT_TRUE(loading.content == text_of(number)) << number;
                }
                if (loading.over && life_->world.faults().read_fails == 0) {
                    EXPECT_EQ(loading.error, "");
                }
            }
            std::erase_if(hand->loads, [](const auto& each) { return each.second.over; });
        }
    }

    void note_over() {
        for (const auto& hand : life_->hands) {
            for (const std::uint64_t number : hand->over) {
                known_.at(number).fate = Fate::over;
            }
            hand->over.clear();
        }
    }

    void keep(Hand& hand) {
        if (!hand.spool.takes()) {
            turn();
            return;
        }
        const std::uint64_t number = ++numbers_;
        const std::size_t size = random_.chance(1, 30)  ? random_.below(400'000)
                                 : random_.chance(1, 5) ? random_.below(40'000)
                                                        : random_.below(3'000);
        known_[number].size = size;
        known_[number].born = lives_;
        const std::size_t recipients = 1 + random_.below(3);
        if (random_.chance(1, 4)) {
            hand.arrive(
                number, text_of(number), 1 + size / 8 + random_.below(size + 1), recipients);
        } else {
            hand.keep(number, text_of(number), recipients);
        }
    }

    /// One that is stored, not ending and not being loaded.
    Kept* any_of(Hand& hand) {
        if (hand.messages.empty()) {
            return nullptr;
        }
        auto at = hand.messages.lower_bound(random_.below(numbers_ + 1));
        if (at == hand.messages.end()) {
            at = hand.messages.begin();
        }
        const bool fit = known_.at(at->first).fate == Fate::safe && !hand.loads.contains(at->first);
        return fit ? at->second : nullptr;
    }

    static void load(Hand& hand, Kept& kept) { hand.load(kept.id().low); }

    void note_what_is_stable() {
        for (const auto& hand : life_->hands) {
            if (!hand->spool.idle()) {
                continue;
            }
            for (const auto& [number, kept] : hand->messages) {
                known_.at(number).stable = known_.at(number).noted;
            }
        }
    }

    void recovered(Hand& hand, Kept& kept) {
        const std::uint64_t number = kept.id().low;
        EXPECT_TRUE(recovered_.insert(number).second) << number << " came twice";
        Known& known = known_.at(number);
        EXPECT_NE(known.fate, Fate::over) << number << " came back";
        EXPECT_EQ(kept.content_size(), known.size);
        for (const KeptRecipient& recipient : kept.recipients()) {
            EXPECT_GE(recipient.attempts, known.stable) << number;
            EXPECT_LE(recipient.attempts, known.noted) << number;
        }
        known.noted = known.stable = kept.recipients()[0].attempts;
        known.fate = Fate::safe;
        load(hand, kept);
    }

    void check_recovered() {
        for (const auto& [number, known] : known_) {
            const bool here = std::any_of(
                life_->hands.begin(), life_->hands.end(), [&, n = number](const auto& hand) {
                    return hand->messages.contains(n);
                });
            if (known.fate == Fate::safe && known.born != lives_ && !recovered_.contains(number)) {
                ADD_FAILURE() << number << " is not recovered";
            }
            if (known.fate == Fate::safe && !here) {
                ADD_FAILURE() << number << " is lost";
            }
        }
        for (int i = 0; i < 20; ++i) {
            turn();
        }
    }

    void end_all() {
        const auto idle = [this] {
            return std::all_of(life_->hands.begin(), life_->hands.end(), [](const auto& hand) {
                return hand->spool.idle();
            });
        };
        EXPECT_TRUE(life_->run_until(idle));
        turn();
        for (const auto& hand : life_->hands) {
            for (const auto& [number, kept] : hand->messages) {
                if (known_.at(number).fate == Fate::safe) {
                    hand->spool.finish(*kept);
                }
            }
        }
        EXPECT_TRUE(life_->run_until(idle));
        // Nothing is left but what each worker writes to, and what is ready for it.
        EXPECT_TRUE(life_->run_until([&] {
            return Life::lives_on_disk() <= 2 * static_cast<std::ptrdiff_t>(life_->hands.size());
        })) << Life::lives_on_disk();
        for (const auto& hand : life_->hands) {
            EXPECT_EQ(hand->spool.kept(), 0u);
            EXPECT_EQ(hand->ring->buffers(io::BufferGroup::body).used(), 0u);
        }
    }

    sim::Disk disk_;
    io::Random random_;
    std::uint64_t seed_;
    std::uint64_t segment_octets_ = std::uint64_t{128} << 10;
    std::map<std::uint64_t, Known> known_;
    std::set<std::uint64_t> recovered_;
    std::uint64_t numbers_ = 0;
    int lives_ = 0;
    Life* life_ = nullptr;
};

TEST(SpoolRandom, WhatWasPromisedIsThere) {
    const char* only = std::getenv("SPOOL_SEED");
    const std::uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
    const char* many = std::getenv("SPOOL_SEEDS");
    const std::uint64_t count = only != nullptr   ? 1
                                : many == nullptr ? 60
                                                  : std::strtoull(many, nullptr, 10);
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        SCOPED_TRACE("SPOOL_SEED=" + std::to_string(seed));
        History(seed).go();
        if (testing::Test::HasFailure()) {
            return;
        }
    }
}

}  // namespace
}  // namespace postern::spool

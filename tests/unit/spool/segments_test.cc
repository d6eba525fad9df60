#include "postern/spool/segments.h"

#include <gtest/gtest.h>

#include "tests/unit/spool/life.h"

namespace postern::spool {
namespace {

using test::Life;
using test::text_of_size;

TEST(Segments, AFolderIsOneProcesss) {
    sim::Disk disk;
    Life life(1);
    SegmentsSettings settings;
    settings.folder = "/spool";
    const auto again = Segments::open(settings);
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().text.find("another process"), std::string::npos);
}

TEST(Segments, WithoutTheHostsNumberNothingIsReadOrOverwritten) {
    sim::Disk disk;
    {
        Life life(1);
        life.hand().keep(1, "a");
        ASSERT_TRUE(life.settle());
    }
    sim::World world(2);
    SegmentsSettings settings;
    settings.folder = "/spool";
    const std::string host = disk.files.at("/spool/host")->octets;
    disk.files.at("/spool/host")->octets[20] = 'x';
    const auto damaged = Segments::open(settings);
    ASSERT_FALSE(damaged);
    EXPECT_NE(damaged.error().text.find("/spool/host is damaged"), std::string::npos);
    disk.files.erase("/spool/host");
    const auto missing = Segments::open(settings);
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().text.find("/spool/host is missing"), std::string::npos);
}

TEST(Segments, DeadLettersAreFiles) {
    sim::Disk disk;
    {
        Life life(1);
        int told = 0;
        life.segments->bury("0001.eml", "Subject: x\r\n\r\ny\r\n", [&](bool saved) {
            EXPECT_TRUE(saved && sim::Disk::current().files.contains("/spool/dead/0001.eml"));
            ++told;
        });
        ASSERT_TRUE(life.run_until([&] { return told == 1; }));
        EXPECT_EQ(life.segments->state().dead_letters, 1u);
    }
    EXPECT_EQ(disk.files.at("/spool/dead/0001.eml")->octets, "Subject: x\r\n\r\ny\r\n");
    Life life(2);
    EXPECT_EQ(life.segments->state().dead_letters, 1u);
}

TEST(Segments, ADeadLetterThatTheDiskDoesNotTakeIsSaidToBeSo) {
    sim::Disk disk;
    sim::Faults faults;
    Life life(1, faults);
    faults.create_fails = 1000;
    life.world.set_faults(faults);
    bool told = false;
    life.segments->bury("0001.eml", "x", [&](bool saved) {
        EXPECT_FALSE(saved);
        told = true;
    });
    ASSERT_TRUE(life.run_until([&] { return told; }));
    EXPECT_EQ(life.segments->state().dead_letters, 0u);
}

TEST(Segments, SayWhatThereIs) {
    sim::Disk disk(std::uint64_t{1} << 30);
    Life life(1, {}, 2);
    ASSERT_TRUE(life.recover());
    for (int i = 0; i < 100; ++i) {
        life.turn();
    }
    const SpoolState state = life.segments->state();
    EXPECT_EQ(state.segments, 2u);
    EXPECT_EQ(state.octets, std::uint64_t{2} << 18);
    EXPECT_GT(state.free_octets, std::uint64_t{1} << 29);
    EXPECT_LT(state.free_octets, std::uint64_t{1} << 30);
    EXPECT_FALSE(state.below_min_free);
    EXPECT_TRUE(state.direct);
    EXPECT_EQ(state.trouble, "");
}

TEST(Segments, ADamagedFileIsEmptiedAndKeptUnderAnotherName) {
    sim::Disk disk;
    {
        Life life(1);
        for (std::uint64_t number = 1; number <= 5; ++number) {
            life.hand().keep(number, text_of_size(number, 2000));
            ASSERT_TRUE(life.settle());
        }
    }
    std::string& octets = disk.files.at("/spool/segment-000000")->octets;
    octets[octets.find(text_of_size(2, 2000)) + 5] ^= 1;
    const std::string as_found = octets;
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.hand().messages.size(), 4u);
    EXPECT_FALSE(life.hand().messages.contains(2));
    ASSERT_EQ(life.sentences.size(), 1u);
    EXPECT_NE(life.sentences[0].find("does not match its sum"), std::string::npos);
    const auto aside = [&]() -> const sim::Disk::File* {
        for (const auto& [path, file] : disk.files) {
            if (path.starts_with("/spool/damaged-segment-000000-")) {
                return file.get();
            }
        }
        return nullptr;
    };
    ASSERT_TRUE(life.run_until([&] { return aside() != nullptr; }));
    EXPECT_TRUE(aside()->octets == as_found);
    EXPECT_TRUE(disk.files.contains("/spool/segment-000000"));
    life.hand().load(4);
    ASSERT_TRUE(life.settle());
    EXPECT_TRUE(life.hand().loads[4].content == text_of_size(4, 2000));
}

TEST(Segments, WhatStandsBehindADamagedHeaderIsStillDelivered) {
    sim::Disk disk;
    {
        Life life(1);
        life.hand().keep(1, text_of_size(1, 2000));
        life.hand().keep(2, text_of_size(2, 100'000));
        ASSERT_TRUE(life.settle());
    }
    disk.files.at("/spool/segment-000000")->octets[60] ^= 1;
    Life life(2);
    ASSERT_TRUE(life.recover());
    ASSERT_EQ(life.hand().messages.size(), 2u);
    for (const std::uint64_t number : {1, 2}) {
        life.hand().load(number);
        ASSERT_TRUE(life.settle());
        EXPECT_EQ(life.hand().loads.at(number).error, "");
        EXPECT_TRUE(
            life.hand().loads.at(number).content ==
            text_of_size(number, number == 1 ? 2000 : 100'000));
    }
    const auto is_aside = [&] {
        return std::any_of(disk.files.begin(), disk.files.end(), [](const auto& each) {
            return each.first.starts_with("/spool/damaged-segment-000000-");
        });
    };
    // What is in it goes elsewhere; and nothing is where it was when that is over.
    EXPECT_TRUE(life.run_until(is_aside));
    for (const std::uint64_t number : {1, 2}) {
        life.hand().spool.finish(*life.hand().messages[number]);
    }
    ASSERT_TRUE(life.settle());
    EXPECT_EQ(life.hand().over.size(), 2u);
}

TEST(Segments, AFileThatCannotBeReadNowWaitsForAnotherStart) {
    sim::Disk disk;
    {
        Life life(1);
        ASSERT_TRUE(life.keep(1, 40, 20'000));
        // One is over, as another segment says than its own.
        life.hand().spool.finish(*life.hand().messages[1]);
        ASSERT_TRUE(life.settle());
    }
    {
        sim::Faults faults;
        Life life(2, faults);
        faults.read_fails_at_start = 400;
        life.world.set_faults(faults);
        ASSERT_TRUE(life.recover());
        EXPECT_FALSE(life.sentences.empty());
        EXPECT_GT(life.hand().messages.size(), 0u);
        EXPECT_LT(life.hand().messages.size(), 39u);
        life.world.stop_faults();
        const auto finished = life.hand().messages;
        for (const auto& [number, kept] : finished) {
            if (number % 2 == 0) {
                life.hand().spool.finish(*kept);
            } else {
                kept->recipients()[0].attempts = 9;
                life.hand().spool.note(*kept);
            }
        }
        for (int i = 0; i < 200; ++i) {
            life.turn();
        }
        ASSERT_TRUE(life.settle());
    }
    Life life(3);
    ASSERT_TRUE(life.recover());
    for (std::uint64_t number = 3; number <= 40; number += 2) {
        EXPECT_TRUE(life.hand().messages.contains(number)) << number;
    }
    EXPECT_FALSE(life.hand().messages.contains(1));
}

/// A start on a slow disk does not write much before there is mail.
TEST(Segments, GrowWithWhatIsKept) {
    sim::Disk disk;
    const auto octets = [&] {
        std::vector<std::size_t> all;
        for (const auto& [path, file] : disk.files) {
            if (path.starts_with("/spool/segment-")) {
                all.push_back(file->octets.size() >> 10);
            }
        }
        return all;
    };
    using Octets = std::vector<std::size_t>;
    const auto live = [&](std::uint64_t seed) {
        return std::make_unique<Life>(
            seed, sim::Faults{}, 1, std::uint64_t{256} << 10, io::RingOptions{}, 2);
    };
    {
        const auto life = live(1);
        ASSERT_TRUE(life->recover());
        EXPECT_EQ(octets(), Octets({64}));
        ASSERT_TRUE(life->keep(1, 1, 1000));
        ASSERT_TRUE(life->run_until([&] { return octets().size() == 2; }));
        EXPECT_EQ(octets(), Octets({64, 128}));
        ASSERT_TRUE(life->keep(2, 100, 10'000));
        Octets now = octets();
        ASSERT_GT(now.size(), 4u);
        EXPECT_EQ(now.back(), 256u);
        now.resize(3);
        EXPECT_EQ(now, Octets({64, 128, 256}));
        const auto all = life->hand().messages;
        for (const auto& [number, kept] : all) {
            life->hand().spool.finish(*kept);
        }
        ASSERT_TRUE(life->run_until([&] { return Life::lives_on_disk() <= 2; }));
    }
    const Octets before = octets();
    const auto life = live(2);
    ASSERT_TRUE(life->recover());
    ASSERT_TRUE(life->keep(101, 101, 1000));
    EXPECT_EQ(octets().front(), 64u) << "one that is short and unused is taken again";
    EXPECT_LE(octets().size(), before.size());
}

TEST(Segments, FilesThatNobodyNeedsAnyMoreGo) {
    sim::Disk disk;
    const auto files = [&] {
        return std::count_if(disk.files.begin(), disk.files.end(), [](const auto& each) {
            return each.first.starts_with("/spool/segment-");
        });
    };
    {
        Life life(1);
        for (std::uint64_t number = 1; number <= 400; ++number) {
            life.hand().keep(number, text_of_size(number, 20'000));
            if (number % 5 == 0) {
                ASSERT_TRUE(life.settle());
            }
        }
        EXPECT_GT(files(), 25);
        const auto all = life.hand().messages;
        for (const auto& [number, kept] : all) {
            life.hand().spool.finish(*kept);
        }
        ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
        EXPECT_GT(files(), 25);
        for (std::uint64_t number = 401; number <= 460; ++number) {
            life.hand().keep(number, text_of_size(number, 20'000));
            ASSERT_TRUE(life.settle());
            if (number <= 450) {
                life.hand().spool.finish(*life.hand().messages.at(number));
            }
        }
        EXPECT_LT(files(), 20);
    }
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    EXPECT_EQ(life.hand().messages.size(), 10u);
}

TEST(Segments, OneThatIsNotNeededAnyMoreAndDoesNotGoHindersNobody) {
    sim::Disk disk;
    sim::Faults faults;
    Life life(1, faults);
    ASSERT_TRUE(life.keep(1, 200, 20'000));
    faults.remove_fails = 1000;
    life.world.set_faults(faults);
    for (const auto& [number, kept] : std::map(life.hand().messages)) {
        life.hand().spool.finish(*kept);
    }
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
    for (std::uint64_t number = 201; number <= 260; ++number) {
        life.hand().keep(number, text_of_size(number, 20'000));
        ASSERT_TRUE(life.settle());
        life.hand().spool.finish(*life.hand().messages.at(number));
    }
    EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
    EXPECT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
}

/// Keeps messages until the disk takes no more; the number of those that are safe.
std::uint64_t fill(Life& life, sim::Disk& disk, io::Random& random) {
    EXPECT_TRUE(life.keep(1, 40, 20'000));
    const std::uint64_t octets = Life::octets_on_disk();
    disk.set_octets_max(octets + 1'000'000);
    for (std::uint64_t number = 41; life.hand().spool.takes(); ++number) {
        const std::size_t size = random.chance(1, 10) ? 300'000 : 1 + random.below(30'000);
        life.hand().keep(number, text_of_size(number, size));
        EXPECT_TRUE(life.run_until([&] { return life.hand().contents.empty(); }));
        if (random.chance(1, 5)) {
            const auto any = life.hand().messages.lower_bound(random.below(number));
            any->second->recipients()[0].attempts = 9;
            life.hand().spool.note(*any->second);
        }
    }
    return life.hand().safe_.size();
}

TEST(Segments, AStartOnAFullDiskIsOverOnceWhatWaitsIs) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(seed);
        sim::Disk disk;
        io::Random random(seed);
        std::uint64_t count = 0;
        {
            Life life(seed);
            count = fill(life, disk, random);
        }
        std::set<std::uint64_t> stay;
        std::set<std::uint64_t> over;
        {
            Life life(seed);
            ASSERT_TRUE(life.recover());
            ASSERT_EQ(life.hand().messages.size(), count);
            // All of it, or what is older, or here and there one stays.
            const std::uint64_t last = random.chance(1, 3) ? ~std::uint64_t{0} : random.below(200);
            const unsigned stays = random.chance(1, 2) ? 0 : 10;
            for (const auto& [number, kept] : life.hand().messages) {
                if (number > last || random.chance(stays, 100)) {
                    stay.insert(number);
                } else {
                    life.hand().spool.finish(*kept);
                }
            }
            if (last > 1000 && stays == 0) {
                ASSERT_TRUE(life.run_until([&] { return life.hand().over.size() == count; }));
                EXPECT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
                EXPECT_TRUE(life.hand().spool.takes());
            } else {
                life.run_until([&] { return random.chance(1, 2000); });
            }
            over = life.hand().over;
            disk.cut_power(random);
        }
        disk.set_octets_max(std::uint64_t{1} << 30);
        Life life(seed);
        ASSERT_TRUE(life.recover());
        EXPECT_TRUE(life.sentences.empty()) << life.sentences[0];
        for (const auto& [number, kept] : life.hand().messages) {
            EXPECT_FALSE(over.contains(number)) << number << " came back";
            stay.erase(number);
            life.hand().load(number);
            ASSERT_TRUE(life.settle());
            EXPECT_EQ(life.hand().loads.at(number).error, "");
        }
        EXPECT_TRUE(stay.empty()) << stay.size() << " are lost";
    }
}

TEST(Segments, AFirstBlockThatCannotBeReadKeepsNobodyFromStarting) {
    sim::Disk disk;
    {
        Life life(1);
        ASSERT_TRUE(life.keep(1, 40, 20'000));
    }
    {
        sim::Faults faults;
        faults.read_fails_at_start = 300;
        Life life(5, faults);
        EXPECT_LT(life.hand().messages.size(), 40u);
        ASSERT_TRUE(life.recover());
        EXPECT_FALSE(life.sentences.empty());
        life.hand().keep(41, text_of_size(41, 20'000));
        ASSERT_TRUE(life.settle());
    }
    Life life(3);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.hand().messages.size(), 41u);
}

TEST(Segments, AFileOfSomebodyElseIsNoHindrance) {
    sim::Disk disk;
    {
        Life life(1);
        ASSERT_TRUE(life.keep(1, 40, 20'000));
    }
    auto foreign = std::make_shared<sim::Disk::File>();
    foreign->path = "/spool/segment-000040";
    foreign->octets = std::string(10'000, 'x');
    disk.files[foreign->path] = foreign;
    Life life(2);
    ASSERT_TRUE(life.recover());
    EXPECT_EQ(life.sentences.size(), 1u);
    EXPECT_EQ(life.hand().messages.size(), 40u);
    const auto all = life.hand().messages;
    for (const auto& [number, kept] : all) {
        life.hand().spool.finish(*kept);
    }
    ASSERT_TRUE(life.run_until([] { return Life::lives_on_disk() <= 2; }));
    EXPECT_EQ(foreign->octets, std::string(10'000, 'x'));
}

TEST(Segments, AnArchiveIsReadWithoutAProcess) {
    sim::Disk disk;
    {
        Life life(1, {}, 2);
        for (std::uint64_t number = 1; number <= 20; ++number) {
            life.hand(number % 2).keep(number, text_of_size(number, 1 + 20'000 * number));
        }
        ASSERT_TRUE(life.settle());
        for (std::uint64_t number = 1; number <= 20; number += 3) {
            life.hand(number % 2).spool.finish(*life.hand(number % 2).messages[number]);
        }
        ASSERT_TRUE(life.settle());
        EXPECT_FALSE(Archive::open("/spool"));
    }
    sim::World world(2);
    const auto archive = Archive::open("/spool");
    ASSERT_TRUE(archive) << archive.error().text;
    EXPECT_TRUE(archive->findings().empty());
    ASSERT_EQ(archive->messages().size(), 13u);
    std::uint64_t before = 0;
    for (const Kept* kept : archive->messages()) {
        const std::uint64_t number = kept->id().low;
        EXPECT_GT(number, before);
        EXPECT_NE(number % 3, 1u);
        const auto content = archive->content(*kept);
        ASSERT_TRUE(content) << content.error().text;
        EXPECT_TRUE(*content == text_of_size(number, 1 + 20'000 * number));
        before = number;
    }
    EXPECT_FALSE(Archive::open("/elsewhere"));
}

}  // namespace
}  // namespace postern::spool

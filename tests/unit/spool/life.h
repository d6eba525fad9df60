#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "postern/spool/segments.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"
#include "tests/unit/spool/hand.h"

namespace postern::spool::test {

/// A life of a process over a simulated disk: its segments and workers. A worker's first segment is
/// so many doublings shorter than those that follow.
struct Life {
    explicit Life(
        std::uint64_t seed,
        const sim::Faults& faults = {},
        std::uint32_t workers = 1,
        std::uint64_t segment_octets = std::uint64_t{256} << 10,
        const io::RingOptions& options = {},
        std::uint64_t doublings = 0)
        : world(seed, faults), registry(workers) {
        SegmentsSettings settings;
        settings.folder = "/spool";
        settings.workers = workers;
        settings.segment_octets = segment_octets;
        settings.first_octets = segment_octets >> doublings;
        auto opened = Segments::open(settings);
        while (!opened && faults.create_fails + faults.read_fails_at_start > 0) {
            opened = Segments::open(settings);  // started until it starts
        }
        EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
        segments = std::move(*opened);
        segments->set_on_sentence(
            [this](const std::string& sentence) { sentences.push_back(sentence); });
        for (std::uint32_t i = 0; i < workers; ++i) {
            hands.push_back(std::make_unique<Hand>(*segments, i, registry.worker(i), options));
        }
    }

    Hand& hand(std::size_t number = 0) { return *hands[number]; }

    /// A turn of each worker and a few pieces of the thread's work.
    void turn() {
        for (int i = 0; i < 4 && segments->step(); ++i) {
        }
        for (const auto& each : hands) {
            each->ring->turn(each->ring->now() + std::chrono::milliseconds(20));
            each->spool.flush();
        }
    }

    template <class Condition>
    bool run_until(Condition condition, int turns_max = 2000) {
        for (int i = 0; i < turns_max; ++i) {
            if (condition()) {
                return true;
            }
            turn();
        }
        return condition();
    }

    /// Files that a recovery would find something in.
    static std::ptrdiff_t lives_on_disk() {
        const auto& files = sim::Disk::current().files;
        return std::count_if(files.begin(), files.end(), [](const auto& each) {
            return each.first.starts_with("/spool/segment-") &&
                   each.second->octets.starts_with("POSTERNJ");
        });
    }

    static std::uint64_t octets_on_disk() {
        std::uint64_t octets = 0;
        for (const auto& [path, file] : sim::Disk::current().files) {
            octets += file->octets.size();
        }
        return octets;
    }

    bool settle() {
        return run_until([&] {
            return std::all_of(
                hands.begin(), hands.end(), [](const auto& each) { return each->spool.idle(); });
        });
    }

    /// Keeps messages of so many octets, each with a write of its own.
    bool keep(std::uint64_t first, std::uint64_t last, std::size_t octets) {
        for (std::uint64_t number = first; number <= last; ++number) {
            hand().keep(number, text_of_size(number, octets));
            if (!settle()) {
                return false;
            }
        }
        return true;
    }

    bool recover() {
        return run_until([&] { return !segments->state().recovering; }, 10000);
    }

    sim::World world;
    metrics::Registry registry;
    std::vector<std::string> sentences;
    std::unique_ptr<Segments> segments;
    std::vector<std::unique_ptr<Hand>> hands;
};

}  // namespace postern::spool::test

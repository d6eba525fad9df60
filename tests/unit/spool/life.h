#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "postern/spool/spool.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"

namespace postern::spool::test {

inline std::string content_of(const mail::Body& body) {
    std::string content;
    for (mail::Body::Cursor at = body.begin(); at.slice() != nullptr; at.advance()) {
        content += at.slice()->view();
    }
    return content;
}

inline journal::Id id_of(std::uint64_t number) {
    return {7, number};
}

/// One worker and its part of a spool, in a simulated world or a real one; what it is told is
/// noted.
class Hand final : public World {
   public:
    Hand(Segments& segments, std::uint32_t worker, metrics::Meters& meters)
        : ring(std::move(*io::Ring::create({}))),
          mailbox(*ring),
          spool(*ring, mailbox, *this, segments, worker, meters) {}

    ~Hand() {
        for (const auto& [number, kept] : messages) {
            destroy_later.push_back(kept);
        }
    }

    void stored(Kept& kept, bool safe) override {
        const std::uint64_t number = kept.id().low;
        contents.erase(number);
        if (safe) {
            safe_.insert(number);
        } else {
            refused.insert(number);
            messages.erase(number);
            Kept::destroy(&kept);
        }
        if (on_stored) {
            on_stored(number, safe);
        }
    }

    void loaded(Kept& kept, const base::Result<void>& result) override {
        const std::uint64_t number = kept.id().low;
        Loading& loading = loads.at(number);
        loading.over = true;
        loading.error = result ? "" : result.error().text;
        loading.content = content_of(*loading.body);
        loading.body->clear();
        if (on_loaded) {
            on_loaded(number);
        }
    }

    void finished(Kept& kept) override {
        const std::uint64_t number = kept.id().low;
        over.insert(number);
        messages.erase(number);
        Kept::destroy(&kept);
    }

    void recovered(Kept& kept) override {
        EXPECT_TRUE(messages.emplace(kept.id().low, &kept).second) << "twice";
        if (on_recovered) {
            on_recovered(kept);
        }
    }

    Kept& keep(std::uint64_t number, std::string content, std::size_t recipients = 1) {
        journal::Message message;
        message.arrival_ms = static_cast<std::int64_t>(number);
        message.reverse_path = "sender@example.net";
        message.has_dot_line = number % 2 == 0;
        std::vector<std::string> addresses;
        for (std::size_t i = 0; i < recipients; ++i) {
            addresses.push_back("r" + std::to_string(i) + "@example.com");
        }
        std::vector<journal::Recipient> to(recipients);
        for (std::size_t i = 0; i < recipients; ++i) {
            to[i].address = addresses[i];
        }
        Kept* kept = Kept::make(id_of(number), message, content.size(), to);
        messages[number] = kept;
        std::string& text = contents[number];
        text = std::move(content);
        spool.keep(*kept, journal::Content(text));
        return *kept;
    }

    void load(std::uint64_t number, std::uint64_t octets_max = ~std::uint64_t{0}) {
        Loading& loading = loads[number];
        loading = {};
        loading.body = std::make_unique<mail::Body>(
            ring->buffers(io::BufferGroup::body), ring->buffers(io::BufferGroup::command));
        spool.load(*messages.at(number), *loading.body, octets_max);
    }

    struct Loading {
        bool over = false;
        std::string error;
        std::string content;
        std::unique_ptr<mail::Body> body;
    };

    std::unique_ptr<io::Ring> ring;
    std::function<void(std::uint64_t, bool)> on_stored;
    std::function<void(std::uint64_t)> on_loaded;
    std::function<void(Kept&)> on_recovered;
    std::map<std::uint64_t, Kept*> messages;
    std::map<std::uint64_t, std::string> contents;
    std::map<std::uint64_t, Loading> loads;
    std::set<std::uint64_t> safe_;
    std::set<std::uint64_t> refused;
    std::set<std::uint64_t> over;

    struct Destroyer {
        std::vector<Kept*> kept;

        void push_back(Kept* one) { kept.push_back(one); }

        ~Destroyer() {
            for (Kept* one : kept) {
                Kept::destroy(one);
            }
        }
    };

    Destroyer destroy_later;  // behind the spool
    io::Mailbox mailbox;
    Spool spool;
};

/// A life of a process over a simulated disk: its segments and workers.
struct Life {
    explicit Life(
        std::uint64_t seed,
        const sim::Faults& faults = {},
        std::uint32_t workers = 1,
        std::uint64_t segment_octets = std::uint64_t{256} << 10)
        : world(seed, faults), registry(workers) {
        SegmentsSettings settings;
        settings.folder = "/spool";
        settings.workers = workers;
        settings.segment_octets = segment_octets;
        auto opened = Segments::open(settings);
        while (!opened && faults.create_fails > 0) {
            opened = Segments::open(settings);  // started until it starts
        }
        EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
        segments = std::move(*opened);
        segments->set_on_sentence(
            [this](const std::string& sentence) { sentences.push_back(sentence); });
        for (std::uint32_t i = 0; i < workers; ++i) {
            hands.push_back(std::make_unique<Hand>(*segments, i, registry.worker(i)));
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

    bool settle() {
        return run_until([&] {
            return std::all_of(
                hands.begin(), hands.end(), [](const auto& each) { return each->spool.idle(); });
        });
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

/// Text that is another for each number, in lines.
inline std::string text_of_size(std::uint64_t number, std::size_t size) {
    std::string text;
    text.reserve(size + 64);
    std::uint64_t state = number * 0x9e3779b97f4a7c15 + 1;
    while (text.size() < size) {
        state = state * 6364136223846793005 + 1442695040888963407;
        text += (state >> 60 == 0 ? "." : "") + std::to_string(state) + "\r\n";
    }
    text.resize(size);
    return text;
}

}  // namespace postern::spool::test

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
    Hand(
        Segments& segments,
        std::uint32_t worker,
        metrics::Meters& meters,
        const io::RingOptions& options = {})
        : ring(std::move(*io::Ring::create(options))),
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

    void piece_written(void* whose, bool safe) override {
        Arrival& arrival = *static_cast<Arrival*>(whose);
        arrival.piece->clear();
        arrival.is_written = true;
        if (safe) {
            if (!arrivals_wait) {
                go_on(arrival);
            }
            return;
        }
        const std::uint64_t number = arrival.number;
        arrivals.erase(number);
        contents.erase(number);
        refused.insert(number);
        if (on_stored) {
            on_stored(number, false);
        }
    }

    void loaded(Kept& kept, const base::Result<void>& result) override {
        const std::uint64_t number = kept.id().low;
        Loading& loading = loads.at(number);
        loading.over = true;
        loading.error = result ? "" : result.error().text;
        loading.content = content_of(*loading.body);
        if (on_body) {
            on_body(*loading.body);
        }
        loading.body->clear();
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
        Kept& kept = make(number, content.size(), recipients);
        std::string& text = contents[number];
        text = std::move(content);
        spool.keep(kept, journal::Content(text));
        return kept;
    }

    struct Arrival {
        std::uint64_t number = 0;
        std::size_t recipients = 1;
        std::size_t piece_octets = 0;
        std::size_t written = 0;
        bool is_written = true;  // all of that
        Intake* begun = nullptr;
        std::unique_ptr<mail::Body> piece;
    };

    /// The same, in pieces of so many octets, and what is left.
    void arrive(
        std::uint64_t number,
        std::string content,
        std::size_t piece_octets,
        std::size_t recipients = 1) {
        contents[number] = std::move(content);
        Arrival& arrival = arrivals[number];
        arrival.number = number;
        arrival.recipients = recipients;
        arrival.piece_octets = piece_octets;
        arrival.piece = std::make_unique<mail::Body>(
            ring->buffers(io::BufferGroup::body), ring->buffers(io::BufferGroup::command));
        arrival.begun = &spool.begin(id_of(number), &arrival);
        go_on(arrival);
    }

    void go_on(Arrival& arrival) {
        const std::string& content = contents.at(arrival.number);
        const std::string_view left = std::string_view(content).substr(arrival.written);
        if (left.size() > arrival.piece_octets) {
            EXPECT_TRUE(
                arrival.piece->append_copy(left.substr(0, arrival.piece_octets), true, true));
            arrival.written += arrival.piece_octets;
            arrival.is_written = false;
            spool.write(*arrival.begun, *arrival.piece);
            return;
        }
        Kept& kept = make(arrival.number, content.size(), arrival.recipients);
        spool.keep(kept, *arrival.begun, journal::Content(left));
        arrivals.erase(arrival.number);
    }

    /// It is not to be whole any more.
    void drop(std::uint64_t number) {
        spool.drop(*arrivals.at(number).begun);
        arrivals.erase(number);
        contents.erase(number);
    }

    Kept& make(std::uint64_t number, std::size_t octets, std::size_t recipients) {
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
        Kept* kept = Kept::make(id_of(number), message, octets, to);
        messages[number] = kept;
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
    std::function<void(const mail::Body&)> on_body;
    std::function<void(Kept&)> on_recovered;
    std::map<std::uint64_t, Kept*> messages;
    std::map<std::uint64_t, std::string> contents;
    std::map<std::uint64_t, Arrival> arrivals;
    bool arrivals_wait = false;  // behind each piece, for go_on()
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

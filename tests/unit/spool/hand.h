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
    std::function<void(const mail::Body&)> on_body;
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

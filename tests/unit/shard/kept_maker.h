#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "postern/spool/kept.h"

namespace postern::shard {

struct KeptWords {
    std::string sender{};
    std::int64_t arrival_ms = 0;
    std::vector<std::string> recipients{};
    bool held = false;
};

struct DestroyKept {
    void operator()(spool::Kept* kept) const { spool::Kept::destroy(kept); }
};

using KeptPointer = std::unique_ptr<spool::Kept, DestroyKept>;

inline KeptPointer make_kept(std::string_view id, const KeptWords& words) {
    std::vector<journal::Recipient> recipients;
    for (const std::string& address : words.recipients) {
        recipients.emplace_back().address = address;
    }
    journal::Message message;
    message.arrival_ms = words.arrival_ms;
    message.reverse_path = words.sender;
    message.held = words.held;
    return KeptPointer(spool::Kept::make(*journal::id_from_text(id), message, 1000, recipients));
}

}  // namespace postern::shard

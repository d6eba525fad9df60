#include "bench/load/ledger.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace postern::bench {

namespace {

constexpr std::uint64_t header_flag = 1;
constexpr std::uint64_t body_flag = 2;
constexpr std::uint64_t answered_flag = 4;
constexpr std::size_t fixed_words = 3;  // in front of the recipients
constexpr unsigned run_shift = 32;
constexpr unsigned count_shift = 3;
constexpr std::uint64_t count_mask = (std::uint64_t{1} << (run_shift - count_shift)) - 1;

std::size_t count_of(std::uint64_t word) {
    return static_cast<std::size_t>(word >> count_shift & count_mask);
}

}  // namespace

void DeliveryLog::append(const Delivery& delivery) {
    const std::size_t words = fixed_words + delivery.recipients.size();
    if (chunks_.empty() || chunks_.back().capacity() - chunks_.back().size() < words) {
        chunks_.emplace_back().reserve(std::max(chunk_words, words));
    }
    auto& chunk = chunks_.back();
    chunk.push_back(
        std::uint64_t{delivery.run} << run_shift |
        std::uint64_t{delivery.recipients.size()} << count_shift |
        (delivery.header_changed ? header_flag : 0) | (delivery.body_changed ? body_flag : 0) |
        (delivery.answered ? answered_flag : 0));
    chunk.push_back(delivery.number);
    chunk.push_back(delivery.taken_ms);
    chunk.insert(chunk.end(), delivery.recipients.begin(), delivery.recipients.end());
}

std::vector<std::uint64_t> DeliveryLog::of_run(std::uint32_t run) const {
    std::vector<std::uint64_t> words;
    for (const auto& chunk : chunks_) {
        for (std::size_t at = 0; at < chunk.size();) {
            const std::size_t size = fixed_words + count_of(chunk[at]);
            if (chunk[at] >> run_shift == run) {
                words.insert(words.end(), &chunk[at], &chunk[at] + size);
            }
            at += size;
        }
    }
    return words;
}

bool read_deliveries(const std::vector<std::uint64_t>& words, std::vector<Delivery>& to) {
    for (std::size_t at = 0; at < words.size();) {
        const std::uint64_t head = words[at];
        const std::size_t count = count_of(head);
        if (words.size() - at < fixed_words + count) {
            return false;
        }
        Delivery& delivery = to.emplace_back();
        delivery.run = static_cast<std::uint32_t>(head >> run_shift);
        delivery.number = words[at + 1];
        delivery.taken_ms = words[at + 2];
        delivery.header_changed = (head & header_flag) != 0;
        delivery.body_changed = (head & body_flag) != 0;
        delivery.answered = (head & answered_flag) != 0;
        const auto recipients = words.begin() + static_cast<std::ptrdiff_t>(at + fixed_words);
        delivery.recipients.assign(recipients, recipients + static_cast<std::ptrdiff_t>(count));
        at += fixed_words + count;
    }
    return true;
}

void SinkCounters::add(const SinkCounters& other) {
    connections += other.connections;
    messages += other.messages;
    octets += other.octets;
    foreign += other.foreign;
    null_sender += other.null_sender;
    header_changed += other.header_changed;
    body_changed += other.body_changed;
    unanswered += other.unanswered;
}

void Ledger::violation(std::string_view kind, std::string_view example) {
    static constexpr std::size_t example_max = 120;
    auto at = violations.find(kind);
    if (at == violations.end()) {
        at = violations.emplace(kind, Violations{}).first;
        for (const char c : example.substr(0, example_max)) {
            at->second.example += c >= ' ' && c <= '~' ? c : '?';
        }
    }
    ++at->second.count;
}

void Ledger::store(const std::string& name, std::string_view content) {
    const auto create = [](const std::string& path) {
        return ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    };
    std::string path = store_folder_ + "/" + name;
    int file = create(path);
    if (file < 0 && errno == EEXIST) {
        unsigned& copies = copies_.try_emplace(name, 1).first->second;
        // Some may be another worker's, or from before.
        while (file < 0 && errno == EEXIST) {
            path = fmt::format("{}/{}.{}", store_folder_, name, ++copies);
            file = create(path);
        }
    }
    const bool written = file >= 0 && ::write(file, content.data(), content.size()) ==
                                          static_cast<ssize_t>(content.size());
    if (!written) {
        violation("could not be stored", path);
    }
    if (file >= 0) {
        ::close(file);
    }
}

}  // namespace postern::bench

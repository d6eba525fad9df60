#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load/content.h"
#include "bench/load/steps.h"

/// What a sink has seen. Each worker writes its own ledger, under its mutex; the control thread
/// reads under the same.
namespace postern::bench {

/// One message that a sink took over, or took and gave no answer for.
struct Delivery {
    std::uint32_t run = 0;
    std::uint64_t number = 0;
    std::uint64_t taken_ms = 0;  // when, in milliseconds of UTC
    bool header_changed = false;
    bool body_changed = false;
    bool answered = true;
    std::vector<std::uint64_t> recipients;  // recipient_sum of each
};

/// Deliveries as numbers, so that millions fit and travel: [run, flags and count] [number]
/// [taken_ms] [recipient ...].
class DeliveryLog {
   public:
    void append(const Delivery& delivery);
    /// Those of one run.
    std::vector<std::uint64_t> of_run(std::uint32_t run) const;

   private:
    static constexpr std::size_t chunk_words = 1 << 16;
    std::vector<std::vector<std::uint64_t>> chunks_;  // a delivery lies in one
};

/// Reads what DeliveryLog::of_run gave. Appends to `to`; false: not of that form.
bool read_deliveries(const std::vector<std::uint64_t>& words, std::vector<Delivery>& to);

struct SinkCounters {
    std::uint64_t connections = 0;
    std::uint64_t messages = 0;     // answered 2xx
    std::uint64_t octets = 0;       // of their content
    std::uint64_t foreign = 0;      // of these: the reverse-path is none of ours
    std::uint64_t null_sender = 0;  // of these: it is <>
    std::uint64_t header_changed = 0;
    std::uint64_t body_changed = 0;
    std::uint64_t unanswered = 0;  // taken whole, and the connection closed on purpose
    void add(const SinkCounters& other);
};

struct Violations {
    std::uint64_t count = 0;
    std::string example;
};

class Ledger {
   public:
    explicit Ledger(std::string store_folder = {}) : store_folder_(std::move(store_folder)) {}

    std::mutex mutex;
    // --- under the mutex
    // -------------------------------------------------------------------------------------------------
    SinkCounters counters;
    AnswerCounts answers;
    std::map<std::string, Violations, std::less<>> violations;
    std::uint64_t now_ms = 0;  // of UTC, as its worker has it
    DeliveryLog deliveries;
    void violation(std::string_view kind, std::string_view example);

    bool stores() const { return !store_folder_.empty(); }

    /// Into a file of that name; one more with .2, .3 and so on behind it where it exists.
    void store(const std::string& name, std::string_view content);

   private:
    std::string store_folder_;
    // Of names that came more than once, the last one's number: mail that is not from `load` has
    // one name for all.
    std::map<std::string, unsigned> copies_;
};

}  // namespace postern::bench

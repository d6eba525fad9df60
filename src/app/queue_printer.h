#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

namespace postern::app {

/// Prints messages of queue_rows.h to standard output, one after the other.
class QueuePrinter {
   public:
    QueuePrinter(bool as_json, bool whole) : json_(as_json), whole_(whole) {}

    void print(const nlohmann::json& message);
    /// Behind the last one. `more`: there are others, not printed.
    void end(bool more) const;

    std::uint64_t count() const { return count_; }

   private:
    const bool json_;
    const bool whole_;
    std::uint64_t count_ = 0;
};

}  // namespace postern::app

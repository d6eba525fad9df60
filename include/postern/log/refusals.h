#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "postern/base/time.h"

namespace postern::log {

/// Keeps one client from filling the log: past `lines_max` refusals in a second its further ones
/// are only counted, and the count is told when that second is over. A fixed table; clients beyond
/// it share one row, without a name. Pure; one worker's thread.
class RefusalMeter {
   public:
    static constexpr std::uint32_t lines_max = 10;
    static constexpr base::Duration window = std::chrono::seconds(1);

    struct Summary {
        std::string_view
            client;  // as given to admit(); empty: of several clients. Until the next call
        std::uint32_t suppressed = 0;
    };

    /// `clients_max`: rows, a power of two of at least 8.
    explicit RefusalMeter(std::size_t clients_max = 512);

    /// May this refusal have a line? `key`: the client's, keyed and well mixed (shared/clients.h).
    /// `client`: its address, at most 45 octets kept.
    bool admit(std::uint64_t key, std::string_view client, base::Instant now);

    /// A client whose second is over and has refusals suppressed; nullopt: none for now. To be
    /// called, until it has none, every second or oftener. Costs nothing while nothing is
    /// suppressed.
    std::optional<Summary> next_summary(base::Instant now);

    /// Is any refusal counted that no summary has told yet?
    bool suppressing() const { return suppressing_ != 0; }

   private:
    struct Row {
        std::uint64_t key = 0;
        base::Instant ends{};  // of the second that counts; the row is free from then on
        std::uint32_t admitted = 0;
        std::uint32_t suppressed = 0;
        std::uint8_t client_size = 0;
        char client[45] = {};
    };

    Row& row_for(std::uint64_t key, base::Instant now);

    static bool free(const Row& row, base::Instant now) {
        return row.suppressed == 0 && now >= row.ends;
    }

    std::vector<Row> rows_;          // the last one is shared by those that find no other
    std::uint32_t suppressing_ = 0;  // rows with `suppressed`
    base::Instant look_again_{};     // for rows that are due
    char summary_client_[45] = {};
};

}  // namespace postern::log

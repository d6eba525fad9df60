#include "postern/log/refusals.h"

#include <algorithm>
#include <cstring>

#include "postern/base/assert.h"

namespace postern::log {
namespace {

constexpr std::size_t rows_probed = 8;

}  // namespace

RefusalMeter::RefusalMeter(std::size_t clients_max) : rows_(clients_max + 1) {
    POSTERN_ASSERT(
        clients_max >= rows_probed && (clients_max & (clients_max - 1)) == 0,
        "the rows are a power of two");
}

bool RefusalMeter::admit(std::uint64_t key, std::string_view client, base::Instant now) {
    Row& row = row_for(key, now);
    if (free(row, now)) {
        const bool shared = &row == &rows_.back();
        row.key = key;
        row.ends = now + window;
        row.admitted = 0;
        row.client_size =
            shared ? 0 : static_cast<std::uint8_t>(std::min(client.size(), sizeof row.client));
        std::memcpy(row.client, client.data(), row.client_size);
    }
    // Where a summary is due and was not yet asked for, counting goes on: no refusal is lost
    // between two seconds.
    if (row.admitted < lines_max) {
        ++row.admitted;
        return true;
    }
    suppressing_ += row.suppressed == 0 ? 1 : 0;
    ++row.suppressed;
    return false;
}

std::optional<RefusalMeter::Summary> RefusalMeter::next_summary(base::Instant now) {
    if (suppressing_ == 0 || now < look_again_) {
        return std::nullopt;
    }
    for (Row& row : rows_) {
        if (row.suppressed > 0 && now >= row.ends) {
            std::memcpy(summary_client_, row.client, row.client_size);
            const Summary summary{{summary_client_, row.client_size}, row.suppressed};
            row.suppressed = 0;
            --suppressing_;
            return summary;
        }
    }
    // The table is not worth walking every turn.
    look_again_ = now + window / 8;
    return std::nullopt;
}

/// The client's row, or a free one, or the shared one.
RefusalMeter::Row& RefusalMeter::row_for(std::uint64_t key, base::Instant now) {
    const std::size_t mask = rows_.size() - 2;
    Row* unused = nullptr;
    for (std::size_t i = 0; i < rows_probed; ++i) {
        Row& row = rows_[(key + i) & mask];
        if (free(row, now)) {
            unused = unused == nullptr ? &row : unused;
        } else if (row.key == key) {
            return row;
        }
    }
    return unused == nullptr ? rows_.back() : *unused;
}

}  // namespace postern::log

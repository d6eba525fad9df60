#include "postern/shard/tls.h"

#include <array>
#include <span>

#include "postern/io/entropy.h"
#include "postern/shard/snapshot.h"

namespace postern::shard {
namespace {

std::array<std::byte, tls::TicketKeys::secret_octets> draw_secret() {
    std::array<std::byte, tls::TicketKeys::secret_octets> secret;
    io::fill_with_entropy(secret);
    return secret;
}

}  // namespace

TlsShared::TlsShared(std::uint32_t workers) : tickets_(draw_secret()) {
    for (std::uint32_t i = 0; i < workers; ++i) {
        libraries_.emplace_back();
    }
}

void TlsShared::rotate_tickets() {
    tickets_.rotate(draw_secret());
}

base::Result<void> make_tls_contexts(Snapshot& snapshot, const TlsShared& shared) {
    if (snapshot.key_pairs.empty()) {
        return {};
    }
    for (std::uint32_t worker = 0; worker < shared.workers(); ++worker) {
        auto context = tls::ServerContext::create(
            shared.library(worker), shared.tickets(), {snapshot.key_pairs});
        if (!context) {
            return context.error();
        }
        snapshot.tls_contexts.push_back(std::move(*context));
    }
    return {};
}

}  // namespace postern::shard

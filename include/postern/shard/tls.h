#pragma once

#include <cstdint>
#include <deque>

#include "postern/base/result.h"
#include "postern/tls/context.h"

namespace postern::shard {

struct Snapshot;

/// What TLS needs for as long as the process runs, whatever is reloaded: a library context for each
/// worker, so that no lock of OpenSSL's stands between them, and the keys of tickets, which all of
/// them share. Made by the control thread, outlives the workers.
class TlsShared {
   public:
    explicit TlsShared(std::uint32_t workers);

    const tls::Library& library(std::uint32_t worker) const { return libraries_[worker]; }

    std::uint32_t workers() const { return static_cast<std::uint32_t>(libraries_.size()); }

    const tls::TicketKeys& tickets() const { return tickets_; }

    /// Every tls::TicketKeys::period. The control thread.
    void rotate_tickets();

   private:
    std::deque<tls::Library> libraries_;
    tls::TicketKeys tickets_;
};

/// Makes a snapshot's TLS contexts of its key pairs, one for each worker. The control thread,
/// before it is published.
base::Result<void> make_tls_contexts(Snapshot& snapshot, const TlsShared& shared);

}  // namespace postern::shard

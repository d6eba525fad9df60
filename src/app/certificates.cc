#include "certificates.h"

#include <array>
#include <span>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "postern/io/entropy.h"

namespace postern::app {
namespace {

std::string place_of(const std::string& file, const config::Certificate& certificate) {
    return fmt::format("{}:{}:{}: tls.certificates", file, certificate.line, certificate.column);
}

std::string utc(base::WallTime time) {
    return fmt::format(
        "{:%Y-%m-%d %H:%M} UTC",
        std::chrono::time_point_cast<std::chrono::system_clock::duration>(time));
}

/// Whether OpenSSL takes it: a key may be too weak for it.
base::Result<void> try_out(const std::shared_ptr<const tls::KeyPair>& pair) {
    std::array<std::byte, tls::TicketKeys::secret_octets> secret{};
    const tls::Library library;
    const tls::TicketKeys tickets(secret);
    const auto context = tls::ServerContext::create(library, tickets, {{pair}});
    return context ? base::Result<void>() : context.error();
}

}  // namespace

void load_certificates(
    const std::string& file,
    const config::Tls& config,
    shard::Snapshot& snapshot,
    std::vector<std::string>& errors) {
    for (const config::Certificate& certificate : config.certificates) {
        auto pair = tls::KeyPair::load(certificate.chain, certificate.key);
        const base::Result<void> tried = pair ? try_out(*pair) : pair.error();
        if (tried) {
            snapshot.key_pairs.push_back(std::move(*pair));
        } else {
            errors.push_back(
                fmt::format("{}: {}", place_of(file, certificate), tried.error().text));
        }
    }
}

std::vector<std::string> certificate_warnings(
    const std::string& file, const shard::Snapshot& snapshot, base::WallTime now) {
    std::vector<std::string> warnings;
    for (std::size_t i = 0; i < snapshot.key_pairs.size(); ++i) {
        const tls::KeyPair& pair = *snapshot.key_pairs[i];
        std::string what;
        if (pair.not_after() <= now) {
            what = fmt::format("is over since {}", utc(pair.not_after()));
        } else if (pair.not_after() - now < expiry_warned_of) {
            what = fmt::format("is good until {} only; renew it", utc(pair.not_after()));
        } else if (pair.not_before() > now) {
            what = fmt::format("is good from {} on only", utc(pair.not_before()));
        } else {
            continue;
        }
        warnings.push_back(fmt::format(
            "{}: {}: the certificate {}",
            place_of(file, snapshot.config.tls.certificates[i]),
            pair.chain_file(),
            what));
    }
    return warnings;
}

}  // namespace postern::app

#include <string>

#include "pool.h"

/// The half of Connection that speaks TLS: from the host's agreement to STARTTLS on, what comes and
/// goes passes through its Secure.
namespace postern::relay {
namespace {

using namespace std::chrono_literals;

constexpr base::Duration last_word_patience = 1s;  // for the alert that says why it is over

}  // namespace

void Connection::begin_tls() {
    const std::string& wanted = host_.pool.settings.tls_name;
    const std::string& name = wanted.empty() ? host_.name : wanted;
    const std::string address = host_.address.host_text();
    secure_ = std::make_unique<Secure>(
        *host_.pool.tls_context,
        tls::Peer{
            .server_name = name,
            .verified_name = name.empty() ? address : name,
            .resumption = &host_.resumption},
        corridor_.blocks);
    received_sealed({});
}

void Connection::received_sealed(std::string_view octets) {
    if (!secure_->established()) {
        switch (secure_->handshake(octets)) {
            case tls::Status::done:
                host_.counts.count<metrics::Metric::host_tls_connections>();
                session_.secured(corridor_.ring.now());
                break;
            case tls::Status::input:
            case tls::Status::room:
                return;
            case tls::Status::ended:
            case tls::Status::failed:
                tls_failed();
                return;
        }
    }
    while (session_.ending() == smtp::ClientSession::Ending::none) {
        std::size_t count = 0;
        const tls::Status status = secure_->read(octets, corridor_.scratch, count);
        if (tls::Resumption given = secure_->take_resumption()) {
            host_.resumption = std::move(given);
        }
        if (count > 0) {
            session_.received({corridor_.scratch.data(), count}, corridor_.ring.now());
        }
        switch (status) {
            case tls::Status::done:
                break;
            case tls::Status::input:
            case tls::Status::room:
                return;
            case tls::Status::ended:
                update();
                if (stage_ != Stage::closing) {
                    broken("it closed the connection");
                }
                return;
            case tls::Status::failed:
                update();
                tls_failed();
                return;
        }
    }
}

void Connection::pump_sealed() {
    if (secure_->established() && !output_) {
        secure_->give(lay());
    }
    if (!secure_->seal(corridor_.scratch)) {
        tls_failed();
        return;
    }
    const std::span<iovec> records = secure_->outgoing();
    if (!records.empty()) {
        stream_.send(records);
    }
    update();
}

void Connection::sealed_sent() {
    if (output_ && !secure_->has_rest()) {
        output_ = base::BlockRef();
        session_.sent(corridor_.ring.now());
    }
    look_again();
    update();
}

void Connection::tls_failed() {
    if (stage_ == Stage::closing) {
        return;
    }
    host_.resumption = tls::Resumption();
    const std::string what = "TLS failed: " + secure_->failure();
    if (stage_ == Stage::opening) {
        no_tls(what, true);
    } else {
        broken(what);
    }
}

// Closes behind the alert that tells the host why, if there is one and it can go at once.
void Connection::close_with_last_word() {
    if (secure_ != nullptr && stream_.open() && !stream_.sending()) {
        const std::span<iovec> alert = secure_->outgoing();
        if (!alert.empty()) {
            set_stage(Stage::closing);
            ListLink<Ready>::unlink();
            corridor_.timers.set(deadline_, corridor_.ring.now() + last_word_patience);
            stream_.send(alert);
            return;
        }
    }
    close();
}

// TLS is not to be had.
void Connection::no_tls(const std::string& what, bool may_be_plain) {
    const PoolSettings& pool = host_.pool.settings;
    host_.counts.count<metrics::Metric::host_tls_failures>();
    close_with_last_word();
    if (pool.tls != Tls::opportunistic || !pool.auth_user.empty()) {
        host_.failed(what, false, true);
    } else if (may_be_plain) {
        host_.goes_plain(what);
    } else {
        host_.failed(what, false);
    }
}

}  // namespace postern::relay

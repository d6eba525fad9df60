#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "connection.h"

/// XCLIENT and XFORWARD: a connection speaks for a client that is not its own end.
namespace postern::inbound {

void Connection::introduce(smtp::Exchange& exchange) {
    if (particulars_ == nullptr) {
        particulars_ = corridor_.particulars_pool.make();
    }
    mail::Reply reply = smtp::answer_row(smtp::Answer::memory_short).reply;
    if (particulars_ != nullptr) {
        if (exchange.introduction == smtp::Introduction::forward) {
            particulars_->take(
                smtp::Introduction::forward, exchange.attributes, session_.forwarded());
            session_.accept(exchange);
            return;
        }
        reply = move(exchange.attributes);
        if (reply.code == 0) {
            particulars_->take(smtp::Introduction::client, exchange.attributes, false);
            session_.restart(exchange, login_ != nullptr);
            return;
        }
    }
    refused(exchange.refusal.verb, "", reply);
    session_.refuse(exchange, reply);
}

/// What XCLIENT says of the client. It counts, and may what it may, as if it had connected; who
/// said so keeps the right to say XCLIENT again, whatever the client is.
mail::Reply Connection::move(std::string_view attributes) {
    bool moves = false;
    std::optional<base::IpAddress> ip;
    std::optional<std::uint16_t> port;
    std::string login;
    smtp::StatedAttribute stated;
    while (!attributes.empty() &&
           smtp::take_attribute(attributes, smtp::Introduction::client, stated)) {
        const std::string_view value = stated.value();
        if (stated.attribute == smtp::ClientAttribute::address) {
            moves = true;
            ip = base::IpAddress::parse(value);
        } else if (stated.attribute == smtp::ClientAttribute::port) {
            std::from_chars(value.data(), value.data() + value.size(), port.emplace(0));
        } else if (stated.attribute == smtp::ClientAttribute::login) {
            login = value;
        }
    }
    if (moves) {
        const mail::Reply reply = move(ip, port.value_or(0));
        if (reply.code != 0) {
            return reply;
        }
    } else if (port) {
        address_ = io::Address::from(base::IpAddress::from(address_.host_octets()), *port);
    }
    // As Postfix does: a name that is not said again is another client's.
    login_.reset();
    if (!login.empty()) {
        login_ = std::make_unique<Login>();
        login_->name = std::move(login);
    }
    return {};
}

/// The client's address is that one; null: nobody knows it.
mail::Reply Connection::move(const std::optional<base::IpAddress>& ip, std::uint16_t port) {
    io::Address::HostText old_text;
    io::Address::HostText new_text;
    mail::Client client = this->client(old_text);
    client.login = {};  // what a name allows is decided for each transaction
    io::Address address;
    if (ip) {
        address = io::Address::from(*ip, port);
        client.address = address.host_text(new_text);
    } else {
        client.address = mail::unknown_address;
    }
    const mail::Reply reply = corridor_.world.moved(client, ip ? &address : nullptr);
    if (reply.code == 0) {
        become(client);
        unknown_ = !ip;
        address_ = ip ? address : address_;
    }
    return reply;
}

/// `text` holds the address while the value is used.
mail::Client Connection::client(io::Address::HostText& text) const {
    mail::Client client{
        .address = unknown_ ? mail::unknown_address : address_.host_text(text),
        .helo = session_.hello_name(),
        .port = unknown_ ? std::uint16_t{0} : address_.port(),
        .login = login_ != nullptr ? std::string_view(login_->name) : std::string_view(),
        .name = {},
        .forwarded = nullptr,
        .key = client_key_,
        .network = client_network_,
        .generation = client_generation_,
        .listener = terms_->number,
        .trusted = trusted_,
        .exempt = exempt_,
        .counted = counted_,
        .esmtp = session_.esmtp(),
        .stated = stated_,
        .tls_version = secure_ != nullptr ? secure_->session.version() : nullptr,
        .tls_cipher = secure_ != nullptr ? secure_->session.cipher() : nullptr};
    if (particulars_ != nullptr) {
        client.name = particulars_->name();
        client.forwarded = session_.forwarded() ? &particulars_->forwarded() : nullptr;
    }
    return client;
}

}  // namespace postern::inbound

#include "connection.h"

#include <utility>

/// A connection from accept to its greeting: who its client is by a proxy's word, and whether it
/// waits to be greeted. Beside it XCLIENT, by which a session begins anew as another client's.
namespace postern::inbound {
namespace {

/// A proxy writes its header as soon as it has connected.
constexpr base::Duration proxy_header_timeout = std::chrono::seconds(5);

// Logged, and said to nobody: a proxy would pass it to a client that has done nothing.
constexpr mail::Reply no_proxy_header{
    421, {4, 4, 2}, "closed: no PROXY header has come from this proxy in time"};
constexpr mail::Reply bad_proxy_header{
    554, {5, 5, 2}, "closed: what this proxy sent first is no good PROXY header"};

}  // namespace

void Connection::begin(int descriptor) {
    stream_.adopt(descriptor);
    io::Address::HostText text;
    mail::Client client = this->client(text);
    const mail::Reply reply = corridor_.world.arrived(client, address_);
    client_key_ = client.key;  // of one that is refused, too, for the log
    if (reply.code != 0) {
        turn_away(reply);
        return;
    }
    admitted_ = true;
    become(client);
    if (client.proxy) {
        await_proxy_header();
    } else {
        arrive(client);
    }
}

/// What the world says of the client.
void Connection::become(const mail::Client& client) {
    trusted_ = client.trusted;
    exempt_ = client.exempt;
    counted_ = client.counted;
    stated_ = client.stated;
    client_generation_ = static_cast<std::uint32_t>(client.generation);
    client_key_ = client.key;
    client_network_ = client.network;
}

/// It is known who the client is: it is let in, through TLS where that comes first.
void Connection::arrive(const mail::Client& client) {
    smtp::ExtensionSet granted = 0;
    if (client.may_xclient) {
        granted |= smtp::set_of(smtp::Extension::xclient);
    }
    if (client.may_xforward) {
        granted |= smtp::set_of(smtp::Extension::xforward);
    }
    session_.grant(granted);
    if (terms_->settings.tls == Tls::implicit) {
        begin_tls();
    } else {
        pause();
    }
}

/// It is greeted, at once or when it has held its peace for long enough.
void Connection::pause() {
    if (terms_->settings.greeting_pause == base::Duration{} || exempt_) {
        greet();
        return;
    }
    stage_ = Stage::pause;
    set_deadline(terms_->settings.greeting_pause);
    hold_peace();
}

/// Looks whether something has been said before the greeting.
void Connection::hold_peace() {
    if (received_.empty() && secure_ != nullptr && secure_->has_input() && !decrypt() &&
        (closing_ || secure_->has_input())) {
        if (!closing_) {
            flush();  // it goes on when there is room
        }
        return;
    }
    if (!received_.empty()) {
        noticed(World::Notice::early_talker);
        received_ = {};
        received_block_ = {};
        end(smtp::Answer::early_talker);  // a 5xx: it has no reason to come again
        return;
    }
    if (!stream_.receiving()) {
        stream_.receive(io::BufferGroup::command);
    }
    flush();
}

void Connection::greet() {
    stage_ = Stage::session;
    wait_for_sender(terms_->settings.command_timeout);
    const std::string& greeting = terms_->greeting;
    if (secure_ == nullptr) {
        stream_.send(greeting);
        return;
    }
    if (!take_output_block()) {
        close();
        return;
    }
    greeting.copy(output_->data(), greeting.size());
    written_ = static_cast<std::uint16_t>(greeting.size());
    run();
}

void Connection::turn_away(const mail::Reply& reply) {
    refused("", "", reply);
    if (terms_->settings.tls == Tls::implicit || !take_output_block()) {
        close();  // a handshake only to say so would cost more than the connection that is refused
        return;
    }
    written_ =
        static_cast<std::uint16_t>(smtp::write_reply(reply, {output_->data(), output_->capacity}));
    closing_ = true;
    // Where it is counted nowhere it must not stay: who comes too often would take the descriptors
    // of those who were let in.
    parted_ = !admitted_;
    set_deadline(linger_time);
    received_ = {};
    received_block_ = {};
    flush();
}

void Connection::early_due() {
    if (stage_ == Stage::proxy_header) {
        drop_proxy(no_proxy_header);
    } else {
        greet();
    }
}

// --- the proxy's header --------------------------------------------------------------------------

void Connection::await_proxy_header() {
    proxy_header_ = corridor_.proxy_header_pool.make();
    if (proxy_header_ == nullptr) {
        close();
        return;
    }
    stage_ = Stage::proxy_header;
    set_deadline(proxy_header_timeout);
    stream_.receive(io::BufferGroup::command);
}

void Connection::take_proxy_header(base::BlockRef block, std::string_view bytes) {
    ProxyHeader& header = *proxy_header_;
    if (bytes.empty()) {
        if (header.begun()) {
            drop_proxy(bad_proxy_header);
        } else {
            close();  // the plainest of health checks: it connects, and that is all
        }
        return;
    }
    const ProxyHeader::State state = header.take(bytes);
    if (state == ProxyHeader::State::more) {
        stream_.receive(io::BufferGroup::command);
        return;
    }
    if (state == ProxyHeader::State::malformed) {
        drop_proxy(bad_proxy_header);
        return;
    }
    // What stands behind the header is the client's.
    if (!bytes.empty()) {
        received_block_ = std::move(block);
        received_ = bytes;
    }
    const io::Address address = io::Address::from(header.address(), header.port());
    forget_proxy_header();
    io::Address::HostText text;
    mail::Client client = this->client(text);
    if (state == ProxyHeader::State::local) {
        health_check_ = true;
        corridor_.world.noticed(client, World::Notice::health_check);
        arrive(client);
        return;
    }
    io::Address::HostText new_text;
    client.address = address.host_text(new_text);
    const mail::Reply reply = corridor_.world.moved(client, &address);
    if (reply.code == 0) {
        become(client);
    }
    // The log is to name whom it meets, in a refusal too. A proxy's own connection counts for none.
    address_ = address;
    client_key_ = client.key;
    if (reply.code != 0) {
        turn_away(reply);
    } else {
        arrive(client);
    }
}

void Connection::drop_proxy(const mail::Reply& reason) {
    noticed(World::Notice::bad_proxy_header);
    refused("", "", reason);
    close();
}

void Connection::forget_proxy_header() {
    if (proxy_header_ != nullptr) {
        corridor_.proxy_header_pool.destroy(std::exchange(proxy_header_, nullptr));
    }
}
}  // namespace postern::inbound

#include "postern/inbound/inbound.h"

#include <algorithm>
#include <span>

#include "connection.h"
#include "corridor.h"

namespace postern::inbound {
namespace {

// How many connections there may be is the world's to say (`arrived`); these bound what it has not
// thought of.
constexpr std::uint32_t connections_max = 1U << 20;
constexpr std::uint32_t lines_max = 16384;       // partial command lines at a time
constexpr std::uint32_t outputs_max = 16384;     // connections with answers that are not sent yet
constexpr std::uint32_t particulars_max = 4096;  // connections that said XCLIENT or XFORWARD
constexpr std::uint32_t proxy_headers_max = 16384;  // on their way at a time
constexpr std::uint32_t hurried_at_once = 20'000;   // connections: a few ms
constexpr std::uint32_t line_octets = smtp::command_line_max;
constexpr std::uint32_t output_octets = 8192;
static_assert(output_octets >= smtp::output_room_min, "an empty block has room for any answer");
static_assert(output_octets <= UINT16_MAX, "a connection counts them in 16 bits");
/// What is sealed of such a block goes into one record.
constexpr std::uint32_t sealed_octets = output_octets + 512;
static_assert(sealed_octets >= output_octets + tls::Session::record_overhead_max);

}  // namespace

// --- listeners -----------------------------------------------------------------------------------

Terms::Terms(std::uint32_t the_number, const ListenerSettings& the_settings)
    : number(the_number), settings(the_settings) {
    session_settings = {
        .hostname = settings.hostname,
        .limits =
            {.message_size_max = settings.message_size_max,
             .recipients_max = settings.recipients_max},
        .hidden = 0,
        .starttls = settings.tls == Tls::starttls,
        .reject_bare_newline = settings.reject_bare_newline,
        .errors_max = settings.errors_max,
        .received_max = settings.received_max,
        .has_passwords = settings.has_passwords,
    };
    for (const std::string& keyword : settings.ehlo_hide) {
        if (const smtp::ExtensionRow* row = smtp::find_extension(keyword); row != nullptr) {
            session_settings.hidden |= smtp::set_of(row->extension);
        }
    }
    if (!settings.xclient) {
        session_settings.hidden |= smtp::set_of(smtp::Extension::xclient);
    }
    if (!settings.xforward) {
        session_settings.hidden |= smtp::set_of(smtp::Extension::xforward);
    }
    greeting.resize(output_octets);
    smtp::Exchange exchange;
    exchange.output = greeting;
    smtp::ServerSession(session_settings).greet(exchange);
    greeting.resize(greeting.size() - exchange.output.size());
}

ListenerState::ListenerState(
    Corridor& the_corridor, std::uint32_t number, const ListenerSettings& settings)
    : corridor(the_corridor),
      terms(std::make_shared<const Terms>(number, settings)),
      listener(the_corridor.ring, the_corridor.timers, *this) {}

void ListenerState::on_accepted(int descriptor) {
    if (corridor.shutting_down || !corridor.world.hand_over(terms, descriptor)) {
        corridor.begin(terms, descriptor);
    }
}

void ListenerState::on_accept_paused(int) {}

void ListenerState::on_listener_closed() {
    std::erase_if(corridor.listeners, [this](const auto& each) { return each.get() == this; });
}

// --- the corridor --------------------------------------------------------------------------------

Corridor::Corridor(io::Ring& the_ring, io::Timers& the_timers, World& the_world)
    : ring(the_ring),
      timers(the_timers),
      world(the_world),
      connection_pool(connections_max),
      particulars_pool(particulars_max),
      proxy_header_pool(proxy_headers_max),
      line_pool(line_octets, lines_max),
      output_pool(output_octets, outputs_max),
      secure_pool(connections_max),
      sealed_pool(sealed_octets, outputs_max) {}

Corridor::~Corridor() = default;

void Corridor::begin(const std::shared_ptr<const Terms>& terms, int descriptor) {
    const base::Result<io::Address> address = ring.peer_address(descriptor);
    Connection* connection = address ? connection_pool.make(*this, terms, *address) : nullptr;
    if (connection == nullptr) {
        ring.close(descriptor);  // it has gone already, or there is no memory to talk to it
        return;
    }
    connections.push_back(*connection);
    connection->begin(descriptor);
    if (shutting_down) {
        connection->shut_down();
    }
}

void Corridor::remove(Connection& connection) {
    connection_pool.destroy(&connection);
}

struct Inbound::Implementation : Corridor {
    using Corridor::Corridor;

    /// That is open and was not removed.
    ListenerState& listener(std::uint32_t number) {
        const auto found = std::find_if(listeners.begin(), listeners.end(), [&](const auto& each) {
            return each->terms->number == number && !each->removed;
        });
        POSTERN_ASSERT(found != listeners.end(), "a listener that is changed or removed is there");
        return **found;
    }
};

Inbound::Inbound(io::Ring& ring, io::Timers& timers, World& world)
    : implementation_(std::make_unique<Implementation>(ring, timers, world)) {}

Inbound::~Inbound() {
    POSTERN_ASSERT(closed(), "the inbound corridor was destroyed while something of it was open");
}

void Inbound::add_listener(std::uint32_t number, int descriptor, const ListenerSettings& settings) {
    auto& listeners = implementation_->listeners;
    listeners.push_back(std::make_unique<ListenerState>(*implementation_, number, settings));
    listeners.back()->listener.open(descriptor);
}

void Inbound::change_listener(std::uint32_t number, const ListenerSettings& settings) {
    std::shared_ptr<const Terms>& terms = implementation_->listener(number).terms;
    if (terms->settings != settings) {
        terms = std::make_shared<const Terms>(number, settings);
    }
}

void Inbound::remove_listener(std::uint32_t number) {
    ListenerState& state = implementation_->listener(number);
    state.removed = true;
    state.listener.drain();
}

void Inbound::take_over(const std::shared_ptr<const Terms>& terms, int descriptor) {
    implementation_->begin(terms, descriptor);
}

void Inbound::answer(mail::Submission& submission, const mail::Reply& reply) {
    if (submission.inbound_owner != nullptr) {
        static_cast<Connection*>(submission.inbound_owner)->answer(reply);
    }
}

void Inbound::answer_recipient(mail::Submission& submission, const mail::Reply& reply) {
    static_cast<Connection*>(submission.inbound_owner)->answer_recipient(reply);
}

void Inbound::go_on(mail::Submission& submission) {
    if (submission.inbound_owner != nullptr) {
        static_cast<Connection*>(submission.inbound_owner)->go_on_with_body();
    }
}

void Inbound::authenticated(PasswordCheck& check, const mail::Reply& reply) {
    if (check.inbound_owner != nullptr) {
        static_cast<Connection*>(check.inbound_owner)->authenticated(reply);
    }
}

bool Inbound::sender_gone(mail::Submission& submission) {
    return submission.inbound_owner == nullptr ||
           static_cast<Connection*>(submission.inbound_owner)->sender_gone();
}

void Inbound::set_pressed(bool pressed) {
    implementation_->pressed = pressed;
    auto& connections = implementation_->connections;
    const std::uint32_t count = std::min(pressed ? this->connections() : 0, hurried_at_once);
    for (std::uint32_t i = 0; i < count; ++i) {
        Connection& connection = *connections.pop_front();
        connections.push_back(connection);  // each in its turn
        connection.hurry();
    }
}

bool Inbound::short_of_buffers() const {
    const auto is_short = [](const base::BlockPool& pool) {
        return pool.available() < pool.count_max() / 8;
    };
    return is_short(implementation_->line_pool) || is_short(implementation_->output_pool);
}

void Inbound::shut_down() {
    implementation_->shutting_down = true;
    for (const auto& listener : implementation_->listeners) {
        listener->listener.close();
    }
    for (Connection* connection = implementation_->connections.front(); connection != nullptr;
         connection = implementation_->connections.next(*connection)) {
        connection->shut_down();
    }
}

void Inbound::cut() {
    implementation_->cutting = true;
    shut_down();
    for (Connection* connection = implementation_->connections.front(); connection != nullptr;
         connection = implementation_->connections.next(*connection)) {
        connection->cut();
    }
}

std::uint32_t Inbound::connections() const {
    return implementation_->connection_pool.used();
}

bool Inbound::closed() const {
    return implementation_->connection_pool.used() == 0 && implementation_->listeners.empty();
}

std::uint64_t Inbound::held_connection_octets() const {
    return implementation_->connection_pool.held_octets();
}

std::uint64_t Inbound::held_buffer_octets() const {
    return implementation_->line_pool.mapped() + implementation_->output_pool.mapped() +
           implementation_->particulars_pool.held_octets() +
           implementation_->proxy_header_pool.held_octets();
}

std::uint64_t Inbound::held_tls_octets() const {
    return implementation_->secure_pool.used() * tls_session_octets +
           implementation_->sealed_pool.mapped();
}

std::uint64_t Inbound::sealed_octets_max() {
    return std::uint64_t{outputs_max} * (sealed_octets + sizeof(base::Block));
}

std::size_t Inbound::connection_octets() {
    return base::ObjectPool<Connection>::cell_octets();
}

std::uint64_t Inbound::buffer_octets_max() {
    return std::uint64_t{lines_max} * (line_octets + sizeof(base::Block)) +
           std::uint64_t{outputs_max} * (output_octets + sizeof(base::Block)) +
           std::uint64_t{particulars_max} * base::ObjectPool<Particulars>::cell_octets() +
           std::uint64_t{proxy_headers_max} * base::ObjectPool<ProxyHeader>::cell_octets();
}

}  // namespace postern::inbound

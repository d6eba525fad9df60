#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "particulars.h"
#include "postern/base/block.h"
#include "postern/base/object_pool.h"
#include "postern/inbound/inbound.h"
#include "postern/io/listener.h"
#include "postern/smtp/server_session.h"
#include "proxy_header.h"
#include "secure.h"

namespace postern::inbound {

class Connection;
struct Corridor;
struct AllConnections;

/// What a listener's connections have in common: those of a time keep it, also when the listener
/// has other terms by now, or is gone.
struct Terms {
    Terms(std::uint32_t number, const ListenerSettings& settings);

    const std::uint32_t number;  // of the listener
    const ListenerSettings settings;
    smtp::ServerSettings session_settings;
    std::string greeting;
};

/// A listener, until its socket is closed.
struct ListenerState final : io::ListenerOwner {
    ListenerState(Corridor& corridor, std::uint32_t number, const ListenerSettings& settings);

    void on_accepted(int descriptor) override;
    void on_accept_paused(int error) override;
    void on_listener_closed() override;

    Corridor& corridor;
    std::shared_ptr<const Terms> terms;  // of connections to come
    bool removed = false;
    io::Listener listener;
};

/// What all connections of a worker share, and the connections.
struct Corridor {
    Corridor(io::Ring& ring, io::Timers& timers, World& world);
    ~Corridor();

    /// A session begins.
    void begin(const std::shared_ptr<const Terms>& terms, int descriptor);
    /// Called by a connection, of itself, when it is closed.
    void remove(Connection& connection);

    io::Ring& ring;
    io::Timers& timers;
    World& world;
    base::ObjectPool<Connection> connection_pool;
    base::ObjectPool<Particulars> particulars_pool;
    base::ObjectPool<ProxyHeader> proxy_header_pool;
    base::BlockPool line_pool;
    base::BlockPool output_pool;
    base::ObjectPool<Secure> secure_pool;
    base::BlockPool sealed_pool;
    std::vector<std::unique_ptr<ListenerState>> listeners;  // those that are not closed yet
    base::List<Connection, AllConnections> connections;
    bool pressed = false;  // Inbound::set_pressed
    bool shutting_down = false;
    bool cutting = false;
};

}  // namespace postern::inbound

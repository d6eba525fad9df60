#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "postern/io/ring.h"

/// What the kernel answers at once: plain system calls, each cheaper than an operation on the ring
/// would be.
namespace postern::io {

namespace {

base::Error world_error(const std::string& attempted) {
    return {attempted + ": " + strerrordesc_np(errno)};
}

bool set_option(int socket, int level, int name) {
    const int on = 1;
    return setsockopt(socket, level, name, &on, sizeof on) == 0;
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

base::Result<Address> name_of(NameCall call, const char* whose, int socket) {
    sockaddr_storage raw{};
    socklen_t size = sizeof raw;
    if (call(socket, reinterpret_cast<sockaddr*>(&raw), &size) != 0) {
        return world_error(std::string("cannot learn the ") + whose + " address of a connection");
    }
    return Address::from(reinterpret_cast<const sockaddr*>(&raw));
}

}  // namespace

base::Result<int> Ring::open_socket(const Address& to, const Address* from) {
    const int socket = ::socket(to.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) {
        return world_error("cannot open a socket for a connection to " + to.text());
    }
    set_option(socket, IPPROTO_TCP, TCP_NODELAY);
    if (from != nullptr) {
        // The port is chosen at connect, when the kernel knows the whole pair: so ports do not run
        // out per source address.
        set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
        if (bind(socket, from->raw(), from->raw_size()) != 0) {
            base::Error error =
                world_error("cannot connect from " + from->host_text() + " to " + to.text());
            ::close(socket);
            return error;
        }
    }
    return socket;
}

void Ring::shut_down(int socket) {
    ::shutdown(socket, SHUT_RDWR);
}

void Ring::shut_down_sending(int socket) {
    ::shutdown(socket, SHUT_WR);
}

void Ring::close(int descriptor) {
    ::close(descriptor);
}

base::Result<Address> Ring::peer_address(int socket) {
    return name_of(getpeername, "peer's", socket);
}

base::Result<Address> Ring::local_address(int socket) {
    return name_of(getsockname, "local", socket);
}

Ring::Hangup Ring::look_for_hangup(int socket) {
    pollfd look{.fd = socket, .events = POLLRDHUP, .revents = 0};
    poll(&look, 1, 0);
    if ((look.revents & (POLLERR | POLLNVAL)) != 0) {
        return Hangup::reset;
    }
    return (look.revents & (POLLRDHUP | POLLHUP)) != 0 ? Hangup::ended : Hangup::no;
}

std::size_t Ring::peek(int socket, std::span<char> into) {
    const ssize_t count = recv(socket, into.data(), into.size(), MSG_PEEK | MSG_DONTWAIT);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
}

base::Result<int> open_listener(const Address& address) {
    const std::string attempted = "cannot listen on " + address.text();
    const int socket =
        ::socket(address.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) {
        return world_error(attempted);
    }
    // REUSEADDR: connections of an earlier run may still be in TIME_WAIT. NODELAY passes on to what
    // is accepted.
    const bool made = set_option(socket, SOL_SOCKET, SO_REUSEADDR) &&
                      set_option(socket, SOL_SOCKET, SO_REUSEPORT) &&
                      set_option(socket, IPPROTO_TCP, TCP_NODELAY) &&
                      (address.is_v4() || set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY)) &&
                      bind(socket, address.raw(), address.raw_size()) == 0 &&
                      listen(socket, SOMAXCONN) == 0;
    if (!made) {
        base::Error error = world_error(attempted);
        ::close(socket);
        return error;
    }
    return socket;
}

}  // namespace postern::io

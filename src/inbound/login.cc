#include <utility>

#include "connection.h"

/// AUTH on a connection: the session wants to know whether a password is somebody's, and takes no
/// input until the world has said so.
namespace postern::inbound {

/// False: the session cannot go on now.
bool Connection::check_password(smtp::Exchange& exchange) {
    login_ = std::make_unique<Login>();
    login_->name = exchange.credentials.name;
    io::Address::HostText text;
    mail::Reply refusal;
    PasswordCheck* const check =
        corridor_.world.check_password(client(text), exchange.credentials, refusal);
    if (check == nullptr) {
        settle_login(exchange, refusal);
        return true;
    }
    check->inbound_owner = this;
    login_->check = check;
    return false;
}

/// The client has its name from now on, or else it has none.
void Connection::settle_login(smtp::Exchange& exchange, const mail::Reply& reply) {
    io::Address::HostText text;
    corridor_.world.told_login(client(text), reply);
    if (!reply.positive()) {
        refused("AUTH", "", reply);
        login_.reset();
    }
    session_.authenticated(exchange, reply);
}

void Connection::authenticated(const mail::Reply& reply) {
    POSTERN_ASSERT(
        session_.awaits_password_check() && login_ != nullptr,
        "a password was checked that no sender waits for");
    std::exchange(login_->check, nullptr)->inbound_owner = nullptr;
    if (!take_output_block()) {
        close();
        return;
    }
    smtp::Exchange exchange = this->exchange();
    settle_login(exchange, reply);
    note_written(exchange);
    wait_for_sender(terms_->settings.command_timeout);
    run();
}

void Connection::leave_login() {
    if (login_ != nullptr && login_->check != nullptr) {
        PasswordCheck& check = *std::exchange(login_->check, nullptr);
        check.inbound_owner = nullptr;
        corridor_.world.forget(check);
    }
}

}  // namespace postern::inbound

#include <algorithm>
#include <new>
#include <utility>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/server_session.h"

/// AUTH (RFC 4954) in the server's session.
namespace postern::smtp {
namespace {

constexpr std::string_view crlf = "\r\n";

struct AuthCommand {
    std::string_view mechanism;
    std::string_view initial_response;  // empty: none
};

AuthCommand split(std::string_view argument) {
    AuthCommand command;
    command.mechanism = argument.substr(0, argument.find(' '));
    argument.remove_prefix(command.mechanism.size());
    argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));
    command.initial_response = argument;
    return command;
}

std::optional<Mechanism> find_mechanism(std::string_view name) {
    if (equal_ignoring_case(name, "PLAIN")) {
        return Mechanism::plain;
    }
    if (equal_ignoring_case(name, "LOGIN")) {
        return Mechanism::login;
    }
    return std::nullopt;
}

}  // namespace

Answer ServerSession::check_auth(Exchange&, std::string_view argument) {
    if (!settings_->has_passwords || (settings_->hidden & set_of(Extension::auth)) != 0) {
        return Answer::unrecognized;
    }
    if (!secure_) {
        return Answer::auth_needs_tls;
    }
    if (!esmtp_) {
        return Answer::hello_first;
    }
    if (phase_ != Phase::ready && phase_ != Phase::chunks_failed) {
        return Answer::transaction_open;
    }
    if (authenticated_) {
        return Answer::auth_twice;
    }
    if (argument.empty()) {
        return Answer::argument_missing;
    }
    return find_mechanism(split(argument).mechanism) ? Answer::none
                                                     : Answer::auth_unknown_mechanism;
}

ServerSession::Next ServerSession::proceed_auth(Exchange& exchange, std::string_view argument) {
    const AuthCommand command = split(argument);
    auth_exchange_.reset(new (std::nothrow) AuthExchange(*find_mechanism(command.mechanism)));
    if (auth_exchange_ == nullptr) {
        fail_auth(exchange, Answer::auth_unavailable);
        return std::nullopt;
    }
    auth_exchange_->begin_line(0);
    if (!command.initial_response.empty()) {
        auth_exchange_->take(command.initial_response);
        return end_auth_line(exchange, true);
    }
    initial_response_ = false;
    mode_ = Mode::auth;
    say(exchange, auth_exchange_->challenge());
    return std::nullopt;
}

/// An AUTH may be longer than other commands (RFC 4954, section 3): its initial response is taken
/// as it comes. False: the line that begins so is none that can go on.
bool ServerSession::step_long_auth(Exchange& exchange) {
    constexpr std::string_view verb = "AUTH ";
    // No more is looked at than there surely is, however the octets are cut.
    std::string_view head = exchange.input.substr(0, command_line_max);
    if (!equal_ignoring_case(head.substr(0, verb.size()), verb)) {
        return false;
    }
    head.remove_prefix(verb.size());
    head.remove_prefix(std::min(head.find_first_not_of(' '), head.size()));
    const AuthCommand command = split(head);
    if (command.initial_response.empty() || check_auth(exchange, head) != Answer::none) {
        return false;
    }
    auth_exchange_.reset(new (std::nothrow) AuthExchange(*find_mechanism(command.mechanism)));
    if (auth_exchange_ == nullptr) {
        return false;
    }
    const auto before =
        static_cast<std::size_t>(command.initial_response.data() - exchange.input.data());
    exchange.input.remove_prefix(before);
    auth_exchange_->begin_line(before);
    initial_response_ = true;
    mode_ = Mode::auth;
    return true;
}

ServerSession::Next ServerSession::step_auth(Exchange& exchange) {
    const std::size_t line_end = find_crlf(exchange.input);
    if (line_end != std::string_view::npos) {
        auth_exchange_->take(exchange.input.substr(0, line_end));
        exchange.input.remove_prefix(line_end + crlf.size());
        return end_auth_line(exchange, std::exchange(initial_response_, false));
    }
    // A CR that comes last stays: its LF may follow.
    const std::size_t size = exchange.input.size() - (exchange.input.ends_with('\r') ? 1 : 0);
    auth_exchange_->take(exchange.input.substr(0, size));
    exchange.input.remove_prefix(size);
    if (auth_exchange_->line_octets() <= endless_line_octets) {
        return Wish::input;
    }
    fail_auth(exchange, Answer::auth_line_too_long);
    if (mode_ != Mode::closing) {
        end_as_hostile(exchange, Answer::endless_line);
    }
    return std::nullopt;
}

ServerSession::Next ServerSession::end_auth_line(Exchange& exchange, bool initial) {
    const Answer answer = auth_exchange_->end_line(initial);
    if (answer_row(answer).reply.code >= 400) {
        fail_auth(exchange, answer);
    } else if (answer != Answer::none) {
        auth_exchange_->begin_line(0);
        mode_ = Mode::auth;
        say(exchange, answer);
    } else if (auth_exchange_->credentials(exchange.credentials)) {
        mode_ = Mode::await_password;
        return Wish::check_password;
    } else {
        fail_auth(exchange, Answer::auth_failed);
    }
    return std::nullopt;
}

void ServerSession::fail_auth(Exchange& exchange, Answer answer) {
    auth_exchange_.reset();
    mode_ = Mode::command;
    exchange.refusal = {};
    exchange.refusal.verb = "AUTH";
    say_refusal(exchange, answer);
}

void ServerSession::authenticated(Exchange& exchange, const mail::Reply& reply) {
    POSTERN_ASSERT(
        mode_ == Mode::await_password, "a password was checked that nobody had asked about");
    auth_exchange_.reset();
    authenticated_ = reply.positive();
    say_reply(exchange, reply);
    if (reply.permanent()) {
        count_error(exchange);
    }
}

}  // namespace postern::smtp

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "postern/base/assert.h"
#include "postern/smtp/client_session.h"
#include "postern/smtp/xtext.h"

/// The part of ClientSession that comes before mail: greeting, EHLO, STARTTLS (RFC 3207), AUTH (RFC
/// 4954); and XFORWARD, which comes before each message.
namespace postern::smtp {
namespace {

// --- XFORWARD
// ----------------------------------------------------------------------------------------------------------------

// Postfix: a command has at most 512 octets, so what may be long goes in two, and what need not be
// long must not.
constexpr XforwardSet told_first =
    set_of(Xforward::name) | set_of(Xforward::addr) | set_of(Xforward::port);
constexpr std::size_t value_octets_max = 255;
constexpr std::size_t word_octets_max = 16;
constexpr std::size_t ident_octets_max = 100;
constexpr std::string_view unavailable = "[UNAVAILABLE]";

using Value = std::array<char, value_octets_max>;

// What is not known, or too long to be told, is said to be unavailable.
std::string_view xtext(std::string_view value, std::span<char> into) {
    const auto written = write_xtext(value, into);
    return written && !written->empty() ? *written : unavailable;
}

}  // namespace

XforwardSet ClientSession::xforward_words(XforwardSet all, std::uint32_t command) {
    const XforwardSet first = all & told_first;
    const XforwardSet second = all & ~told_first;
    switch (command) {
        case 0:
            return first != 0 ? first : second;
        case 1:
            return first != 0 ? second : XforwardSet{0};
        default:
            return 0;
    }
}

void ClientSession::write_xforward(const Transfer& transfer, XforwardSet words, Output& output) {
    const mail::Submission& submission = *transfer.submission;
    const mail::Client& client = submission.client;
    std::array<char, 5> digits;
    const auto digits_end = std::to_chars(digits.begin(), digits.end(), client.port).ptr;
    const std::string_view port(
        digits.data(), static_cast<std::size_t>(digits_end - digits.data()));
    // What our client said of where it has the message from goes on, in the place of what we would
    // say of that client.
    const mail::Forwarded own{
        .name = client.name,
        .address = client.address == mail::unknown_address ? std::string_view() : client.address,
        .port = client.port == 0 ? std::string_view() : port,
        // Of a kept message's client the address alone is known.
        .protocol = client.helo.empty() ? ""
                    : client.esmtp      ? "ESMTP"
                                        : "SMTP",
        .helo = client.helo,
        .source = "REMOTE",
        .ident = submission.id()};
    const mail::Forwarded& said = client.forwarded != nullptr ? *client.forwarded : own;
    Value room;
    const auto tell = [&](Xforward word,
                          std::string_view name,
                          std::string_view value,
                          std::size_t most = value_octets_max) {
        if ((words & set_of(word)) != 0) {
            output.text(name);
            output.text(xtext(value, std::span(room).first(most)));
        }
    };
    output.text("XFORWARD");
    tell(Xforward::name, " NAME=", said.name);
    const bool v6 = said.address.find(':') != std::string_view::npos;
    tell(Xforward::addr, v6 ? " ADDR=IPV6:" : " ADDR=", said.address);
    tell(Xforward::port, " PORT=", said.port);
    tell(Xforward::proto, " PROTO=", said.protocol, word_octets_max);
    tell(Xforward::helo, " HELO=", said.helo);
    tell(Xforward::ident, " IDENT=", said.ident, ident_octets_max);
    tell(Xforward::source, " SOURCE=", said.source, word_octets_max);
    output.text("\r\n");
}

// --- the opening
// ----------------------------------------------------------------------------------------------------------------

void ClientSession::ask(State state) {
    state_ = state;
    to_write_opening_ = true;
}

void ClientSession::write_opening(Output& output) {
    switch (state_) {
        case State::ehlo:
            output.text("EHLO ");
            output.text(settings_.helo);
            break;
        case State::helo:
            output.text("HELO ");
            output.text(settings_.helo);
            break;
        case State::starttls:
            output.text("STARTTLS");
            break;
        case State::auth_plain: {  // RFC 4616, section 2
            std::array<char, 2 * ClientSettings::auth_octets_max + 2> message;
            char* at = message.data();
            for (const std::string* text : {&settings_.auth_user, &settings_.auth_password}) {
                *at++ = '\0';
                at = std::copy(text->begin(), text->end(), at);
            }
            output.text("AUTH PLAIN ");
            output.base64({message.data(), static_cast<std::size_t>(at - message.data())});
            break;
        }
        case State::auth_login:
            output.text("AUTH LOGIN");
            break;
        case State::auth_login_user:
            output.base64(settings_.auth_user);
            break;
        case State::auth_login_password:
            output.base64(settings_.auth_password);
            break;
        case State::quitting:
            output.text("QUIT");
            break;
        case State::greeting:
        case State::handshake:
        case State::ready:
            POSTERN_ASSERT(false, "an opening's step without words of ours");
    }
    output.text("\r\n");
}

void ClientSession::opening_reply(const HostReply& reply) {
    if (to_write_opening_) {  // an answer to what has not been asked
        end(Ending::unexpected);
        return;
    }
    const bool positive = reply.code / 100 == 2;
    switch (state_) {
        case State::greeting:
            if (positive) {
                ask(State::ehlo);
                return;
            }
            break;
        case State::ehlo:
            // Unknown or not implemented: a host from before EHLO (RFC 5321, 3.2). Any other
            // refusal is meant.
            if (reply.code == 500 || reply.code == 502) {
                ask(State::helo);
                return;
            }
            if (positive) {
                capabilities_ = parse_capabilities(reply, settings_.ehlo_ignore);
                greeted();
                return;
            }
            break;
        case State::helo:
            if (positive) {
                greeted();
                return;
            }
            break;
        case State::starttls:
            if (positive) {
                state_ = State::handshake;
                return;
            }
            if (settings_.tls == ClientSettings::Tls::offered && reply.code != 421) {
                authenticate();  // it goes on as it was (RFC 3207, 4.1)
                return;
            }
            break;
        case State::auth_login:
        case State::auth_login_user:
            if (reply.code == 334) {
                ask(state_ == State::auth_login ? State::auth_login_user
                                                : State::auth_login_password);
                return;
            }
            break;
        case State::auth_plain:
        case State::auth_login_password:
            if (positive) {
                state_ = State::ready;
                return;
            }
            break;
        case State::handshake:
        case State::ready:
        case State::quitting:
            POSTERN_ASSERT(false, "no step of an opening");
    }
    refused_step_ = opening_step();
    refused_said_ = reply.said();
    const bool required = settings_.tls == ClientSettings::Tls::required;
    end(state_ == State::starttls && required ? Ending::no_tls : Ending::refused);
}

std::string_view ClientSession::opening_step() const {
    switch (state_) {
        case State::greeting:
            return "connection";
        case State::ehlo:
            return "EHLO";
        case State::helo:
            return "HELO";
        case State::starttls:
            return "STARTTLS";
        case State::auth_plain:
        case State::auth_login:
        case State::auth_login_user:
        case State::auth_login_password:
            return "AUTH";
        case State::handshake:
        case State::ready:
        case State::quitting:
            break;
    }
    POSTERN_ASSERT(false, "no step of an opening");
    return {};
}

void ClientSession::greeted() {
    using Tls = ClientSettings::Tls;
    if (secure_ || settings_.tls == Tls::none) {
        authenticate();
    } else if (capabilities_.starttls) {
        ask(State::starttls);
    } else if (settings_.tls == Tls::offered) {
        authenticate();
    } else {
        end(Ending::no_tls);
    }
}

void ClientSession::secured(base::Instant now) {
    POSTERN_ASSERT(starts_tls(), "TLS that was not agreed upon");
    secure_ = true;
    capabilities_ = Capabilities();
    progress_ = waiting_since_ = now;
    ask(State::ehlo);
}

void ClientSession::authenticate() {
    if (settings_.auth_user.empty()) {
        state_ = State::ready;
    } else if (!secure_ && settings_.tls != ClientSettings::Tls::none) {
        end(Ending::no_tls);
    } else if (capabilities_.auth_plain) {
        ask(State::auth_plain);
    } else if (capabilities_.auth_login) {
        ask(State::auth_login);
    } else {
        // Unauthenticated, our mail would be refused for good.
        refused_step_ = "AUTH";
        refused_said_ = "it offers neither PLAIN nor LOGIN";
        end(Ending::refused);
    }
}

}  // namespace postern::smtp

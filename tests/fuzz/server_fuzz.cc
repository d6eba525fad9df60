#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "postern/base/assert.h"
#include "postern/smtp/characters.h"
#include "postern/smtp/server_session.h"
#include "postern/smtp/xtext.h"

namespace postern::smtp {
namespace {

/// All that a session did, to compare.
struct Trace {
    std::string answers;
    std::string contents;  // of all messages that came whole
    std::string addresses;
    bool closed = false;
    bool operator==(const Trace&) const = default;
};

class Driver {
   public:
    explicit Driver(const ServerSettings& settings) : session_(settings) {
        session_.grant(granted_only);
        if (settings.has_passwords) {
            session_.secured();
        }
    }

    void feed(std::string_view bytes) {
        const std::string joined = pending_ + std::string(bytes);
        const std::vector<char> input(joined.begin(), joined.end());  // of just the right size
        Exchange exchange;
        exchange.input = {input.data(), input.size()};
        while (!trace.closed) {
            exchange.output = block_;
            const Wish wish = session_.step(exchange);
            if (wish == Wish::input) {
                break;
            }
            act(wish, exchange);
            trace.answers.append(block_.data(), block_.size() - exchange.output.size());
        }
        pending_.assign(exchange.input);
        POSTERN_ASSERT(
            trace.closed || pending_.size() < command_line_max, "a partial line has a bound");
    }

    Trace trace;

   private:
    /// The world takes every second recipient domain, and every message.
    void act(Wish wish, Exchange& exchange) {
        switch (wish) {
            case Wish::begin:
                POSTERN_ASSERT(!open_, "transactions do not nest");
                open_ = true;
                content_.clear();
                trace.addresses.append(exchange.path.address).append("\n");
                session_.accept(exchange);
                break;
            case Wish::recipient:
                POSTERN_ASSERT(open_, "a recipient is one of a transaction");
                tell_on(exchange.recipient_parameters.original_recipient);
                trace.addresses.append(exchange.path.address).append("\n");
                if (exchange.path.domain.size() % 2 == 0) {
                    session_.refuse(exchange, {550, {5, 1, 2}, "no"});
                } else {
                    session_.accept(exchange);
                }
                break;
            case Wish::introduced:
                POSTERN_ASSERT(!open_, "who a client is does not change in a transaction");
                take_attributes(exchange);
                break;
            case Wish::body:
                session_.accept(exchange);
                break;
            case Wish::append:
                append(exchange.piece.run);
                break;
            case Wish::submit:
                POSTERN_ASSERT(open_, "a message is one of a transaction");
                open_ = false;
                trace.contents += content_ + "|";
                session_.answer(exchange, {250, {2, 0, 0}, "queued"});
                break;
            case Wish::start_tls:
                session_.accept(exchange);
                session_.secured();
                break;
            case Wish::check_password: {
                POSTERN_ASSERT(!open_, "nobody authenticates inside a transaction");
                const Credentials& said = exchange.credentials;
                POSTERN_ASSERT(
                    !said.name.empty() && !said.password.empty() &&
                        said.name.find('\0') == std::string_view::npos &&
                        said.password.find('\0') == std::string_view::npos,
                    "credentials could be somebody's");
                trace.addresses.append(said.name).append("|").append(said.password).append("\n");
                session_.authenticated(
                    exchange,
                    said.password.size() % 2 == 0 ? mail::Reply{235, {2, 7, 0}, "yes"}
                                                  : mail::Reply{535, {5, 7, 8}, "no"});
                break;
            }
            case Wish::abandon:
                POSTERN_ASSERT(open_, "what is abandoned was begun");
                open_ = false;
                content_.clear();
                break;
            case Wish::refused:
            case Wish::hostile_end:
                POSTERN_ASSERT(exchange.refusal.reply.code >= 400, "a refusal is one");
                break;
            case Wish::close:
                trace.closed = true;
                break;
            case Wish::input:
            case Wish::room:
                break;
        }
    }

    void take_attributes(Exchange& exchange) {
        StatedAttribute stated;
        bool logged_in = false;
        while (!exchange.attributes.empty()) {
            const bool good = take_attribute(exchange.attributes, exchange.introduction, stated);
            POSTERN_ASSERT(good, "what the session lets pass is good");
            POSTERN_ASSERT(
                std::all_of(stated.value().begin(), stated.value().end(), is_visible),
                "a value is printable");
            logged_in = logged_in || stated.attribute == ClientAttribute::login;
        }
        if (exchange.introduction == Introduction::forward) {
            session_.accept(exchange);
        } else {
            session_.restart(exchange, logged_in);
        }
    }

    /// No CR without its LF, no LF without its CR, over all pieces.
    void append(std::string_view run) {
        for (const char c : run) {
            const char before = content_.empty() ? ' ' : content_.back();
            POSTERN_ASSERT((c == '\n') == (before == '\r'), "content is canonical");
            content_ += c;
        }
    }

    /// Every ORCPT that was let in can be said in ASCII.
    void tell_on(std::string_view original) {
        std::array<char, 4 * original_recipient_octets_max> room;
        const auto told = in_ascii(original, room);
        POSTERN_ASSERT(
            told && is_ascii(*told) && !could_end_line(*told), "an ORCPT goes on in ASCII");
        trace.addresses.append(*told).append("\n");
    }

    ServerSession session_;
    std::string pending_;
    std::array<char, output_room_min> block_{};
    std::string content_;
    bool open_ = false;
};

Trace run(const ServerSettings& settings, std::string_view input, std::size_t piece) {
    Driver driver(settings);
    for (; !input.empty(); input.remove_prefix(std::min(piece, input.size()))) {
        driver.feed(input.substr(0, piece));
    }
    return driver.trace;
}

}  // namespace
}  // namespace postern::smtp

/// The session says and does the same however its input is cut. The first octet chooses settings
/// and the cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::smtp;
    if (size < 1) {
        return 0;
    }
    const ServerSettings settings{
        .hostname = "gw.example.net",
        .limits = {.message_size_max = (data[0] & 1) != 0 ? 100U : 1U << 20, .recipients_max = 3},
        .hidden = 0,
        .starttls = true,
        .reject_bare_newline = (data[0] & 2) != 0,
        .errors_max = (data[0] & 4) != 0 ? 5U : 0U,
        .received_max = 4,
        .has_passwords = (data[0] & 8) != 0};
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const Trace whole = run(settings, input, input.size() + 1);
    POSTERN_ASSERT(whole == run(settings, input, 1 + (data[0] >> 3)), "pieces change nothing");
    if (input.size() <= 512) {
        POSTERN_ASSERT(whole == run(settings, input, 1), "nor do single octets");
    }
    return 0;
}

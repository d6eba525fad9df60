#include "session_driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "postern/base/units.h"
#include "postern/smtp/characters.h"

namespace postern::smtp::test {

SettingsHolder::SettingsHolder() {
    settings.hostname = "gw.example.net";
    settings.limits = {.message_size_max = 50 << 20, .recipients_max = 1000};
    settings.hidden = granted_only;
}

SettingsHolder::SettingsHolder(const Script& script) : SettingsHolder() {
    settings.has_passwords = !script.logins.empty();
    for (const auto& [key, value] : script.config) {
        const std::string text = value.substr(
            value.find_first_not_of("\"["),
            value.find_last_not_of("\"]") + 1 - value.find_first_not_of("\"["));
        if (key == "limits.message_size") {
            settings.limits.message_size_max = base::parse_size(text).value();
        } else if (key == "limits.recipients") {
            settings.limits.recipients_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "limits.errors") {
            settings.errors_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "limits.received_max") {
            settings.received_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "listener.bare_newline") {
            settings.reject_bare_newline = text == "reject";
        } else if (key == "listener.ehlo_hide") {
            std::istringstream words(text);
            std::string word;
            while (std::getline(words, word, ',')) {
                word.erase(
                    std::remove_if(
                        word.begin(), word.end(), [](char c) { return c == '"' || c == ' '; }),
                    word.end());
                const ExtensionRow* row = find_extension(word);
                if (row == nullptr) {
                    ADD_FAILURE() << script.name << ": unknown extension " << word;
                    return;
                }
                settings.hidden |= set_of(row->extension);
            }
        } else if (key == "listener.xclient_networks" || key == "listener.xforward_networks") {
            const ExtensionSet extension = set_of(
                key == "listener.xclient_networks" ? Extension::xclient : Extension::xforward);
            settings.hidden &= ~extension;
            granted |= text == "127.0.0.1" ? extension : ExtensionSet{0};
        } else {
            ADD_FAILURE() << script.name << ": unknown key " << key;
        }
    }
}

SessionDriver::SessionDriver(const ServerSettings& settings)
    : rules(default_rules()), session(settings) {
    block_.resize(output_room);
    Exchange exchange;
    exchange.output = block_;
    session.greet(exchange);
    output.assign(block_.data(), block_.size() - exchange.output.size());
}

void SessionDriver::feed(std::string_view bytes) {
    if (closed) {
        return;
    }
    // A copy of just the right size: reading past it is caught by the address sanitizer.
    const std::vector<char> input = [&] {
        std::vector<char> joined(pending_.begin(), pending_.end());
        joined.insert(joined.end(), bytes.begin(), bytes.end());
        return joined;
    }();
    Exchange exchange;
    exchange.input = {input.data(), input.size()};
    for (;;) {
        exchange.output = block_;
        const auto flush = [&] {
            output.append(block_.data(), block_.size() - exchange.output.size());
        };
        const std::size_t before = exchange.input.size();
        const Wish wish = session.step(exchange);
        if (wish == Wish::input || (wish == Wish::check_password && !checks_passwords)) {
            flush();
            break;
        }
        if (wish == Wish::close) {
            flush();
            closed = true;
            return;
        }
        if (wish == Wish::append) {
            EXPECT_LE(exchange.input.size(), before);
            if (exchange.piece.in_place) {
                EXPECT_GE(exchange.piece.run.data(), input.data());
                EXPECT_LE(
                    exchange.piece.run.data() + exchange.piece.run.size(),
                    input.data() + input.size());
            }
        }
        act(wish, exchange);
        flush();
    }
    pending_.assign(exchange.input);
    ASSERT_LT(pending_.size(), command_line_max);
    if (session.in_body()) {
        EXPECT_TRUE(pending_.empty()) << "a body's octets are all taken";
    }
}

void SessionDriver::act(Wish wish, Exchange& exchange) {
    switch (wish) {
        case Wish::begin:
            if (!begin_allowed) {
                session.refuse(exchange, answer_row(Answer::memory_short).reply);
                return;
            }
            open_ = true;
            from_ = exchange.path.address;
            to_.clear();
            session.accept(exchange);
            return;
        case Wish::recipient:
            take_recipient(exchange);
            return;
        case Wish::introduced: {
            EXPECT_FALSE(open_);
            const bool forward = exchange.introduction == Introduction::forward;
            introductions.push_back(
                (forward ? "forward " : "client ") + std::string(exchange.attributes));
            if (forward) {
                session.accept(exchange);
                EXPECT_TRUE(session.forwarded());
            } else {
                session.restart(exchange, false);
            }
            return;
        }
        case Wish::body:
            content_.clear();
            if (body_allowed) {
                session.accept(exchange);
            } else {
                session.refuse_body(exchange, Answer::memory_short);
            }
            return;
        case Wish::append:
            append(exchange.piece);
            return;
        case Wish::submit: {
            EXPECT_TRUE(open_);
            EXPECT_EQ(session.has_eight_bit(), !is_ascii(content_));
            open_ = false;
            std::string envelope = (from_.empty() ? "<>" : from_) + " ->";
            for (const std::string& to : to_) {
                envelope += " " + to;
            }
            messages.push_back(
                {envelope,
                 content_ + (content_.ends_with("\r\n") || content_.empty() ? "" : "\r\n")});
            session.answer(exchange, final_answer);
            return;
        }
        case Wish::start_tls:
            if (!tls_allowed) {
                session.refuse(exchange, answer_row(Answer::tls_unavailable).reply);
                return;
            }
            session.accept(exchange);
            session.secured();
            return;
        case Wish::check_password: {
            EXPECT_FALSE(open_);
            const auto login = logins.find(std::string(exchange.credentials.name));
            const bool good =
                login != logins.end() && login->second == exchange.credentials.password;
            session.authenticated(
                exchange,
                good ? mail::Reply{235, {2, 7, 0}, "welcome"}
                     : answer_row(Answer::auth_failed).reply);
            return;
        }
        case Wish::abandon:
            EXPECT_TRUE(open_) << "a transaction was abandoned that was not open";
            open_ = false;
            ++abandoned;
            return;
        case Wish::hostile_end:
            EXPECT_FALSE(hostile) << "a session ends once";
            hostile = true;
            [[fallthrough]];
        case Wish::refused:
            refusals.push_back(
                std::string(exchange.refusal.verb) + "|" + std::string(exchange.refusal.address) +
                "|" + std::to_string(exchange.refusal.reply.code));
            return;
        case Wish::room:
            return;
        case Wish::input:
        case Wish::close:
            FAIL();
    }
}

void SessionDriver::take_recipient(Exchange& exchange) {
    EXPECT_TRUE(open_);
    const mail::Reply reply = decide(rules, exchange.path.domain);
    if (reply.code != 0) {
        session.refuse(exchange, reply);
        return;
    }
    to_.emplace_back(exchange.path.address);
    notify = exchange.recipient_parameters.notify;
    original_recipient = exchange.recipient_parameters.original_recipient;
    session.accept(exchange);
}

/// The laws of canonical content, and of the marks of its pieces.
void SessionDriver::append(const BodyPiece& piece) {
    ASSERT_FALSE(piece.run.empty());
    EXPECT_EQ(piece.begins_line, content_.empty() || content_.ends_with("\r\n"));
    bool dot_line = false;
    bool canonical = true;
    char before = content_.empty() ? '\n' : content_.back();
    for (const char c : piece.run) {
        dot_line |= c == '.' && before == '\n';
        canonical &= (c == '\n') == (before == '\r');
        before = c;
    }
    EXPECT_TRUE(canonical) << "a CR and an LF stand together or not at all";
    EXPECT_EQ(piece.has_dot_line, dot_line);
    content_.append(piece.run);
}

}  // namespace postern::smtp::test

#include "lines.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "reply_text.h"

namespace postern::shard {
namespace {

using log::Field;

/// "TLSv1.3 TLS_AES_128_GCM_SHA256"; nothing where the sender speaks in plain text.
void put_tls(log::Line& line, const mail::Client& client) {
    if (client.tls_version == nullptr) {
        return;
    }
    std::array<char, 64> text;
    std::size_t size = 0;
    for (const std::string_view part :
         {std::string_view(client.tls_version),
          std::string_view(" "),
          std::string_view(client.tls_cipher)}) {
        size += part.copy(text.data() + size, text.size() - size);
    }
    line.text(Field::tls, {text.data(), size});
}

/// What stands in the angle brackets of MAIL's or RCPT's argument; all of it where there are none.
std::string_view in_brackets(std::string_view argument) {
    const std::size_t open = argument.find('<');
    if (open == std::string_view::npos) {
        return argument;
    }
    bool quoted = false;  // a local part may be, and hold what would end the path
    for (std::size_t i = open + 1; i < argument.size(); ++i) {
        if (argument[i] == '"') {
            quoted = !quoted;
        } else if (quoted && argument[i] == '\\') {
            ++i;
        } else if (!quoted && argument[i] == '>') {
            return argument.substr(open + 1, i - open - 1);
        }
    }
    return argument;
}

/// What XFORWARD said, as Postfix logs it.
[[gnu::cold]] void put_forwarded(log::Line& line, const mail::Forwarded& said) {
    std::array<char, 2 * 256 + 2> text;
    char* at = text.data();
    const auto put = [&](std::string_view part) { at = std::copy(part.begin(), part.end(), at); };
    put(said.name.empty() ? "unknown" : said.name);
    put("[");
    put(said.address.empty() ? "unknown" : said.address);
    put("]");
    line.text(Field::orig_client, {text.data(), static_cast<std::size_t>(at - text.data())});
    if (!said.helo.empty()) {
        line.text(Field::orig_helo, said.helo);
    }
    if (!said.ident.empty()) {
        line.text(Field::orig_id, said.ident);
    }
}

/// What is known of a message but its answer, for the recipients that `means` says. `listener`:
/// empty: it came from the spool.
template <class Means>
void put_message(
    log::Line& line, std::string_view listener, const mail::Submission& submission, Means means) {
    line.text(Field::id, submission.id());
    if (!listener.empty()) {
        line.text(Field::listener, listener);
    }
    line.text(Field::client, submission.client.address);
    if (!listener.empty()) {
        line.text(Field::helo, submission.client.helo);
    }
    put_tls(line, submission.client);
    if (!submission.client.login.empty()) {
        line.text(Field::login, submission.client.login);
    }
    if (submission.client.forwarded != nullptr) {
        put_forwarded(line, *submission.client.forwarded);
    }
    line.text(Field::from, submission.envelope.reverse_path);
    for (const mail::Recipient* r = submission.envelope.first_recipient; r != nullptr;
         r = r->next) {
        if (means(*r)) {
            line.text(Field::to, r->address);
        }
    }
    if (const mail::Recipient* first = submission.envelope.first_recipient;
        first != nullptr && means(*first) && !first->rule.empty()) {
        line.text(Field::rule, first->rule);
    }
    line.number(Field::generation, submission.generation);
}

std::string_view event_of(mail::Outcome::Kind kind, const mail::Reply& answer) {
    switch (kind) {
        case mail::Outcome::Kind::accepted:
            return "delivered";
        case mail::Outcome::Kind::dropped:
            return "dropped";
        case mail::Outcome::Kind::unknown:
            return "unknown";
        case mail::Outcome::Kind::refused:
        case mail::Outcome::Kind::divided:
        case mail::Outcome::Kind::unreachable:
        case mail::Outcome::Kind::unresolved:
        case mail::Outcome::Kind::busy:
        case mail::Outcome::Kind::too_many:
        case mail::Outcome::Kind::untrusted:
            break;
    }
    return answer.permanent() ? "refused" : "deferred";
}

}  // namespace

std::string_view place_of(const route::RuleText& rule, PlaceText& memory) {
    const std::size_t file = std::min(rule.file.size(), memory.size() - 16);
    std::memcpy(memory.data(), rule.file.data(), file);
    memory[file] = ':';
    const auto end =
        std::to_chars(memory.data() + file + 1, memory.data() + memory.size(), rule.line).ptr;
    return {memory.data(), static_cast<std::size_t>(end - memory.data())};
}

Lines::Lines(log::Buffer& buffer, io::Ring& ring, io::Timers& timers)
    : buffer_(buffer),
      ring_(ring),
      timers_(timers),
      summary_timer_(
          [](io::Timer& self) { static_cast<SummaryTimer&>(self).lines.sum_up(); }, *this) {}

void Lines::message(
    std::string_view listener,
    const mail::Submission& submission,
    std::string_view pool,
    const mail::Outcome& outcome,
    const mail::Reply& answer) {
    using Kind = mail::Outcome::Kind;
    // Whom the host refused has another end than the others, where it is not the sender who is
    // told one for all.
    const bool each =
        outcome.kind == Kind::accepted ||
        (listener.empty() && (outcome.kind == Kind::refused || outcome.kind == Kind::divided ||
                              outcome.kind == Kind::unknown));
    const auto has_own = [each](const mail::Recipient& r) { return each && r.answer.code >= 400; };
    const auto put = [&](std::string_view event, const mail::Reply& reply, auto means) {
        log::Line line = buffer_.line(ring_.wall_now(), event);
        put_message(line, listener, submission, means);
        line.text(Field::pool, pool);
        if (!outcome.host.empty()) {
            line.text(Field::host, outcome.host);
        }
        line.text(Field::reply, ReplyText(reply).view());
        line.number(
            Field::ms, static_cast<std::uint64_t>(base::to_ms(ring_.now() - submission.began)));
        line.commit();
    };
    const mail::Recipient* const first = submission.envelope.first_recipient;
    bool any_common = first == nullptr;
    for (const mail::Recipient* r = first; r != nullptr; r = r->next) {
        any_common = any_common || !has_own(*r);
    }
    if (any_common) {
        put(event_of(outcome.kind, answer), answer, [&](const mail::Recipient& r) {
            return !has_own(r);
        });
    }
    for (const mail::Recipient* r = first; r != nullptr; r = r->next) {
        if (has_own(*r)) {
            put(r->answer.permanent() ? "refused" : "deferred",
                r->answer,
                [r](const mail::Recipient& one) { return &one == r; });
        }
    }
}

void Lines::kept(
    std::string_view event,
    std::string_view listener,
    const mail::Submission& submission,
    std::string_view pool,
    const mail::Reply& why) {
    log::Line line = buffer_.line(ring_.wall_now(), event);
    put_message(line, listener, submission, [](const mail::Recipient&) { return true; });
    line.text(Field::pool, pool).text(Field::reply, ReplyText(why).view());
    line.number(Field::ms, static_cast<std::uint64_t>(base::to_ms(ring_.now() - submission.began)));
    line.commit();
}

void Lines::kept(std::string_view event, const spool::Kept& kept, std::string_view why) {
    std::array<char, 32> id;
    const std::size_t size = journal::id_to_text(kept.id(), id);
    log::Line line = buffer_.line(ring_.wall_now(), event);
    line.text(Field::id, {id.data(), size}).text(Field::from, kept.reverse_path());
    for (const spool::KeptRecipient& recipient : kept.recipients()) {
        if (recipient.state == journal::State::waiting ||
            recipient.state == journal::State::removed) {
            line.text(Field::to, recipient.address);
        }
    }
    if (!why.empty()) {
        line.text(Field::reply, why);
    }
    line.commit();
}

void Lines::refused(
    std::string_view listener,
    std::string_view rule,
    std::uint64_t generation,
    std::uint64_t client_key,
    const mail::Client& client,
    const mail::Submission* submission,
    std::string_view verb,
    std::string_view address,
    const mail::Reply& answer) {
    if (!meter_.admit(client_key, client.address, ring_.now())) {
        if (!summary_timer_.set()) {
            timers_.set(summary_timer_, ring_.now() + log::RefusalMeter::window);
        }
        return;
    }
    log::Line line = buffer_.line(ring_.wall_now(), "rejected");
    if (submission != nullptr) {
        line.text(Field::id, submission->id());
    }
    line.text(Field::listener, listener).text(Field::client, client.address);
    if (!client.helo.empty()) {
        line.text(Field::helo, client.helo);
    }
    put_tls(line, client);
    if (!client.login.empty()) {
        line.text(Field::login, client.login);
    }
    if (client.forwarded != nullptr) {
        put_forwarded(line, *client.forwarded);
    }
    if (submission != nullptr) {
        line.text(Field::from, submission->envelope.reverse_path);
        if (address.empty()) {  // the message, or all of the session
            for (const mail::Recipient* r = submission->envelope.first_recipient; r != nullptr;
                 r = r->next) {
                line.text(Field::to, r->address);
            }
        } else if (verb == "RCPT") {
            line.text(Field::to, in_brackets(address));
        }
    } else if (!address.empty()) {
        line.text(verb == "MAIL" ? Field::from : Field::to, in_brackets(address));
    }
    if (!rule.empty()) {
        line.text(Field::rule, rule);
    }
    line.number(Field::generation, generation);
    line.text(Field::reply, ReplyText(answer).view());
    line.commit();
}

void Lines::unverified(std::string_view pool, std::string_view why) {
    buffer_.line(ring_.wall_now(), "recipients unverified")
        .text(Field::pool, pool)
        .text(Field::reply, why)
        .commit();
}

void Lines::trouble(std::string_view pool, std::string_view host, std::string_view what) {
    buffer_.line(ring_.wall_now(), "host trouble")
        .text(Field::pool, pool)
        .text(Field::host, host)
        .text(Field::reply, what)
        .commit();
}

void Lines::sum_up() {
    while (const auto summary = meter_.next_summary(ring_.now())) {
        log::Line line = buffer_.line(ring_.wall_now(), "refusals suppressed");
        if (!summary->client.empty()) {
            line.text(Field::client, summary->client);
        }
        line.number(Field::count, summary->suppressed);
        line.commit();
    }
    if (meter_.suppressing()) {  // of a second that is not over yet
        timers_.set(summary_timer_, ring_.now() + log::RefusalMeter::window);
    }
}

}  // namespace postern::shard

#include "postern/smtp/header_watcher.h"

#include <algorithm>

#include "postern/smtp/characters.h"

namespace postern::smtp {
namespace {

constexpr std::string_view field_name = "received:";
constexpr std::string_view by = "by";
constexpr std::string_view product = "(Postern)";

constexpr bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool continues(std::string_view word, std::size_t at, char c) {
    return at < word.size() && to_lower(word[at]) == to_lower(c);
}

}  // namespace

void HeaderWatcher::watch(std::string_view run, std::string_view hostname) {
    const char* at = run.data();
    const char* const end = at + run.size();
    while (at < end && state_ != State::done) {
        const char c = *at;
        switch (state_) {
            case State::name:
                at_line_begin(c);
                break;
            case State::cr:
                state_ = c == '\n' ? State::done : State::skip;
                break;
            case State::skip: {
                const void* newline = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
                const char* const line_end =
                    newline == nullptr ? end : static_cast<const char*>(newline);
                non_ascii_ |=
                    !is_ascii(std::string_view(at, static_cast<std::size_t>(line_end - at)));
                at = line_end;
                if (at == end) {
                    return;
                }
                state_ = State::name;
                matched_ = 0;
                break;
            }
            case State::received:
                in_received(c, hostname);
                break;
            case State::line_end:
                if (c == ' ' || c == '\t') {
                    state_ = State::received;
                    break;
                }
                state_ = State::name;
                matched_ = 0;
                continue;  // the same octet begins the next field
            case State::done:
                break;
        }
        ++at;
    }
}

void HeaderWatcher::at_line_begin(char c) {
    non_ascii_ |= !is_ascii(c);
    if (matched_ == 0 && c == '\r') {
        state_ = State::cr;
    } else if (!continues(field_name, matched_, c)) {
        state_ = State::skip;
    } else if (++matched_ == field_name.size()) {
        state_ = State::received;
        ++received_count_;
        own_ = Own::nothing;
        by_matches_ = wanted_matches_ = true;
        matched_ = 0;
    }
}

void HeaderWatcher::in_received(char c, std::string_view hostname) {
    non_ascii_ |= !is_ascii(c);
    if (is_space(c)) {
        if (matched_ > 0) {
            word_ended(hostname);
        }
        if (c == '\n') {
            state_ = State::line_end;
        }
        return;
    }
    const std::string_view wanted = own_ == Own::by ? hostname : product;
    by_matches_ = by_matches_ && continues(by, matched_, c);
    wanted_matches_ = wanted_matches_ && continues(wanted, matched_, c);
    matched_ = static_cast<std::uint16_t>(std::min(matched_ + 1, 0xffff));
    if (own_ == Own::hostname && wanted_matches_ && matched_ == product.size()) {
        ++own_received_count_;
        own_ = Own::counted;
    }
}

void HeaderWatcher::word_ended(std::string_view hostname) {
    if (own_ != Own::counted) {
        if (own_ == Own::by && wanted_matches_ && matched_ == hostname.size()) {
            own_ = Own::hostname;
        } else {
            own_ = by_matches_ && matched_ == by.size() ? Own::by : Own::nothing;
        }
    }
    by_matches_ = wanted_matches_ = true;
    matched_ = 0;
}

}  // namespace postern::smtp

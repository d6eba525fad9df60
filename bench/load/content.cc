#include "bench/load/content.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <iterator>

namespace postern::bench {

void ContentSum::reset() {
    XXH3_64bits_reset(&state_);
    sums_ = {};
    matched_ = 2;
    in_body_ = false;
}

void ContentSum::append(std::string_view piece) {
    sums_.size += piece.size();
    if (!in_body_) {
        static constexpr std::string_view pattern = "\r\n\r\n";
        std::size_t at = 0;
        while (at < piece.size() && matched_ < 4) {
            const char c = piece[at++];
            if (c == pattern[static_cast<std::size_t>(matched_)]) {
                ++matched_;
            } else {
                matched_ = c == '\r' ? 1 : 0;
            }
        }
        XXH3_64bits_update(&state_, piece.data(), at);
        if (matched_ < 4) {
            return;
        }
        sums_.header = static_cast<std::uint32_t>(XXH3_64bits_digest(&state_));
        XXH3_64bits_reset(&state_);
        in_body_ = true;
        piece.remove_prefix(at);
    }
    XXH3_64bits_update(&state_, piece.data(), piece.size());
}

Sums ContentSum::finish() {
    const auto sum = static_cast<std::uint32_t>(XXH3_64bits_digest(&state_));
    (in_body_ ? sums_.body : sums_.header) = sum;
    return sums_;
}

Sums sums_of(std::string_view content) {
    ContentSum sum;
    sum.append(content);
    return sum.finish();
}

void ReceivedSkipper::reset(int lines) {
    state_ = lines > 0 ? State::name : State::through;
    lines_ = lines;
    matched_ = 0;
    skipped_ = 0;
}

ReceivedSkipper::Behind ReceivedSkipper::pass(std::string_view piece) {
    static constexpr std::string_view name = "received:";
    static_assert(name.size() == std::size(decltype(held_){}));
    std::size_t at = 0;
    while (state_ != State::through && at < piece.size()) {
        const char c = piece[at];
        switch (state_) {
            case State::name:
                if (std::tolower(static_cast<unsigned char>(c)) != name[matched_]) {
                    state_ = State::through;
                    return {{held_, matched_}, piece.substr(at)};
                }
                held_[matched_++] = c;
                ++at;
                if (matched_ == name.size()) {
                    state_ = State::line;
                    ++skipped_;
                }
                break;
            case State::line: {
                const std::size_t end = piece.find('\n', at);
                if (end == std::string_view::npos) {
                    return {};
                }
                at = end + 1;
                state_ = State::line_end;
                break;
            }
            case State::line_end:
                matched_ = 0;
                if (c == ' ' || c == '\t') {
                    state_ = State::line;
                } else {
                    state_ = skipped_ < lines_ ? State::name : State::through;
                }
                break;
            case State::through:
                break;
        }
    }
    return {{}, piece.substr(at)};
}

void append_local_part(std::string& to, const Identity& identity) {
    fmt::format_to(
        std::back_inserter(to),
        FMT_STRING("b-{:08x}-{:x}-{:x}-{:08x}-{:08x}"),
        identity.run,
        identity.number,
        identity.sums.size,
        identity.sums.header,
        identity.sums.body);
}

namespace {

template <class Number>
bool take(std::string_view& text, Number& number) {
    if (!text.starts_with('-')) {
        return false;
    }
    const char* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data() + 1, end, number, 16);
    text.remove_prefix(static_cast<std::size_t>(stopped - text.data()));
    return error == std::errc();
}

}  // namespace

std::optional<Identity> parse_local_part(std::string_view text) {
    Identity identity;
    if (!text.starts_with('b')) {
        return std::nullopt;
    }
    text.remove_prefix(1);
    if (take(text, identity.run) && take(text, identity.number) && take(text, identity.sums.size) &&
        take(text, identity.sums.header) && take(text, identity.sums.body) && text.empty()) {
        return identity;
    }
    return std::nullopt;
}

std::uint64_t recipient_sum(std::string_view address) {
    return XXH3_64bits(address.data(), address.size());
}

std::string repaired(std::string_view content) {
    std::string out;
    out.reserve(content.size());
    for (std::size_t i = 0; i < content.size(); ++i) {
        const char c = content[i];
        if (c == '\r') {
            const bool ends_line = i + 1 < content.size() && content[i + 1] == '\n';
            out += ends_line ? '\r' : ' ';
        } else if (c == '\n' && (i == 0 || content[i - 1] != '\r')) {
            out += "\r\n";
        } else {
            out += c;
        }
    }
    return out;
}

std::string as_data(std::string_view content) {
    std::string out;
    out.reserve(content.size() + content.size() / 64 + 3);
    bool line_start = true;
    for (std::size_t i = 0; i < content.size(); ++i) {
        if (line_start && content[i] == '.') {
            out += '.';
        }
        out += content[i];
        line_start = content[i] == '\n' && i > 0 && content[i - 1] == '\r';
    }
    out += ".\r\n";
    return out;
}

}  // namespace postern::bench

#include "postern/smtp/auth_exchange.h"

#include <algorithm>

#include "postern/base/secret.h"

namespace postern::smtp {
namespace {

constexpr std::string_view crlf = "\r\n";

/// RFC 4648, section 4; -1: not of the alphabet.
int value_of(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

}  // namespace

AuthExchange::~AuthExchange() {
    base::wipe(decoded_);
}

void AuthExchange::begin_line(std::size_t octets_before) {
    bad_ = false;
    first_ = '\0';
    padding_ = 0;
    characters_ = 0;
    group_ = 0;
    taken_ = 0;
    line_octets_ = octets_before;
}

void AuthExchange::take(std::string_view part) {
    line_octets_ += part.size();
    if (taken_ == 0 && !part.empty()) {
        first_ = part.front();
    }
    taken_ += part.size();
    for (const char c : part) {
        decode(c);
    }
}

void AuthExchange::decode(char c) {
    const int value = value_of(c);
    if (c == '=' && characters_ >= 2) {
        ++padding_;
    } else if (value < 0 || padding_ > 0) {
        bad_ = true;
        return;
    }
    group_ = (group_ << 6) | static_cast<std::uint32_t>(std::max(value, 0));
    if (++characters_ == 4) {
        put(group_, 3U - padding_);
        characters_ = 0;
        group_ = 0;
    }
}

/// The first `count` of a group's three octets. More padding than two was caught: it begins behind
/// the second character.
void AuthExchange::put(std::uint32_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        if (size_ == decoded_.size()) {
            too_much_ = true;
            return;
        }
        decoded_[size_++] = static_cast<char>(value >> (16 - 8 * i));
    }
}

Answer AuthExchange::end_line(bool initial) {
    if (line_octets_ + crlf.size() > auth_line_octets_max) {
        return Answer::auth_line_too_long;
    }
    const bool one = taken_ == 1;
    if (one && first_ == '*' && !initial) {
        return Answer::auth_cancelled;
    }
    // A lone '=' stands for an empty initial response, which else could not be told from none.
    if (!(one && first_ == '=' && initial) && (bad_ || characters_ != 0)) {
        return Answer::not_base64;
    }
    if (mechanism_ == Mechanism::login && !has_name_) {
        has_name_ = true;
        name_size_ = size_;
        return challenge();
    }
    return Answer::none;
}

Answer AuthExchange::challenge() const {
    if (mechanism_ == Mechanism::plain) {
        return Answer::auth_go_on;
    }
    return has_name_ ? Answer::auth_password : Answer::auth_name;
}

bool AuthExchange::credentials(Credentials& credentials) const {
    constexpr char nul = '\0';
    const std::string_view all(decoded_.data(), size_);
    if (mechanism_ == Mechanism::login) {
        credentials = {all.substr(0, name_size_), all.substr(name_size_)};
    } else {
        // RFC 4616, section 2: [authzid] NUL authcid NUL passwd. Nobody may act for another here.
        const std::size_t first = all.find(nul);
        const std::size_t second = first == all.npos ? all.npos : all.find(nul, first + 1);
        if (second == all.npos) {
            return false;
        }
        credentials = {all.substr(first + 1, second - first - 1), all.substr(second + 1)};
        if (first != 0 && all.substr(0, first) != credentials.name) {
            return false;
        }
    }
    return !too_much_ && !credentials.name.empty() && !credentials.password.empty() &&
           credentials.name.find(nul) == all.npos && credentials.password.find(nul) == all.npos;
}

}  // namespace postern::smtp

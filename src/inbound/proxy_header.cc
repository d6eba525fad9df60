#include "proxy_header.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "postern/base/assert.h"

namespace postern::inbound {
namespace {

constexpr std::string_view line_begin = "PROXY ";
constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
// Version 2: the signature, version and command, family and transport, the length of the rest.
constexpr std::size_t fixed_octets = 16;
constexpr std::size_t addresses_octets_v4 = 12;
constexpr std::size_t addresses_octets_v6 = 36;
constexpr unsigned version_2 = 2;
constexpr unsigned command_local = 0;
constexpr unsigned command_proxy = 1;
constexpr unsigned family_max = 3;  // UNIX sockets
constexpr unsigned transport_max = 2;
constexpr std::uint8_t tcp_v4 = 0x11;
constexpr std::uint8_t tcp_v6 = 0x21;
constexpr std::uint8_t type_checksum = 3;
constexpr std::uint16_t checksum_octets = 4;
constexpr std::uint8_t vector_begin_octets = 3;

/// CRC32c, which version 2's checksum is.
constexpr std::array<std::uint32_t, 256> crc_table = [] {
    constexpr std::uint32_t polynomial = 0x82f63b78;
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t octet = 0; octet < table.size(); ++octet) {
        std::uint32_t value = octet;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
        }
        table[octet] = value;
    }
    return table;
}();

std::uint16_t number_16(std::string_view octets) {
    return static_cast<std::uint16_t>(
        static_cast<std::uint8_t>(octets[0]) << 8 | static_cast<std::uint8_t>(octets[1]));
}

/// The next word, behind which one blank or the end stands.
std::string_view take_word(std::string_view& text) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    return word;
}

/// Decimal, no leading zeros.
std::optional<std::uint16_t> parse_port(std::string_view word) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), port);
    if (error != std::errc{} || end != word.data() + word.size() ||
        (word.size() > 1 && word.front() == '0')) {
        return std::nullopt;
    }
    return port;
}

std::optional<base::IpAddress> parse_address(std::string_view word, bool v4) {
    const bool has_colon = word.find(':') != std::string_view::npos;
    return has_colon == v4 ? std::nullopt : base::IpAddress::parse(word);
}

}  // namespace

ProxyHeader::State ProxyHeader::take(std::string_view& input) {
    while (!input.empty()) {
        const char octet = input.front();
        input.remove_prefix(1);
        const State state = take_octet(octet);
        if (state != State::more) {
            return state;
        }
    }
    return State::more;
}

ProxyHeader::State ProxyHeader::take_octet(char octet) {
    if (size_ >= fixed_octets && kept_[0] == signature[0]) {
        --left_;
        sum(static_cast<std::uint8_t>(octet));
        if (discarded_) {
            return left_ == 0 ? State::local : State::more;
        }
        const std::size_t addresses = static_cast<std::uint8_t>(kept_[13]) == tcp_v4
                                          ? addresses_octets_v4
                                          : addresses_octets_v6;
        if (size_ < fixed_octets + addresses) {
            kept_[size_++] = octet;
            if (size_ == fixed_octets + addresses) {
                return read_addresses();
            }
            return State::more;
        }
        return take_vector_octet(static_cast<std::uint8_t>(octet));
    }
    kept_[size_++] = octet;
    const std::string_view kept(kept_.data(), size_);
    if (kept_[0] == signature[0]) {
        sum(static_cast<std::uint8_t>(octet));
        if (!signature.starts_with(kept.substr(0, signature.size()))) {
            return State::malformed;
        }
        return size_ == fixed_octets ? read_fixed() : State::more;
    }
    if (!line_begin.starts_with(kept.substr(0, line_begin.size()))) {
        return State::malformed;
    }
    if (octet == '\n') {
        return read_line();
    }
    // A CR is the line's end or nothing.
    const bool cr_within = size_ > 1 && kept_[size_ - 2] == '\r';
    return cr_within || size_ == line_octets_max ? State::malformed : State::more;
}

// --- version 1 -----------------------------------------------------------------------------------

ProxyHeader::State ProxyHeader::read_line() {
    constexpr std::string_view crlf = "\r\n";
    std::string_view line(kept_.data(), size_);
    if (!line.ends_with(crlf)) {
        return State::malformed;
    }
    line.remove_suffix(crlf.size());
    line.remove_prefix(line_begin.size());
    const std::string_view family = take_word(line);
    if (family == "UNKNOWN") {
        return State::local;  // what stands behind it is ignored
    }
    const bool v4 = family == "TCP4";
    if (!v4 && family != "TCP6") {
        return State::malformed;
    }
    const auto from = parse_address(take_word(line), v4);
    const auto to = parse_address(take_word(line), v4);
    const auto from_port = parse_port(take_word(line));
    const auto to_port = parse_port(line);  // the last one: nothing stands behind it
    if (!from || !to || !from_port || !to_port) {
        return State::malformed;
    }
    address_ = *from;
    port_ = *from_port;
    return State::client;
}

// --- version 2 -----------------------------------------------------------------------------------

ProxyHeader::State ProxyHeader::read_fixed() {
    const auto version_and_command = static_cast<std::uint8_t>(kept_[12]);
    const auto family_and_transport = static_cast<std::uint8_t>(kept_[13]);
    const unsigned command = version_and_command & 15U;
    left_ = number_16({kept_.data() + 14, 2});
    if (version_and_command >> 4 != version_2 ||
        (command != command_local && command != command_proxy)) {
        return State::malformed;
    }
    if (command == command_local) {
        discarded_ = true;  // whatever the family
        return left_ == 0 ? State::local : State::more;
    }
    if (family_and_transport >> 4 > family_max || (family_and_transport & 15U) > transport_max) {
        return State::malformed;
    }
    if (family_and_transport != tcp_v4 && family_and_transport != tcp_v6) {
        discarded_ = true;
        return left_ == 0 ? State::local : State::more;
    }
    return left_ < (family_and_transport == tcp_v4 ? addresses_octets_v4 : addresses_octets_v6)
               ? State::malformed
               : State::more;
}

ProxyHeader::State ProxyHeader::read_addresses() {
    const std::string_view addresses(kept_.data() + fixed_octets, size_ - fixed_octets);
    const std::size_t each = addresses.size() == addresses_octets_v4 ? 4 : 16;
    address_ = base::IpAddress::from(addresses.substr(0, each));
    port_ = number_16(addresses.substr(2 * each));
    return left_ == 0 ? State::client : State::more;
}

/// An octet of the vectors behind the addresses; it is in the checksum already.
ProxyHeader::State ProxyHeader::take_vector_octet(std::uint8_t octet) {
    if (vector_octets_ < vector_begin_octets) {
        if (vector_octets_ == 0) {
            vector_type_ = octet;
            vector_left_ = 0;
        } else {
            vector_left_ = static_cast<std::uint16_t>(vector_left_ << 8 | octet);
        }
        ++vector_octets_;
        if (vector_octets_ < vector_begin_octets) {
            return left_ == 0 ? State::malformed : State::more;
        }
        if (vector_left_ > left_) {
            return State::malformed;
        }
        if (vector_type_ == type_checksum) {
            if (has_checksum_ || vector_left_ != checksum_octets) {
                return State::malformed;
            }
            has_checksum_ = true;
        }
    } else {
        --vector_left_;
        if (vector_type_ == type_checksum) {
            stated_checksum_ = stated_checksum_ << 8 | octet;
        }
    }
    if (vector_left_ == 0) {
        vector_octets_ = 0;
    }
    return left_ == 0 ? block_ended() : State::more;
}

ProxyHeader::State ProxyHeader::block_ended() {
    return has_checksum_ && stated_checksum_ != ~checksum_ ? State::malformed : State::client;
}

void ProxyHeader::sum(std::uint8_t octet) {
    const bool of_checksum = vector_octets_ == vector_begin_octets && vector_type_ == type_checksum;
    checksum_ = checksum_ >> 8 ^ crc_table[(checksum_ ^ (of_checksum ? 0U : octet)) & 0xff];
}

}  // namespace postern::inbound

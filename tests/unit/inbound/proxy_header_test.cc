#include "src/inbound/proxy_header.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postern::inbound {
namespace {

using State = ProxyHeader::State;

const std::string signature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string octets(std::initializer_list<int> values) {
    std::string text;
    for (const int value : values) {
        text += static_cast<char>(value);
    }
    return text;
}

/// Version 2, with the length of `block` unless another is stated.
std::string header(int version_and_command, int family, const std::string& block, int length = -1) {
    const int size = length < 0 ? static_cast<int>(block.size()) : length;
    return signature + octets({version_and_command, family, size >> 8, size & 255}) + block;
}

std::string vector(int type, const std::string& value) {
    const int size = static_cast<int>(value.size());
    return octets({type, size >> 8, size & 255}) + value;
}

const std::string v4_addresses = octets({192, 0, 2, 9, 192, 0, 2, 1, 0x9c, 0x40, 0, 25});
const std::string v6_addresses = octets({0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}) +
                                 std::string(15, '\0') + "\x01" + octets({0x9c, 0x40, 0, 25});

struct Read {
    State state;
    std::string client;
    std::string rest;
    bool operator==(const Read&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Read& read) {
    return out << static_cast<int>(read.state) << " '" << read.client << "' '" << read.rest << "'";
}

Read finish(ProxyHeader& reader, State state, std::string rest) {
    return {
        state,
        state == State::client ? reader.address().text() + " " + std::to_string(reader.port()) : "",
        std::move(rest)};
}

/// Whole, by octets and at every split in two the same comes out, and nothing is taken of what
/// stands behind it.
Read read(const std::string& text) {
    std::vector<Read> reads;
    const auto run = [&](std::size_t first, std::size_t piece) {
        ProxyHeader reader;
        State state = State::more;
        std::string_view left = text;
        for (std::size_t size = first; state == State::more && !left.empty(); size = piece) {
            std::string_view part = left.substr(0, size);
            const std::size_t before = part.size();
            state = reader.take(part);
            left.remove_prefix(before - part.size());
        }
        reads.push_back(finish(reader, state, std::string(left)));
    };
    run(text.size(), text.size());
    run(1, 1);
    for (std::size_t first = 1; first < text.size(); ++first) {
        run(first, text.size());
    }
    for (const Read& each : reads) {
        EXPECT_EQ(each, reads.front());
    }
    return reads.front();
}

State state_of(const std::string& text) {
    return read(text).state;
}

TEST(proxy_header, version_1) {
    EXPECT_EQ(
        read("PROXY TCP4 192.0.2.9 192.0.2.1 40000 25\r\nEHLO x\r\n"),
        (Read{State::client, "192.0.2.9 40000", "EHLO x\r\n"}));
    EXPECT_EQ(
        read("PROXY TCP6 2001:db8::9 ::1 65535 0\r\n"),
        (Read{State::client, "2001:db8::9 65535", ""}));
    EXPECT_EQ(
        read("PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n\x16\x03"),
        (Read{State::client, "192.0.2.9 1", "\x16\x03"}));
    EXPECT_EQ(read("PROXY UNKNOWN\r\nQUIT\r\n"), (Read{State::local, "", "QUIT\r\n"}));
    EXPECT_EQ(
        state_of("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), State::local);
}

TEST(proxy_header, version_1_has_107_octets) {
    const std::string longest =
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    ASSERT_EQ(longest.size(), ProxyHeader::line_octets_max);
    EXPECT_EQ(state_of(longest), State::local);
    const std::string line = "PROXY UNKNOWN " + std::string(91, 'x');
    EXPECT_EQ(state_of(line + "\r\n"), State::local);
    EXPECT_EQ(state_of(line), State::more);
    EXPECT_EQ(state_of(line + "x"), State::more);
    EXPECT_EQ(read(line + "x\r\n"), (Read{State::malformed, "", "\n"}));
}

TEST(proxy_header, version_1_malformed) {
    for (const std::string text :
         {"EHLO x\r\n",
          "proxy TCP4 192.0.2.9 192.0.2.1 1 2\r\n",
          "PROXYTCP4",
          "PROXY  TCP4 192.0.2.9 192.0.2.1 1 2\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 2\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 2 \r\n",
          "PROXY TCP4 192.0.2.9  192.0.2.1 1 2\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 2\rEHLO",
          "PROXY TCP4 192.0.2.9 192.0.2.1 01 2\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 65536\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 -1 2\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1\r\n",
          "PROXY TCP4 192.0.2.9 192.0.2.1 1 2 3\r\n",
          "PROXY TCP4 192.0.2.09 192.0.2.1 1 2\r\n",
          "PROXY TCP4 2001:db8::9 ::1 1 2\r\n",
          "PROXY TCP6 192.0.2.9 192.0.2.1 1 2\r\n",
          "PROXY TCP6 2001:db8::9%eth0 ::1 1 2\r\n",
          "PROXY UDP4 192.0.2.9 192.0.2.1 1 2\r\n",
          "PROXY TCP4\r\n",
          "PROXY \r\n",
          "\r\n\r\nEHLO",
          "\r\n\r\n\r\n"}) {
        EXPECT_EQ(state_of(text), State::malformed) << text;
    }
    EXPECT_EQ(state_of("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r"), State::more);
    EXPECT_EQ(state_of("P"), State::more);
    EXPECT_EQ(state_of("\r\n"), State::more);
}

TEST(proxy_header, version_2) {
    EXPECT_EQ(
        read(header(0x21, 0x11, v4_addresses) + "EHLO x\r\n"),
        (Read{State::client, "192.0.2.9 40000", "EHLO x\r\n"}));
    EXPECT_EQ(
        read(header(0x21, 0x21, v6_addresses) + "x"),
        (Read{State::client, "2001:db8::9 40000", "x"}));
    const std::string vectors = vector(4, "") + vector(2, "name") + vector(0xe0, signature);
    EXPECT_EQ(
        read(header(0x21, 0x11, v4_addresses + vectors) + "x"),
        (Read{State::client, "192.0.2.9 40000", "x"}));
}

TEST(proxy_header, version_2_that_names_no_client) {
    EXPECT_EQ(read(header(0x20, 0x00, "") + "QUIT"), (Read{State::local, "", "QUIT"}));
    // The family means nothing in a LOCAL one, nor does what stands behind it.
    EXPECT_EQ(state_of(header(0x20, 0x11, v4_addresses)), State::local);
    EXPECT_EQ(state_of(header(0x20, 0xff, "x")), State::local);
    // Families and transports that are not TCP's.
    for (const int family : {0x00, 0x01, 0x10, 0x12, 0x20, 0x22, 0x31, 0x32}) {
        EXPECT_EQ(state_of(header(0x21, family, "")), State::local) << family;
        EXPECT_EQ(
            read(header(0x21, family, std::string(216, 'x')) + "y"), (Read{State::local, "", "y"}))
            << family;
    }
}

TEST(proxy_header, version_2_malformed) {
    for (const int version_and_command : {0x00, 0x01, 0x11, 0x31, 0x22, 0x2f}) {
        EXPECT_EQ(state_of(header(version_and_command, 0x11, v4_addresses)), State::malformed)
            << version_and_command;
    }
    for (const int family : {0x41, 0xf1, 0x13, 0x2f}) {
        EXPECT_EQ(state_of(header(0x21, family, v6_addresses)), State::malformed) << family;
    }
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses, 11)), State::malformed);
    EXPECT_EQ(state_of(header(0x21, 0x21, v4_addresses)), State::malformed);
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses, 13)), State::more);
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses + "x")), State::malformed);
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses + octets({2, 0}))), State::malformed);
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses + octets({2, 0, 1}))), State::malformed);
    EXPECT_EQ(
        state_of(header(0x21, 0x11, v4_addresses + vector(2, "ab") + octets({2, 255, 255}))),
        State::malformed);
}

TEST(proxy_header, version_2_of_any_length) {
    const std::string large = vector(0xea, std::string(60000, 'x'));
    ProxyHeader reader;
    const std::string text = header(0x21, 0x11, v4_addresses + large) + "y";
    std::string_view left = text;
    EXPECT_EQ(reader.take(left), State::client);
    EXPECT_EQ(left, "y");
}

/// By the obvious algorithm.
std::uint32_t crc32c(const std::string& text) {
    std::uint32_t value = 0xffffffff;
    for (const char c : text) {
        value ^= static_cast<std::uint8_t>(c);
        for (int bit = 0; bit < 8; ++bit) {
            value = (value & 1) != 0 ? value >> 1 ^ 0x82f63b78 : value >> 1;
        }
    }
    return ~value;
}

TEST(proxy_header, version_2_with_a_checksum) {
    ASSERT_EQ(crc32c("123456789"), 0xe3069283U);
    for (const std::string& before : {std::string(), vector(2, "name")}) {
        for (const std::string& behind : {std::string(), vector(4, "xx")}) {
            const auto with = [&](std::uint32_t sum) {
                const std::string value = octets(
                    {static_cast<int>(sum >> 24),
                     static_cast<int>(sum >> 16),
                     static_cast<int>(sum >> 8),
                     static_cast<int>(sum)});
                return header(0x21, 0x11, v4_addresses + before + vector(3, value) + behind);
            };
            const std::uint32_t sum = crc32c(with(0));
            EXPECT_EQ(read(with(sum) + "x"), (Read{State::client, "192.0.2.9 40000", "x"}));
            EXPECT_EQ(state_of(with(sum ^ 1)), State::malformed);
            EXPECT_EQ(state_of(with(0)), State::malformed);
        }
    }
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses + vector(3, "abc"))), State::malformed);
    EXPECT_EQ(state_of(header(0x21, 0x11, v4_addresses + vector(3, ""))), State::malformed);
}

}  // namespace
}  // namespace postern::inbound

#include "postern/smtp/received.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "postern/smtp/header_watcher.h"

namespace postern::smtp {
namespace {

std::string written(const ReceivedFields& fields) {
    std::array<char, received_octets_max> memory;
    return {memory.data(), write_received(fields, memory)};
}

ReceivedFields usual() {
    using namespace std::chrono;
    return {
        .helo = "client.example.org",
        .client_name = {},
        .client_address = "192.0.2.1",
        .hostname = "gw.example.net",
        .protocol = "ESMTP",
        .id = "0123ABC",
        .recipient = "b@example.com",
        .time = sys_days{November / 22 / 2026} + 9h + 5min + 3s + 999ms};
}

TEST(received, is_one_line) {
    EXPECT_EQ(
        written(usual()),
        "Received: from client.example.org (unknown [192.0.2.1]) by gw.example.net (Postern) with "
        "ESMTP id 0123ABC"
        " for <b@example.com>; Sun, 22 Nov 2026 09:05:03 +0000\r\n");
}

TEST(received, without_a_recipient_and_with_ipv6) {
    ReceivedFields fields = usual();
    fields.client_address = "2001:db8::1";
    fields.recipient = "";
    fields.time = {};
    EXPECT_EQ(
        written(fields),
        "Received: from client.example.org (unknown [IPv6:2001:db8::1]) by gw.example.net "
        "(Postern) with ESMTP id 0123ABC;"
        " Thu, 01 Jan 1970 00:00:00 +0000\r\n");
}

TEST(received, is_folded_rather_than_longer_than_a_line_may_be) {
    const std::string helo(255, 'h');
    const std::string hostname(253, 'n');
    const std::string recipient(700, 'r');
    ReceivedFields fields = usual();
    fields.helo = helo;
    fields.hostname = hostname;
    fields.recipient = recipient;
    const std::string line = written(fields);
    std::size_t begin = 0;
    int lines = 0;
    for (std::size_t end = line.find("\r\n"); end != std::string::npos;
         end = line.find("\r\n", begin)) {
        EXPECT_LE(end - begin, 998U);
        EXPECT_EQ(lines > 0, line[begin] == '\t');
        begin = end + 2;
        ++lines;
    }
    EXPECT_EQ(begin, line.size());
    EXPECT_EQ(lines, 3);

    HeaderWatcher watcher;
    watcher.watch(line, hostname);
    EXPECT_EQ(watcher.own_received_count(), 1U);
}

}  // namespace
}  // namespace postern::smtp

#include "postern/smtp/header_watcher.h"

#include <gtest/gtest.h>

#include <string>

namespace postern::smtp {
namespace {

struct Case {
    std::string text;
    unsigned received;
    unsigned own;
    bool non_ascii;
};

const Case cases[] = {
    {"", 0, 0, false},
    {"Received: x\r\n", 1, 0, false},
    {"rEcEiVeD:x\r\nReceived", 1, 0, false},
    {"Received : x\r\nReceive: y\r\nXReceived: z\r\n Received: folded\r\n", 0, 0, false},
    {"\r\nReceived: x\r\n\xff", 0, 0, false},
    {"A: b\r\n\r\nReceived: x\r\n", 0, 0, false},
    {"A: b\r\n \r\nReceived: x\r\n\r\n", 1, 0, false},
    {"A: \xc3\xa4\r\n\r\n", 0, 0, true},
    {"A: b\r\n\r\n\xc3\xa4", 0, 0, false},
    {"\xc3: b\r\n", 0, 0, true},
    {"Received: \xc3 b\r\n", 1, 0, true},
    {"Received: by gw.example.net (Postern) x\r\n", 1, 1, false},
    {"Received: by gw.example.net (Postern)\r\n", 1, 1, false},
    {"Received:by\r\n\tGW.example.NET\r\n (postern)\r\n", 1, 1, false},
    {"Received: from by by gw.example.net (Postern)\r\n", 1, 1, false},
    {"Received: from x by gw.example.net by gw.example.net (Postern) by gw.example.net "
     "(Postern)\r\n",
     1,
     1,
     false},
    {"Received: by gw.example.net2 (Postern)\r\nReceived: by gw.example.ne (Postern)\r\n",
     2,
     0,
     false},
    {"Received: xby gw.example.net (Postern)\r\nReceived: by gw.example.net (Postern\r\n",
     2,
     0,
     false},
    {"Received: by\r\nReceived: gw.example.net (Postern)\r\n", 2, 0, false},
    {"X: by gw.example.net (Postern)\r\n by gw.example.net (Postern)\r\n", 0, 0, false},
};

TEST(header_watcher, whole_and_at_every_split) {
    for (const Case& c : cases) {
        for (std::size_t split = 0; split <= c.text.size(); ++split) {
            HeaderWatcher watcher;
            watcher.watch(std::string(c.text, 0, split), "gw.example.net");
            watcher.watch(std::string(c.text, split), "gw.example.net");
            EXPECT_EQ(watcher.received_count(), c.received) << c.text << " split at " << split;
            EXPECT_EQ(watcher.own_received_count(), c.own) << c.text << " split at " << split;
            EXPECT_EQ(watcher.non_ascii(), c.non_ascii) << c.text << " split at " << split;
        }
    }
}

TEST(header_watcher, a_host_named_by) {
    HeaderWatcher watcher;
    watcher.watch("Received: from by by by by (Postern)\r\n", "by");
    EXPECT_EQ(watcher.own_received_count(), 1U);
}

}  // namespace
}  // namespace postern::smtp

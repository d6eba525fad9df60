#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "postern/config/parse.h"
#include "postern/smtp/extension.h"

namespace postern::shard::test {
namespace {

/// The configuration does not know SMTP, and has a list of its own.
TEST(ListenerSettings, WhatMayBeHiddenIsWhatIsOffered) {
    std::string list;
    for (const smtp::ExtensionRow& row : smtp::extension_rows()) {
        list += (list.empty() ? "" : ", ") + std::string(row.keyword);
    }
    const auto errors_of = [](const std::string& keyword) {
        return config::
            parse("[rules]\nfiles = ['a']\n[[listener]]\naddress = '127.0.0.1:25'\nehlo_hide = ['" +
                      keyword + "']\n",
                  "p.toml",
                  "gw.example.net")
                .errors;
    };
    const auto errors = errors_of("DNS");
    ASSERT_EQ(errors.size(), 1U);
    EXPECT_EQ(
        errors[0].format(),
        "p.toml:5:14: listener.ehlo_hide: \"DNS\" is not allowed; allowed: a list of " + list);
    for (const smtp::ExtensionRow& row : smtp::extension_rows()) {
        EXPECT_TRUE(errors_of(std::string(row.keyword)).empty()) << row.keyword;
    }
    EXPECT_TRUE(errors_of("size").empty());
    EXPECT_EQ(errors_of("").size(), 1U);
    EXPECT_EQ(errors_of("SIZ").size(), 1U);
    EXPECT_EQ(errors_of("SIZE, LIMITS").size(), 1U);
}

}  // namespace
}  // namespace postern::shard::test

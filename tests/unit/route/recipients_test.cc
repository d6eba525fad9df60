#include "postern/route/recipients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "loading.h"
#include "postern/mail/domain.h"

namespace postern::route {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

LoadedRecipients load_lists(
    const std::vector<std::string>& texts, const std::string& delimiter = "+") {
    std::vector<std::string> names;
    std::vector<Source> sources;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        names.push_back(fmt::format("{}.list", static_cast<char>('a' + i)));
    }
    for (std::size_t i = 0; i < texts.size(); ++i) {
        sources.push_back({names[i], texts[i]});
    }
    return load_recipients(sources, delimiter, {1, 2});
}

bool has(const Recipients& list, std::string_view address) {
    const std::size_t at = address.rfind('@');
    mail::DomainKey key;
    EXPECT_TRUE(mail::make_domain_key(address.substr(at + 1), key));
    return list.contains(address.substr(0, at), key.view());
}

std::shared_ptr<const Recipients> list_of(
    const std::string& text, const std::string& delimiter = "+") {
    LoadedRecipients loaded = load_lists({text}, delimiter);
    EXPECT_THAT(loaded.errors, IsEmpty());
    return loaded.list;
}

TEST(Recipients, ComparesAsUserRulesDo) {
    const auto list = list_of("Jane.Doe@Example.COM.\n\"john doe\"@example.com\ntag+ged@a.org\n");
    EXPECT_TRUE(has(*list, "jane.doe@example.com"));
    EXPECT_TRUE(has(*list, "JANE.DOE@EXAMPLE.com"));
    EXPECT_TRUE(has(*list, "\"jane.doe\"@example.com"));
    EXPECT_TRUE(has(*list, "jane.doe+lists@example.com"));
    EXPECT_TRUE(has(*list, "\"john doe\"@example.com"));
    EXPECT_TRUE(has(*list, "\"john\\ doe\"@example.com"));
    EXPECT_TRUE(has(*list, "tag+ged@a.org"));
    EXPECT_FALSE(has(*list, "tag@a.org"));
    EXPECT_FALSE(has(*list, "jane@example.com"));
    EXPECT_FALSE(has(*list, "jane.doe@sub.example.com"));
    EXPECT_FALSE(has(*list, "jane.doe@com"));
    EXPECT_FALSE(has(*list, "+jane.doe@example.com"));
    EXPECT_FALSE(has(*list, std::string(65, 'a') + "@example.com"));
    EXPECT_TRUE(has(*list, "jane.doe+" + std::string(200, 'x') + "@example.com"));
    EXPECT_FALSE(has(*list, "jane+" + std::string(200, 'x') + "@example.com"));
    EXPECT_EQ(list->count(), 3U);
    EXPECT_FALSE(has(*list_of("jane@example.com\n", ""), "jane+lists@example.com"));
    EXPECT_TRUE(has(*list_of("jane@example.com\n", "-"), "jane-lists@example.com"));
}

TEST(Recipients, ALineMayNameAWholeDomain) {
    const auto list = list_of("@example.com\nonly@b\xc3\xbc.example\n@[192.0.2.7]\n");
    EXPECT_TRUE(has(*list, "anyone@example.com"));
    EXPECT_TRUE(has(*list, std::string(65, 'a') + "@Example.com"));
    EXPECT_FALSE(has(*list, "anyone@sub.example.com"));
    EXPECT_TRUE(has(*list, "only@xn--b-eha.example"));
    EXPECT_FALSE(has(*list, "other@xn--b-eha.example"));
    EXPECT_TRUE(has(*list, "u@[192.0.2.7]"));
}

TEST(Recipients, ReadsFilesAsThoseOfRules) {
    const auto list = list_of(
        "\xef\xbb\xbf# all of them\r\n\r\n  a@x.org\t; a comment\r\n;b@x.org\r\n#c@x.org\r\n"
        "d@x.org # too\r\na@x.org\r\n");
    EXPECT_TRUE(has(*list, "a@x.org"));
    EXPECT_FALSE(has(*list, "b@x.org"));
    EXPECT_FALSE(has(*list, "c@x.org"));
    EXPECT_FALSE(has(*list, "#c@x.org"));
    EXPECT_TRUE(has(*list, "d@x.org"));
    EXPECT_EQ(list->count(), 2U) << "the same one twice is one";
}

TEST(Recipients, TellsAllThatIsWrong) {
    EXPECT_THAT(
        load_lists(
            {"a@x.org\nb@x.org OK\njane\n@\nc@a..b\n<d@x.org>\n*@x.org\n\"\"@x.org\n\xff@x.org\n",
             "e@x.org"})
            .errors,
        ElementsAre(
            "a.list:2:9: one recipient a line, and nothing behind it (the second column of a "
            "Postfix map is not needed here); allowed: local@domain or @domain",
            "a.list:3:1: 'jane' is no recipient; allowed: local@domain or @domain",
            testing::StartsWith("a.list:4:2: '' is no domain: "),
            testing::StartsWith("a.list:5:5: 'a..b' is no domain: "),
            testing::StartsWith("a.list:6:"),
            testing::StartsWith("a.list:7:1: '*@x.org': allowed: "),
            "a.list:8:1: a local part has 1 to 64 octets (RFC 5321, 4.5.3.1.1)",
            "a.list:9:1: octets that are not UTF-8; allowed: UTF-8 text",
            "b.list:1:8: the file does not end in a newline, so it may be cut short; allowed: "
            "whole lines"));
    EXPECT_THAT(
        load_lists({"# nobody\n", ""}).errors,
        ElementsAre(testing::StartsWith("a.list:1:1: 0 recipients in all files of the list; ")));
}

TEST(Recipients, HasAllOfManyAndNoOther) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) {
        text += fmt::format("user{}@d{}.example\n", i, i % 1000);
    }
    const auto list = list_of(text);
    EXPECT_EQ(list->count(), 100'000U);
    EXPECT_LE(list->octets(), 100'000U * 17);
    for (int i = 0; i < 100'000; ++i) {
        ASSERT_TRUE(has(*list, fmt::format("user{}@d{}.example", i, i % 1000)));
        ASSERT_FALSE(has(*list, fmt::format("user{}@d{}.example", i, (i + 1) % 1000)));
    }
}

}  // namespace
}  // namespace postern::route

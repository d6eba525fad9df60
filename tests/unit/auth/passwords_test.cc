#include "postern/auth/passwords.h"

#include <crypt.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "postern/base/secret.h"

namespace postern::auth {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// `cost` 0: the method's own.
std::string hash_of(const std::string& password, const char* method, unsigned long cost) {
    crypt_data data{};
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    EXPECT_NE(crypt_gensalt_rn(method, cost, nullptr, 0, setting, sizeof setting), nullptr);
    const char* const hash = crypt_rn(password.c_str(), setting, &data, sizeof data);
    EXPECT_NE(hash, nullptr);
    return hash == nullptr ? "" : hash;
}

std::string cheap(const std::string& password) {
    return hash_of(password, "$6$", 1000);
}

Passwords::Loaded parse(const std::string& text) {
    return Passwords::parse(text, "etc/passwords", {1, 2});
}

TEST(Passwords, EachMethodIsChecked) {
    Hasher hasher;
    const auto loaded = parse(
        "# who may send\n"
        "\n"
        "yes:" +
        hash_of("one", "$y$", 1) +
        "\r\n"
        "bea@example.net:" +
        hash_of("two", "$2b$", 4) +
        "\n"
        "sha:" +
        cheap("three") +
        "\n"
        "long:" +
        cheap(std::string(password_octets_max, 'x')));
    ASSERT_THAT(loaded.errors, IsEmpty());
    const Passwords& passwords = *loaded.passwords;
    EXPECT_EQ(passwords.size(), 4U);
    EXPECT_TRUE(passwords.check(hasher, "yes", "one"));
    EXPECT_TRUE(passwords.check(hasher, "bea@example.net", "two"));
    EXPECT_TRUE(passwords.check(hasher, "sha", "three"));
    EXPECT_TRUE(passwords.check(hasher, "long", std::string(password_octets_max, 'x')));
    EXPECT_FALSE(passwords.check(hasher, "long", std::string(password_octets_max + 1, 'x')));
    EXPECT_FALSE(passwords.check(hasher, "yes", "two"));
    EXPECT_FALSE(passwords.check(hasher, "Yes", "one")) << "a name is what it is";
    EXPECT_FALSE(passwords.check(hasher, "nobody", "one"));
    EXPECT_FALSE(passwords.check(hasher, "", ""));
    EXPECT_FALSE(passwords.check(hasher, "sha", ""));
    EXPECT_FALSE(passwords.check(hasher, "sha", std::string_view("three\0", 6)));
    EXPECT_FALSE(passwords.check(hasher, "sha", std::string_view("three\0x", 7)));
}

TEST(Passwords, AFileWithoutNamesLetsNobodyIn) {
    Hasher hasher;
    const auto loaded = parse("# nobody yet\n");
    ASSERT_THAT(loaded.errors, IsEmpty());
    EXPECT_FALSE(loaded.passwords->check(hasher, "", ""));
    EXPECT_FALSE(loaded.passwords->check(hasher, "a", "b"));
}

TEST(Passwords, WhatIsWrongIsNamedByItsLineAndNotShown) {
    const std::string good = cheap("x");
    const auto loaded = parse(
        "a:" + good + "\n" +
        "swordfish\n"
        ":" +
        good + "\n" +
        "plain:swordfish\n"
        "md5:$1$salt$qJH7.N4xYta3aEG/dfqo/0\n"
        "des:ab0123456789.\n"
        "setting:$6$abcdefgh$\n"
        "cut:" +
        good.substr(0, good.size() - 1) + "\n" + "a:" + good + "\n" + "more:" + good + ":1000:\n");
    EXPECT_EQ(loaded.passwords, nullptr);
    const auto no_hash = [](const char* line) {
        return AllOf(
            HasSubstr(std::string("etc/passwords:") + line + ":1: this is no whole hash"),
            HasSubstr("$y$"));
    };
    EXPECT_THAT(
        loaded.errors,
        ElementsAre(
            HasSubstr("etc/passwords:2:1: this is no NAME:HASH"),
            HasSubstr("etc/passwords:3:1: this is no NAME:HASH"),
            no_hash("4"),
            no_hash("5"),
            no_hash("6"),
            no_hash("7"),
            no_hash("8"),
            HasSubstr("etc/passwords:9:1: this name stands in line 1 too"),
            no_hash("10")));
    EXPECT_THAT(loaded.errors, Not(::testing::Contains(HasSubstr("swordfish"))));
}

/// A guesser must not learn names by the time that an answer takes.
TEST(Passwords, AWrongNameCostsAsMuchAsAWrongPassword) {
    Hasher hasher;
    const auto loaded = parse("name:" + hash_of("x", "$6$", 200000) + "\n");
    ASSERT_NE(loaded.passwords, nullptr);
    const auto least = [&](const char* name) {
        auto best = std::chrono::steady_clock::duration::max();
        for (int i = 0; i < 3; ++i) {
            const auto began = std::chrono::steady_clock::now();
            EXPECT_FALSE(loaded.passwords->check(hasher, name, "y"));
            best = std::min(best, std::chrono::steady_clock::now() - began);
        }
        return best;
    };
    const auto known = least("name");
    const auto unknown = least("nobody");
    EXPECT_LT(known, 3 * unknown);
    EXPECT_LT(unknown, 3 * known);
}

TEST(Secret, TextsAreEqualOrNot) {
    EXPECT_TRUE(base::equal_in_constant_time("", ""));
    EXPECT_TRUE(base::equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(base::equal_in_constant_time("abc", "abd"));
    EXPECT_FALSE(base::equal_in_constant_time("abc", "ab"));
    char text[] = "abc";
    base::wipe({text, 3});
    EXPECT_EQ(std::string(text, 4), std::string(4, '\0'));
}

}  // namespace
}  // namespace postern::auth

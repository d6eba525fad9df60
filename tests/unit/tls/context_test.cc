#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/tls/authority.h"
#include "tests/unit/tls/pair.h"

namespace postern::tls::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// --- key pairs -----------------------------------------------------------------------------------

TEST(KeyPair, KnowsItsNamesItsKindAndItsTime) {
    Authority authority;
    const Files files =
        authority.issue({"MX.Example.net", "*.example.org", "192.0.2.1"}, Kind::rsa);
    const auto pair = KeyPair::load(files.chain, files.key);
    ASSERT_TRUE(pair.ok()) << pair.error().text;
    EXPECT_EQ((*pair)->type(), KeyType::rsa);
    EXPECT_THAT((*pair)->names(), ElementsAre("mx.example.net", "*.example.org"));
    const base::Duration good_for = (*pair)->not_after() - (*pair)->not_before();
    EXPECT_GE(good_for, std::chrono::days(30) + std::chrono::hours(1));
    EXPECT_LE(good_for, std::chrono::days(30) + std::chrono::hours(1) + std::chrono::seconds(5));
}

TEST(KeyPair, IsForItsCommonNameWhereItHasNoOther) {
    Authority authority;
    const Files files = authority.issue({}, Kind::ecdsa);
    const auto pair = KeyPair::load(files.chain, files.key);
    ASSERT_TRUE(pair.ok());
    EXPECT_THAT((*pair)->names(), ElementsAre("nobody"));
    EXPECT_EQ((*pair)->type(), KeyType::ecdsa);
}

std::string error_of(const std::string& chain, const std::string& key) {
    const auto pair = KeyPair::load(chain, key);
    return pair ? "" : pair.error().text;
}

TEST(KeyPair, NamesTheFileThatIsWrong) {
    Authority authority;
    const Files one = authority.issue({"a.example"}, Kind::ecdsa);
    const Files other = authority.issue({"b.example"}, Kind::ecdsa);
    const std::string text = authority.file("text", "not PEM\n");
    const std::string empty = authority.file("empty", "");
    const std::string cut =
        authority.file("cut", content_of(one.chain) + "-----BEGIN CERTIFICATE-----\nAAAA\n");

    EXPECT_EQ(
        error_of("/nowhere/c", one.key), "/nowhere/c: cannot be read: No such file or directory");
    EXPECT_EQ(
        error_of(one.chain, "/nowhere/k"), "/nowhere/k: cannot be read: No such file or directory");
    EXPECT_THAT(error_of("/", one.key), StartsWith("/: cannot be read: "));
    EXPECT_THAT(error_of(text, one.key), StartsWith(text + ": holds no certificate in PEM form"));
    EXPECT_THAT(error_of(empty, one.key), StartsWith(empty + ": holds no certificate in PEM form"));
    EXPECT_THAT(
        error_of(cut, one.key), StartsWith(cut + ": holds something that is no certificate"));
    EXPECT_THAT(error_of(one.chain, text), StartsWith(text + ": holds no private key in PEM form"));
    EXPECT_THAT(error_of(one.key, one.key), StartsWith(one.key + ": holds no certificate"));
    EXPECT_EQ(
        error_of(one.chain, other.key),
        other.key + ": is not the key of the first certificate in " + one.chain +
            "; the server's own certificate must come first there");
}

TEST(KeyPair, AsksNobodyForAPassword) {
    Authority authority;
    const Files files = authority.issue({"a.example"}, Kind::ecdsa);
    const std::string locked = authority.file("locked", locked_copy(files.key));
    EXPECT_THAT(error_of(files.chain, locked), HasSubstr(locked + ": the key is encrypted"));
}

// --- which certificate ---------------------------------------------------------------------------

struct Choosing : ::testing::Test {
    std::shared_ptr<const KeyPair> pair(const std::vector<std::string>& names, Kind kind) {
        const Files files = authority.issue(names, kind);
        auto loaded = KeyPair::load(files.chain, files.key);
        EXPECT_TRUE(loaded.ok());
        return *loaded;
    }

    /// What the server shows whom: the first of the certificate's names, and the kind of its key.
    std::string shown(const std::string& server_name, const std::string& only = "") {
        auto server = ServerContext::create(library, tickets, {pairs});
        EXPECT_TRUE(server.ok()) << server.error().text;
        return shown_by(**server, server_name, only);
    }

    Authority authority;
    Library library;
    TicketKeys tickets{a_secret(1)};
    std::vector<std::shared_ptr<const KeyPair>> pairs;
};

TEST_F(Choosing, TakesTheFirstForWhoeverNamesNobodyWeKnow) {
    pairs = {pair({"a.example"}, Kind::rsa), pair({"b.example"}, Kind::ecdsa)};
    EXPECT_EQ(shown(""), "a.example rsa");
    EXPECT_EQ(shown("else.example"), "a.example rsa");
    EXPECT_EQ(shown("b.example"), "b.example ecdsa");
    EXPECT_EQ(shown("B.Example"), "b.example ecdsa");
    EXPECT_EQ(shown("a.example"), "a.example rsa");
}

TEST_F(Choosing, TakesECDSABeforeRSAForTheSameName) {
    pairs = {pair({"a.example"}, Kind::rsa), pair({"a.example", "x.example"}, Kind::ecdsa)};
    EXPECT_EQ(shown(""), "a.example ecdsa");
    EXPECT_EQ(shown("a.example"), "a.example ecdsa");
    EXPECT_EQ(shown("a.example", "rsa"), "a.example rsa");
    EXPECT_EQ(shown("", "rsa"), "a.example rsa");
    EXPECT_EQ(shown("x.example"), "a.example ecdsa");
}

TEST_F(Choosing, TakesAWildcardForOneLabel) {
    pairs = {
        pair({"a.example"}, Kind::ecdsa),
        pair({"*.b.example"}, Kind::ecdsa),
        pair({"c.b.example"}, Kind::ecdsa)};
    EXPECT_EQ(shown("x.b.example"), "*.b.example ecdsa");
    EXPECT_EQ(shown("c.b.example"), "c.b.example ecdsa");
    EXPECT_EQ(shown("x.y.b.example"), "a.example ecdsa");
    EXPECT_EQ(shown("b.example"), "a.example ecdsa");
    EXPECT_EQ(shown("localhost"), "a.example ecdsa");
}

TEST(ServerContext, NamesTheFileOfAKeyThatIsTooWeak) {
    Authority authority;
    const Files files = weak(authority);
    const auto pair = KeyPair::load(files.chain, files.key);
    ASSERT_TRUE(pair.ok()) << pair.error().text;
    const Library library;
    const TicketKeys tickets(a_secret(1));
    const auto context = ServerContext::create(library, tickets, {{*pair}});
    ASSERT_FALSE(context.ok());
    EXPECT_EQ(context.error().text, files.chain + ": cannot be used: ee key too small");
}

TEST(ClientContext, NamesTheFileOfAuthoritiesThatIsWrong) {
    Authority authority;
    const Library library;
    const std::string text = authority.file("text", "not PEM\n");
    for (const std::string& file : {text, std::string("/nowhere/ca")}) {
        const auto context = ClientContext::create(library, {true, file, nullptr});
        ASSERT_FALSE(context.ok());
        EXPECT_THAT(context.error().text, StartsWith(file + ": "));
    }
}

}  // namespace
}  // namespace postern::tls::test

#include <gtest/gtest.h>

#include "postern/tls/context.h"

namespace postern::tls {
namespace {

std::array<std::byte, TicketKeys::secret_octets> secret(int value) {
    std::array<std::byte, TicketKeys::secret_octets> octets;
    octets.fill(static_cast<std::byte>(value));
    return octets;
}

bool finds(const TicketKeys& keys, const TicketKeys::Key& wanted, bool& is_current) {
    TicketKeys::Key key{};
    const bool found = keys.find(wanted.name, key, is_current);
    EXPECT_TRUE(!found || (key.cipher == wanted.cipher && key.mac == wanted.mac));
    return found;
}

TEST(TicketKeys, OpensWithTheKeyThatSealsAndTheOneBefore) {
    TicketKeys keys(secret(1));
    bool is_current = false;
    const TicketKeys::Key first = keys.current();
    EXPECT_TRUE(finds(keys, first, is_current) && is_current);

    keys.rotate(secret(2));
    const TicketKeys::Key second = keys.current();
    EXPECT_NE(first.name, second.name);
    EXPECT_TRUE(finds(keys, first, is_current) && !is_current);
    EXPECT_TRUE(finds(keys, second, is_current) && is_current);

    keys.rotate(secret(3));
    EXPECT_FALSE(finds(keys, first, is_current));
    EXPECT_TRUE(finds(keys, second, is_current) && !is_current);
}

TEST(TicketKeys, HasNoKeyBeforeTheFirst) {
    const TicketKeys keys(secret(1));
    const TicketKeys::Key none{};  // what an unused place holds
    bool is_current = false;
    EXPECT_FALSE(finds(keys, none, is_current));
}

}  // namespace
}  // namespace postern::tls

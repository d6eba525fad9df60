#include "postern/base/siphash.h"

#include <gtest/gtest.h>

#include <string>

namespace postern::base {
namespace {

// Computed with another implementation: openssl mac -macopt hexkey:000102..0f -macopt size:8
// -macopt c-rounds:1 -macopt d-rounds:3 SIPHASH (and size:16), over the octets 0, 1, 2, ...; its
// octets are a little-endian number.
struct Vector {
    std::size_t size;
    std::uint64_t hash;
    Hash128 hash128;
};

constexpr Vector vectors[] = {
    {0, 0xabac0158050fc4dc, {0xbea58827b2bc7ee7, 0x013030dd6adb62fd}},
    {1, 0xc9f49bf37d57ca93, {0xa8edd36004376ffc, 0x63f02f2bcc73055e}},
    {7, 0xd3927d989bb11140, {0xc3e0aaf223b98410, 0x77ab4808c82e2fa6}},
    {8, 0x369095118d299a8e, {0xb4dae3d5e1fe12aa, 0x99c7f935ab164f72}},
    {15, 0xd320d86d2a519956, {0x6c52bdb205557ec1, 0x09017e1eeccd2129}},
    {16, 0xcc4fdd1a7d908b66, {0xeb8e511557d9a8d0, 0x93179e3df8b013b5}},
    {63, 0x9d199062b7bbb3a8, {0x6f42fe4ee300584c, 0xad6052a70a6b9f07}},
};

TEST(SipHash, AgreesWithAnotherImplementation) {
    const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
    std::string bytes;
    for (const Vector& vector : vectors) {
        while (bytes.size() < vector.size) {
            bytes += static_cast<char>(bytes.size());
        }
        EXPECT_EQ(siphash(key, bytes), vector.hash) << vector.size;
        EXPECT_EQ(siphash128(key, bytes), vector.hash128) << vector.size;
    }
}

}  // namespace
}  // namespace postern::base

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "postern/base/assert.h"
#include "src/names/message.h"

/// Whatever a server sends as an answer about mx1.example.net: the first octet says what was asked.
/// What comes out is within its bounds and in order, and only hosts' names.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern;
    if (size == 0) {
        return 0;
    }
    constexpr names::RecordType types[] = {
        names::RecordType::a, names::RecordType::aaaa, names::RecordType::mx};
    const names::RecordType type = types[data[0] % 3];
    const names::Reply reply = names::parse_reply(
        {reinterpret_cast<const char*>(data) + 1, size - 1}, "mx1.example.net", type);

    POSTERN_ASSERT(
        (reply.kind == names::Reply::Kind::failed) == !reply.why.empty(), "a failure says why");
    POSTERN_ASSERT(
        reply.kind == names::Reply::Kind::records ||
            (reply.addresses.empty() && reply.exchanges.empty()),
        "only records are records");
    POSTERN_ASSERT(reply.addresses.size() <= names::addresses_max, "addresses are bounded");
    POSTERN_ASSERT(reply.exchanges.size() <= names::exchanges_max, "exchanges are bounded");
    POSTERN_ASSERT(type != names::RecordType::mx || reply.addresses.empty(), "MX has no addresses");
    POSTERN_ASSERT(type == names::RecordType::mx || reply.exchanges.empty(), "MX alone has hosts");
    for (std::size_t i = 0; i < reply.exchanges.size(); ++i) {
        const names::Exchange& exchange = reply.exchanges[i];
        POSTERN_ASSERT(i == 0 || reply.exchanges[i - 1] < exchange, "exchanges are in order");
        POSTERN_ASSERT(
            exchange.host.size() <= 253 &&
                exchange.host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") ==
                    std::string::npos,
            "an exchange is a host's name, or the root");
    }
    return 0;
}
